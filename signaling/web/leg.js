// One media leg: one RTCPeerConnection to the server, one audio and one video section, client offers first.

const BATCH_FIRST_MS = 50;
const BATCH_NEXT_MS = 500;
const BATCH_SIZE = 20;
const RESTART_AFTER_MS = 2000;

/**
 * @typedef {object} LegOptions
 * @property {string} leg
 * @property {(t: string, p: object) => Promise<any>} command
 * @property {RTCIceServer[]} [iceServers]
 * @property {(stream: MediaStream) => void} onRemote
 * @property {(state: RTCPeerConnectionState) => void} onState
 */

export class Leg {
  /** @param {MediaStream} stream @param {LegOptions} options */
  constructor(stream, options) {
    this.options = options;
    this.id = options.leg;
    this.neg = 0;
    this.closed = false;
    /** @type {{candidate: string, mid: string}[]} */
    this.batch = [];
    this.batchTimer = 0;
    this.restartTimer = 0;
    this.remote = new MediaStream();
    const pc = new RTCPeerConnection({ iceServers: options.iceServers ?? [], bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" });
    this.pc = pc;
    this.audio = pc.addTransceiver(stream.getAudioTracks()[0] ?? "audio", { direction: "sendrecv", streams: [stream] });
    this.video = pc.addTransceiver(stream.getVideoTracks()[0] ?? "video", { direction: "sendrecv", streams: [stream] });
    pc.ontrack = (event) => {
      this.remote.addTrack(event.track);
      options.onRemote(this.remote);
    };
    pc.onicecandidate = (event) => this.#candidate(event.candidate);
    pc.onconnectionstatechange = () => this.#stateChanged();
  }

  /** Offer, and take the server's answer. @param {{restart?: boolean}} [how] */
  async negotiate({ restart = false } = {}) {
    if (this.closed || this.pc.signalingState !== "stable") return;
    await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: restart }));
    const reply = await this.#offer(restart).catch((error) => {
      if (error.code !== "sdp.stale" || error.details.neg === undefined) throw error;
      this.neg = error.details.neg; // the page was loaded again: the leg has had offers that this page knows nothing of
      return this.#offer(restart);
    });
    if (this.closed || reply === null) return;
    await this.pc.setRemoteDescription({ type: "answer", sdp: reply.answer });
  }

  /** @param {boolean} restart @returns {Promise<any>} the reply; null where a later offer has overtaken this one */
  async #offer(restart) {
    this.neg += 1;
    const neg = this.neg;
    const p = { leg: this.id, neg, sdp: this.pc.localDescription?.sdp ?? "", ...(restart ? { ice_restart: true } : {}) };
    const reply = await this.options.command("sdp.offer", p);
    return neg === this.neg ? reply : null;
  }

  /** The server offers: it wins over an offer of our own that it has not answered. @param {{neg: number, sdp: string}} p */
  async offered(p) {
    if (this.closed) return;
    this.neg = Math.max(this.neg, p.neg);
    await this.pc.setRemoteDescription({ type: "offer", sdp: p.sdp });
    await this.pc.setLocalDescription();
    await this.options.command("sdp.answer", { leg: this.id, neg: p.neg, sdp: this.pc.localDescription?.sdp ?? "" });
  }

  /** @param {{candidates: {candidate: string, mid: string}[]}} p */
  async candidates(p) {
    for (const { candidate, mid } of p.candidates) {
      if (!this.closed && this.pc.remoteDescription) await this.pc.addIceCandidate({ candidate, sdpMid: mid });
    }
  }

  /** @param {MediaStreamTrack|null} track */
  async setVideoTrack(track) {
    if (!this.closed) await this.video.sender.replaceTrack(track);
  }

  restart() {
    this.negotiate({ restart: true }).catch(() => {}); // the connection's state says how it went
  }

  close() {
    this.closed = true;
    clearTimeout(this.batchTimer);
    clearTimeout(this.restartTimer);
    this.pc.onconnectionstatechange = null;
    this.pc.close();
  }

  #stateChanged() {
    const state = this.pc.connectionState;
    clearTimeout(this.restartTimer);
    if (state === "failed") this.restart();
    else if (state === "disconnected") this.restartTimer = window.setTimeout(() => this.restart(), RESTART_AFTER_MS);
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
    this.batch.push({ candidate: candidate.candidate, mid: candidate.sdpMid ?? "0" });
    if (!this.batchTimer) this.batchTimer = window.setTimeout(() => this.#flush(false), this.sentBatch ? BATCH_NEXT_MS : BATCH_FIRST_MS);
  }

  /** @param {boolean} end */
  #flush(end) {
    clearTimeout(this.batchTimer);
    this.batchTimer = 0;
    this.sentBatch = true;
    const ufrag = /a=ice-ufrag:(\S+)/.exec(this.pc.localDescription?.sdp ?? "")?.[1] ?? "";
    do {
      const candidates = this.batch.splice(0, BATCH_SIZE);
      const last = end && this.batch.length === 0;
      this.options.command("ice.candidates", { leg: this.id, neg: this.neg, ufrag, candidates, end: last })
        .catch(() => {}); // of a leg that has ended meanwhile
    } while (this.batch.length > 0);
  }
}
