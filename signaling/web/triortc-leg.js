// One media leg: an RTCPeerConnection to the server, one audio and one video section. The client offers first, and gives way
// where both offer at once (perfect negotiation with the server as the impolite side). Candidates travel in batches.

const BATCH_FIRST_MS = 50;
const BATCH_NEXT_MS = 500;
const BATCH_SIZE = 20;
/** "disconnected" mends itself more often than not; after this long it is helped. */
const RESTART_AFTER_MS = 2000;
const RESTART_AGAIN_MS = 4000;

/**
 * @typedef {object} LegOptions
 * @property {string} leg the id that the server gave to this device
 * @property {(t: string, p: object) => Promise<any>} command
 * @property {RTCIceServer[]} [iceServers]
 * @property {(stream: MediaStream) => void} onRemote the other side's pictures and sound; the same stream for good
 * @property {(state: RTCPeerConnectionState) => void} onState
 * @property {typeof RTCPeerConnection} [RTCPeerConnection] another implementation, for tests
 */

export class Leg {
  /** @type {RTCPeerConnection} */ pc;
  /** @type {RTCRtpTransceiver} */ #video;
  /** @type {{candidate: string, mid: string, ufrag: string}[]} */ #batch = [];
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #batchTimer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #restartTimer;
  /** @type {Promise<void>|null} */ #negotiating = null;
  #offerAgain = false;
  #offersTaken = 0;
  #sentBatch = false;
  #neg = 0;
  /** @type {Set<() => void>} who waits for statistics */
  #asked = new Set();
  closed = false;

  /** @param {MediaStream} stream the own camera and microphone @param {LegOptions} options */
  constructor(stream, options) {
    this.options = options;
    this.id = options.leg;
    this.stream = stream;
    this.remote = new MediaStream();
    [this.pc, this.#video] = this.#open();
  }

  /** @returns {[RTCPeerConnection, RTCRtpTransceiver]} */
  #open() {
    const { options, stream } = this;
    const Connection = options.RTCPeerConnection ?? RTCPeerConnection;
    const pc = new Connection({ iceServers: options.iceServers ?? [], bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" });
    pc.addTransceiver(stream.getAudioTracks()[0] ?? "audio", { direction: "sendrecv", streams: [stream] });
    const video = pc.addTransceiver(stream.getVideoTracks()[0] ?? "video", { direction: "sendrecv", streams: [stream] });
    pc.ontrack = (event) => {
      if (pc !== this.pc) return;
      for (const old of this.remote.getTracks()) if (old.kind === event.track.kind) this.remote.removeTrack(old);
      this.remote.addTrack(event.track);
      options.onRemote(this.remote);
    };
    pc.onicecandidate = (event) => { if (pc === this.pc) this.#candidate(event.candidate); };
    pc.onconnectionstatechange = () => { if (pc === this.pc) this.#stateChanged(); };
    return [pc, video];
  }

  /**
   * Offer, and take the server's answer. While one offer is on its way, another waits for it.
   * @param {{restart?: boolean}} [how] @returns {Promise<void>} rejects with what the server refused
   */
  negotiate({ restart = false } = {}) {
    const before = this.#negotiating ?? Promise.resolve();
    const next = before.catch(() => {}).then(() => this.#negotiate(restart));
    this.#negotiating = next;
    return next;
  }

  /** @param {boolean} restart @returns {Promise<void>} */
  async #negotiate(restart) {
    const { pc } = this;
    if (this.closed) return;
    const offers = () => pc.signalingState === "have-local-offer";
    if (pc.signalingState !== "stable") { // the server's offer is being answered: then it is our turn
      this.#offerAgain = true;
      return;
    }
    const taken = this.#offersTaken;
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: restart }));
    let reply;
    try {
      reply = await this.#offer(restart);
    } catch (error) {
      const code = /** @type {{code?: string}} */ (error).code;
      if (offers()) await pc.setLocalDescription({ type: "rollback" });
      if (code === "sdp.glare") {
        if (this.#offersTaken > taken) return this.#negotiate(restart);
        this.#offerAgain = true; // the server's own offer is on its way
        return;
      }
      if (restart && code === "sdp.unsupported") return this.#rebuild();
      throw error;
    }
    if (this.closed || reply === null || pc !== this.pc || !offers()) return;
    await pc.setRemoteDescription({ type: "answer", sdp: reply.answer });
  }

  /**
   * @param {boolean} restart @returns {Promise<any>} the reply; null where a later offer has overtaken this one
   */
  async #offer(restart) {
    const send = async () => {
      this.#neg += 1;
      const neg = this.#neg;
      const sdp = this.pc.localDescription?.sdp ?? "";
      const reply = await this.options.command("sdp.offer", { leg: this.id, neg, sdp, ...(restart ? { ice_restart: true } : {}) });
      return neg === this.#neg ? reply : null;
    };
    try {
      return await send();
    } catch (error) {
      const { code, details } = /** @type {{code?: string, details?: any}} */ (error);
      if (code !== "sdp.stale" || typeof details?.neg !== "number") throw error;
      this.#neg = details.neg; // the page was loaded again: the leg has had offers that this page knows nothing of
      return send();
    }
  }

  /** The server offers: it wins over an offer of our own that it has not answered. @param {{neg: number, sdp: string}} p */
  async offered(p) {
    if (this.closed) return;
    this.#neg = Math.max(this.#neg, p.neg);
    await this.pc.setRemoteDescription({ type: "offer", sdp: p.sdp }); // rolls an offer of our own back
    await this.pc.setLocalDescription();
    this.#offersTaken += 1;
    await this.options.command("sdp.answer", { leg: this.id, neg: p.neg, sdp: this.pc.localDescription?.sdp ?? "" });
    if (!this.#offerAgain) return;
    this.#offerAgain = false;
    await this.negotiate();
  }

  /** @param {{candidates: {candidate: string, mid: string}[]}} p */
  async candidates(p) {
    for (const { candidate, mid } of p.candidates) {
      if (!this.closed && this.pc.remoteDescription) await this.pc.addIceCandidate({ candidate, sdpMid: mid });
    }
  }

  /** @param {MediaStreamTrack|null} track */
  async setVideoTrack(track) {
    if (!this.closed) await this.#video.sender.replaceTrack(track);
  }

  /** The server has nothing of this leg any more: begin it anew, behind what is being negotiated. */
  renew() {
    clearTimeout(this.#restartTimer);
    if (this.closed) return;
    this.#restartTimer = setTimeout(() => { if (this.pc.connectionState !== "connected") this.renew(); }, RESTART_AGAIN_MS);
    const before = this.#negotiating ?? Promise.resolve();
    this.#negotiating = before.catch(() => {}).then(() => (this.closed ? undefined : this.#rebuild()));
    this.#negotiating.catch(() => {}); // an ended call, or it is tried again
  }

  /** Restart ICE; where the server has nothing to restart, begin the leg anew. The connection's state says how it went. */
  restart() {
    clearTimeout(this.#restartTimer);
    if (this.closed) return;
    this.#restartTimer = setTimeout(() => { if (this.pc.connectionState !== "connected") this.restart(); }, RESTART_AGAIN_MS);
    this.negotiate({ restart: true }).catch(() => {}); // an ended call, or a connection that is tried again
  }

  /** Another connection under the same leg: the server takes it as a page that was loaded again. */
  async #rebuild() {
    this.#abandon();
    this.#sentBatch = false;
    this.#batch = [];
    [this.pc, this.#video] = this.#open();
    await this.#negotiate(false);
  }

  /**
   * What `getStats` knows of this leg, in short. A connection that is closed meanwhile need not answer (Firefox does not):
   * the one that takes its place is asked, and nobody where the leg has ended.
   * @returns {Promise<LegStatistics|null>}
   */
  async stats() {
    if (this.closed) return null;
    /** @type {LegStatistics|null} */
    const found = await new Promise((resolve, reject) => {
      const giveUp = () => resolve(null);
      this.#asked.add(giveUp);
      summarize(this.pc).then(resolve, reject).finally(() => this.#asked.delete(giveUp));
    });
    return found ?? this.stats();
  }

  close() {
    this.closed = true;
    clearTimeout(this.#batchTimer);
    clearTimeout(this.#restartTimer);
    this.#abandon();
  }

  #abandon() {
    this.pc.onconnectionstatechange = null;
    this.pc.close();
    for (const giveUp of this.#asked) giveUp();
    this.#asked.clear();
  }

  #stateChanged() {
    const state = this.pc.connectionState;
    clearTimeout(this.#restartTimer);
    if (state === "failed") this.renew(); // Firefox sends no media after a restart of what had failed
    else if (state === "disconnected") this.#restartTimer = setTimeout(() => this.restart(), RESTART_AFTER_MS);
    this.options.onState(state);
  }

  /** @param {RTCIceCandidate|null} candidate */
  #candidate(candidate) {
    if (this.closed) return;
    if (!candidate) {
      this.#flush(true);
      return;
    }
    if (!candidate.candidate) return;
    const ufrag = candidate.usernameFragment || this.#ufrag();
    this.#batch.push({ candidate: candidate.candidate, mid: candidate.sdpMid ?? "0", ufrag });
    this.#batchTimer ??= setTimeout(() => this.#flush(false), this.#sentBatch ? BATCH_NEXT_MS : BATCH_FIRST_MS);
  }

  /** @param {boolean} end */
  #flush(end) {
    clearTimeout(this.#batchTimer);
    this.#batchTimer = undefined;
    if (this.closed) return;
    this.#sentBatch = true;
    const now = this.#ufrag();
    for (;;) { // what was found just before a restart is of the generation before, and goes as that (RFC 8838)
      const ufrag = this.#batch[0]?.ufrag ?? now;
      const other = this.#batch.findIndex((entry) => entry.ufrag !== ufrag);
      const candidates = this.#batch.splice(0, Math.min(BATCH_SIZE, other < 0 ? BATCH_SIZE : other))
        .map(({ candidate, mid }) => ({ candidate, mid }));
      const last = end && this.#batch.length === 0 && ufrag === now;
      this.options.command("ice.candidates", { leg: this.id, neg: this.#neg, ufrag, candidates, end: last })
        .catch(() => {}); // of a leg that has ended meanwhile
      if (this.#batch.length === 0 && last === end) return;
    }
  }

  #ufrag() {
    return /a=ice-ufrag:(\S+)/.exec(this.pc.localDescription?.sdp ?? "")?.[1] ?? "";
  }
}

const INBOUND = ["packetsReceived", "packetsLost", "bytesReceived", "framesDecoded", "framesPerSecond", "frameWidth", "frameHeight",
  "keyFramesDecoded", "freezeCount", "totalFreezesDuration", "jitter", "pliCount", "nackCount", "audioLevel", "totalAudioEnergy",
  "totalSamplesReceived", "concealedSamples"];
const OUTBOUND = ["packetsSent", "bytesSent", "framesEncoded", "framesPerSecond", "targetBitrate", "qualityLimitationReason",
  "totalEncodeTime", "keyFramesEncoded", "frameWidth", "frameHeight", "pliCount", "nackCount"];

/**
 * @typedef {object} LegStatistics
 * @property {number} at unix ms on the steady clock
 * @property {RTCPeerConnectionState} connection
 * @property {RTCIceConnectionState} ice
 * @property {Record<string, Record<string, any>>} in by kind
 * @property {Record<string, Record<string, any>>} out by kind
 * @property {number} [rtt_s]
 * @property {number} [available_bps]
 */

/** @param {RTCPeerConnection} pc @returns {Promise<LegStatistics>} */
async function summarize(pc) {
  /** @type {LegStatistics} */
  const result = { at: performance.timeOrigin + performance.now(), connection: pc.connectionState, ice: pc.iceConnectionState, in: {}, out: {} };
  for (const [, report] of /** @type {Map<string, any>} */ (/** @type {unknown} */ (await pc.getStats()))) {
    if (report.type === "inbound-rtp") result.in[report.kind] = pick(report, INBOUND);
    else if (report.type === "outbound-rtp") result.out[report.kind] = pick(report, OUTBOUND);
    else if (report.type === "candidate-pair" && report.nominated) {
      result.rtt_s = report.currentRoundTripTime;
      result.available_bps = report.availableOutgoingBitrate;
    }
  }
  return result;
}

/** @param {Record<string, any>} from @param {string[]} names */
function pick(from, names) {
  return Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]));
}
