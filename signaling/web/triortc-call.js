// One video session as this device knows it. What the server says counts; what this device does is sent, and shown at once only
// where nobody else has to agree: its own microphone and camera.

import { Leg } from "./triortc-leg.js";

/**
 * @typedef {"asking"|"queued"|"ringing"|"waiting"|"connecting"|"active"|"reconnecting"|"handoff"|"ended"} CallState
 * @typedef {{platform: string, name?: string|null}} DeviceReference
 * @typedef {{display_name?: string|null, avatar?: string|null}} Identity
 * @typedef {{camera: boolean, mic: boolean, facing: string, orientation: number, camera_state: string, version: number}} RemoteMedia
 * @typedef {{outcome: string, reason: string, talkMs: number, by: string, next: string}} CallEnd
 *
 * @typedef {{weak_score: number, good_score: number}} QualityThresholds
 *
 * @typedef {object} CallHost what a call needs of its client
 * @property {(t: string, p?: object) => Promise<any>} command
 * @property {import("./triortc-media.js").LocalMedia} media
 * @property {() => RTCIceServer[]} iceServers
 * @property {(call: Call) => void} changed
 * @property {(call: Call, stream: MediaStream) => void} remote
 * @property {() => QualityThresholds} quality when a way counts as weak, as the server is configured
 * @property {() => number} nextMediaNumber
 * @property {typeof RTCPeerConnection} [RTCPeerConnection]
 */

const IN_CALL = new Set(["connecting", "active", "reconnecting", "handoff"]);

export class Call {
  /** @type {CallHost} */ #host;
  /** @type {Leg|null} */ leg = null;
  /** The server's id of this device's leg; null where the call is on another device. @type {string|null} */ legId = null;
  /** @type {CallState} */ state = "asking";
  version = -1;
  origin = "routed";
  /** Whether somebody has heard the ring. */ alerting = false;
  /** Place in the queue, from 1. @type {number|null} */ position = null;
  /** When the ring ends, on `performance.now()`; null until the server has said it. @type {number|null} */ deadline = null;
  /** The longest that was left of it. */ ringMs = 0;
  inOtherTab = false;
  recorded = false;
  /** Why the recording is on, or that it has ended. @type {string} */ recordedBy = "";
  /** @type {Identity} */ agent = {};
  /** When the call became active, on `performance.now()`; 0 before. */ since = 0;
  /** @type {RTCPeerConnectionState} */ connection = "new";
  /** The other side is away, at most until `peerDeadline`. */ peerLost = false;
  /** @type {number|null} */ peerDeadline = null;
  /** @type {RemoteMedia} */ remote = { camera: true, mic: true, facing: "front", orientation: 0, camera_state: "live", version: -1 };
  /** The server's word whether the other side gets our kind of media. @type {{video: string, audio: string}} */ gates = { video: "closed", audio: "closed" };
  /** 0 to 100; null while nobody has said. @type {number|null} */ quality = null;
  /** The way to the server is bad: it was below one number and is not above another, so that it does not flicker. */ weak = false;
  /** Whether the server has said so; then it is not measured here. */ qualityFromServer = false;
  /** This device is taking the call over. */ pulling = false;
  /** Another device is taking it over. @type {DeviceReference|null} */ movingTo = null;
  /** It went there. @type {DeviceReference|null} */ movedTo = null;
  canPullBack = false;
  /** Another device suggests to go on here. @type {DeviceReference|null} */ suggestedFrom = null;
  /** @type {CallEnd|null} */ end = null;
  /** Whether this device's leg has lost its way; null before it had one. @type {boolean|null} */ #wayLost = null;

  /** @param {CallHost} host @param {string} session @param {string} conversation */
  constructor(host, session, conversation) {
    this.#host = host;
    this.session = session;
    this.conversation = conversation;
  }

  get ended() { return this.state === "ended"; }

  /** Whether this device is in the call, or about to be. */
  get here() { return !this.ended && this.legId !== null && !this.inOtherTab; }

  get inCall() { return IN_CALL.has(this.state); }

  /** Our picture reaches the other side: the server says so. */
  get live() { return this.gates.video === "open"; }

  get remoteCamera() { return this.remote.camera && this.remote.camera_state === "live"; }

  /** Why the picture stands still: this side's way or the other's; empty where it does not. @returns {""|"connecting"|"here"|"peer"|"moving"|"pulling"} */
  get interruption() {
    if (!this.inCall) return "";
    if (this.pulling) return "pulling";
    if (this.#wayLost) return "here";
    if (this.state === "connecting" || this.#wayLost === null) return "connecting";
    if (this.movingTo) return "moving";
    return this.peerLost ? "peer" : "";
  }

  // --- what this device does

  /** Bring this device's leg up; devices must be open (`client.prepare`). Does nothing where it is up already. @param {string|null} [leg] */
  async warm(leg = this.legId) {
    const { media } = this.#host;
    if (leg === null || !media.stream || this.ended) return;
    this.legId = leg;
    if (this.leg?.id === leg) return;
    this.leg?.close();
    const opened = new Leg(media.stream, {
      leg,
      command: (t, p) => this.#host.command(t, p),
      iceServers: this.#host.iceServers(),
      RTCPeerConnection: this.#host.RTCPeerConnection,
      onRemote: (stream) => this.#host.remote(this, stream),
      onState: (state) => {
        this.connection = state;
        // A restart of ICE is "connecting", too: over a way that is there still, or until the lost one is back.
        if (state === "connected") this.#wayLost = false;
        else if (state === "disconnected" || state === "failed") this.#wayLost = true;
        // The server tells the other side that this one is back, not this one: it knows.
        if (state === "connected" && this.state === "reconnecting" && !this.peerLost) this.state = "active";
        this.#host.changed(this);
      },
    });
    this.leg = opened;
    this.connection = "new";
    this.#wayLost = null;
    await opened.negotiate();
  }

  /** Let us in: the server gave this device a leg, and learns what is switched off here already. @param {string|null} leg */
  enter(leg) {
    const { media } = this.#host;
    if (leg !== null) this.legId = leg;
    this.movedTo = null;
    if (!media.micOn || !media.cameraOn) this.set({ mic: media.micOn, camera: media.cameraOn });
  }

  /** @param {object} what part of `media.set`: camera, mic, facing, orientation, camera_state, view */
  set(what) {
    if (!this.here) return;
    this.#host.command("media.set", { session: this.session, n: this.#host.nextMediaNumber(), ...what }).catch(() => {}); // ended meanwhile
  }

  /** @param {boolean} on */
  setMic(on) {
    this.#host.media.setMic(on);
    this.set({ mic: on });
    this.#host.changed(this);
  }

  /** Off closes the server's valve first, then the device. Rejects where the camera does not come back. @param {boolean} on */
  async setCamera(on) {
    if (!on) this.set({ camera: false });
    await this.#host.media.setCamera(on);
    if (on) this.set({ camera: true });
    this.#host.changed(this);
  }

  async switchCamera() {
    await this.#host.media.switch();
    this.set({ facing: this.#host.media.facingName });
    this.#host.changed(this);
  }

  /** The video is over for both. @returns {Promise<any>} outcome, reason */
  hangUp() { return this.#host.command("call.hangup", { session: this.session }); }

  /** The visitor calls no longer. If an answer was faster, the server takes it as a hang-up. */
  cancel() { return this.#host.command("call.cancel", { session: this.session }); }

  /** Take the call over from another device or tab of the same person. */
  async pull() {
    this.pulling = true;
    this.#host.changed(this);
    try {
      const reply = await this.#host.command("handoff.request", { session: this.session });
      if (this.ended) return;
      this.inOtherTab = false;
      this.enter(reply.leg);
      await this.warm(reply.leg);
    } catch (error) {
      this.pulling = false;
      this.#host.changed(this);
      throw error;
    }
  }

  /** Ask another device of the same person to go on there. @param {string} device */
  suggest(device) { return this.#host.command("handoff.offer", { session: this.session, to_device: device }); }

  cancelHandoff() { return this.#host.command("handoff.cancel", { session: this.session }); }

  record() { return this.#host.command("recording.start", { session: this.session }); }

  stopRecording() { return this.#host.command("recording.stop", { session: this.session }); }

  async stats() { return this.leg ? this.leg.stats() : null; }

  // --- what the server says

  /** @param {any} view a SessionView @param {{whole?: boolean}} [how] whether a leg that it does not name is none */
  take(view, { whole = false } = {}) {
    if (this.ended || view.version < this.version) return;
    this.version = view.version ?? this.version;
    this.state = view.state ?? this.state;
    this.origin = view.origin ?? this.origin;
    if (view.alerting !== undefined) this.alerting = view.alerting;
    this.position = view.position ?? null;
    this.inOtherTab = view.in_other_tab === true;
    if (view.leg) this.legId = view.leg;
    else if (this.inOtherTab || (whole && this.legId !== null)) this.#lose();
    if (view.agent) this.agent = view.agent;
    if (view.recording !== undefined) this.recorded = view.recording;
    if (view.ttl_ms !== undefined) {
      this.deadline = performance.now() + view.ttl_ms;
      this.ringMs = Math.max(this.ringMs, view.ttl_ms);
    }
    if (this.state === "active" && !this.since) this.since = performance.now();
  }

  /** @param {import("./triortc-channel.js").Message} event @returns {boolean} whether it was about this call's leg */
  takeLegEvent(event) {
    if (!this.leg || event.p.leg !== this.leg.id) return false;
    if (event.t === "sdp.offer") this.leg.offered(event.p).catch(() => {}); // the connection's state says how it went
    else if (event.t === "ice.candidates") this.leg.candidates(event.p).catch(() => {});
    else if (event.t === "ice.restart") this.leg.restart();
    else return false;
    return true;
  }

  /** @param {any} p */
  takeAccepted(p) {
    this.agent = p.agent ?? this.agent;
    if (!this.inOtherTab) this.state = "connecting";
    this.enter(null);
  }

  takeActive() {
    this.state = "active";
    this.since ||= performance.now();
    this.pulling = false;
    this.movingTo = null;
    this.peerLost = false;
  }

  /** @param {any} p */
  takePeer(p) {
    if (p.what === "reconnecting") {
      this.peerLost = true;
      this.peerDeadline = p.deadline_ms === undefined ? null : performance.now() + p.deadline_ms;
    } else if (p.what === "resumed") {
      this.peerLost = false;
      if (this.state === "reconnecting") this.state = "active";
    }
    if (p.agent) this.agent = p.agent;
    if (p.renegotiate) this.leg?.renew();
  }

  /** @param {any} p */
  takeMedia(p) { if (p.version >= this.remote.version) this.remote = { ...this.remote, ...p }; }

  /** @param {number} score */
  takeQuality(score) {
    const { weak_score: weak, good_score: good } = this.#host.quality();
    this.quality = score;
    this.weak = score < (this.weak ? good : weak);
  }

  /** @param {{kind: string, state: string}} p */
  takeGate(p) {
    if (p.kind === "video" || p.kind === "audio") this.gates[p.kind] = p.state;
    if (p.state === "open") this.pulling = false;
  }

  /** The call went on elsewhere. @param {any} p */
  takeMoved(p) {
    this.movedTo = p.to ?? { platform: "other" };
    this.canPullBack = p.can_pull_back === true;
    this.movingTo = null;
    this.#lose();
  }

  takeHandoffFailed() {
    if (this.pulling) {
      this.pulling = false;
      this.#lose();
    }
    this.movingTo = null;
  }

  /** @param {any} p */
  takeEnd(p) {
    this.state = "ended";
    this.end = { outcome: p.outcome ?? "failed", reason: p.reason ?? "", talkMs: p.talk_ms ?? 0, by: p.by ?? "system", next: p.next ?? "conversation" };
    this.#lose();
  }

  #lose() {
    this.leg?.close();
    this.leg = null;
    this.legId = null;
    this.connection = "new";
    this.#wayLost = null;
    this.gates = { video: "closed", audio: "closed" };
  }
}
