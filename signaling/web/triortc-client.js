// A visitor's or an agent's side of triortc: what the server says, kept up to date, and what may be asked of it.
//
//   const client = new TriortcClient({ url: "wss://host/v1/signal", credentials });
//   client.on("ring", (ring) => …);          // an agent's
//   client.on("change", () => render());      // after everything that changed
//   await client.connect();
//   await client.prepare();                   // camera and microphone
//   const call = await client.requestCall("cv_1");
//
// No rule of calls is kept here: a view that the server sends replaces the one before, commands are answered by the server.

import { Call } from "./triortc-call.js";
import { Channel, CommandError, uuid7 } from "./triortc-channel.js";
import { LocalMedia } from "./triortc-media.js";
import { OwnQuality, QUALITY_LIMITS } from "./triortc-quality.js";

export { Call, Channel, CommandError, LocalMedia, uuid7 };

/**
 * @typedef {import("./triortc-channel.js").LinkState} LinkState
 * @typedef {import("./triortc-channel.js").Message} Message
 * @typedef {import("./triortc-call.js").DeviceReference} DeviceReference
 *
 * @typedef {import("./triortc-views.js").Ring} Ring
 * @typedef {import("./triortc-views.js").Invitation} Invitation
 * @typedef {import("./triortc-views.js").ConversationView} ConversationView
 * @typedef {import("./triortc-views.js").ChannelStatus} ChannelStatus
 * @typedef {import("./triortc-views.js").Events} Events
 *
 * @typedef {object} ClientOptions
 * @property {string} url
 * @property {() => Promise<import("./triortc-channel.js").Credentials>} credentials
 * @property {LocalMedia} [media]
 * @property {typeof WebSocket} [WebSocket]
 * @property {typeof RTCPeerConnection} [RTCPeerConnection]
 * @property {(event: Message) => void} [onProtocolEvent] sees every event before it is taken in; for curiosity and tests
 */

const LIVE_INVITATION = new Set(["pending", "agent_joined", "visitor_accepted", "in_session"]);
const KEPT_CALLS = 64;
const QUALITY_EVERY_MS = 3000;

export class TriortcClient {
  /** @type {{[K in keyof Events]?: Set<(...values: any[]) => void>}} */ #listeners = {};
  /** @type {LinkState} */ link = "idle";
  linkDetail = "";
  /** Capabilities, and what this server can do. @type {Set<string>} */ caps = new Set();
  /** @type {Map<string, ChannelStatus>} by channel */ presence = new Map();
  /** @type {Map<string, ConversationView>} */ conversations = new Map();
  /** @type {Map<string, Ring>} */ rings = new Map();
  /** @type {Map<string, Call>} by session, the ended ones too */ calls = new Map();
  /** @type {Map<string, Invitation>} live ones, and each conversation's last */ invitations = new Map();
  /** The agent's own devices. @type {any[]} */ devices = [];
  #mediaNumber = Date.now(); // grows, over reloads too
  #ownQuality = new OwnQuality();
  /** @type {ReturnType<typeof setInterval>|undefined} */ #qualityTimer;

  /** @param {ClientOptions} options */
  constructor(options) {
    this.options = options;
    this.media = options.media ?? new LocalMedia();
    this.media.onVideoTrack = async (track) => { for (const call of this.calls.values()) await call.leg?.setVideoTrack(track); };
    this.media.onLost = (kind) => {
      if (kind === "video") this.here?.set({ camera_state: "interrupted" });
      this.#emit("deviceLost", kind);
      this.#emit("change");
    };
    this.channel = new Channel({
      url: options.url,
      credentials: options.credentials,
      WebSocket: options.WebSocket,
      onSnapshot: (snapshot, welcome) => this.#takeSnapshot(snapshot, welcome),
      onEvent: (event) => this.#takeEvent(event),
      onState: (state, detail) => {
        this.link = state;
        this.linkDetail = detail;
        if (state === "open") this.caps = new Set(this.channel.welcome?.caps ?? []);
        this.#emit("link", state, detail);
        this.#emit("change");
      },
    });
  }

  /**
   * @template {keyof Events} K @param {K} type @param {(...values: Events[K]) => void} listener
   * @returns {() => void} ends it
   */
  on(type, listener) {
    const listeners = this.#listeners[type] ??= new Set();
    listeners.add(/** @type {(...values: any[]) => void} */ (listener));
    return () => listeners.delete(/** @type {(...values: any[]) => void} */ (listener));
  }

  /** @template {keyof Events} K @param {K} type @param {Events[K]} values */
  #emit(type, ...values) {
    for (const listener of [...this.#listeners[type] ?? []]) listener(...values);
  }

  // --- the connection

  connect() { return this.channel.connect(); }

  /** Leave for good; calls of this device are left too. */
  leave() {
    clearInterval(this.#qualityTimer);
    for (const call of this.calls.values()) call.leg?.close();
    this.media.close();
    this.channel.leave();
  }

  /** Any command of the protocol. @param {string} t @param {object} [p] @returns {Promise<any>} rejects with CommandError */
  command(t, p) { return this.channel.command(t, p); }

  /** What this device says of itself changes. @param {object} what app_state, perms, push, name, caps */
  updateDevice(what) { return this.command("device.update", what); }

  /** @param {string} device */
  revokeDevice(device) { return this.command("device.revoke", { device }); }

  /** The agent's other devices that are connected now: a call could go on there. @returns {any[]} */
  get otherDevices() { return this.devices.filter(({ device, signaling }) => device !== this.channel.device && signaling === "live"); }

  // --- camera and microphone

  /**
   * Open camera and microphone, and tell the server what the browser said.
   * @returns {Promise<MediaStream>} rejects with the browser's error where they are refused
   */
  async prepare() {
    const before = this.media.stream;
    let stream;
    try {
      stream = await this.media.open();
    } catch (error) {
      this.updateDevice({ perms: await this.media.refusal(error) }).catch(() => {}); // the ring goes on all the same
      throw error;
    }
    // What the server misses after all it says when it is asked to let us in.
    if (before !== stream) await this.updateDevice({ perms: { camera: "granted", mic: "granted" } }).catch(() => {});
    return stream;
  }

  /** Close the devices where no call and no ring needs them. */
  release() {
    const needed = this.rings.size > 0 || [...this.calls.values()].some((call) => call.here);
    if (!needed) this.media.close();
  }

  // --- presence

  /** @param {string} channel @param {"available"|"unavailable"} declared */
  async setPresence(channel, declared) {
    const status = await this.command("presence.set", { channel, declared });
    if (status.channel) this.#takePresence(status);
    this.#emit("change");
  }

  // --- calls

  /** The call that this device is in, or asks for. @returns {Call|null} */
  get here() { return [...this.calls.values()].find((call) => call.here) ?? null; }

  /** The call of this person that runs on another device or tab. @returns {Call|null} */
  get elsewhere() {
    for (const view of this.conversations.values()) {
      const running = view.live_session;
      if (running?.can_pull && !this.calls.get(running.session)?.here) return this.#call(running.session, view.conversation);
    }
    return [...this.calls.values()].find((call) => call.inOtherTab && !call.ended) ?? null;
  }

  /**
   * A visitor asks for a video.
   * @param {string} conversation @param {{group?: string, video?: boolean, preview?: boolean}} [how] `preview`: the agent may see us while it rings
   * @returns {Promise<Call>} it may have ended already: `call.end` says why
   */
  async requestCall(conversation, { group, video = true, preview = false } = {}) {
    const reply = await this.command("call.request", { conversation, media: { audio: true, video }, ...(group ? { group } : {}), ...(preview ? { preview } : {}) });
    const call = this.#call(reply.session, conversation);
    if (reply.state === "ended") {
      if (!call.ended) this.#end(call, reply);
      return call;
    }
    if (call.version < 0) call.take({ ...reply, version: 0 });
    if (reply.leg) await this.#warm(call, reply.leg);
    this.#changed(call);
    return call;
  }

  /** The ring is heard here. @param {Ring} ring */
  acknowledge(ring) { return this.command("ring.ack", { ring: ring.ring }); }

  /** The incoming screen is there: this device's leg may come up, its gates stay closed. @param {Ring} ring */
  async openRing(ring) {
    const reply = await this.command("ring.opened", { ring: ring.ring });
    ring.deadline = performance.now() + reply.ttl_ms;
    if (reply.leg) ring.call.legId = reply.leg;
    this.#emit("change");
  }

  /** Quiet on this device; the others go on. @param {Ring} ring */
  silence(ring) {
    ring.silent = true;
    this.#emit("change");
    return this.command("ring.silence", { ring: ring.ring });
  }

  /** "Go". @param {Ring} ring @returns {Promise<Call>} */
  async accept(ring) {
    const { call } = ring;
    const reply = await this.command("call.accept", { session: ring.session });
    this.rings.delete(ring.ring);
    if (!call.ended && !call.inCall) call.state = "connecting";
    call.enter(reply.leg);
    this.#changed(call);
    await this.#warm(call, reply.leg);
    return call;
  }

  /** @param {Ring} ring */
  async decline(ring) {
    this.#dropRing(ring);
    return this.command("call.decline", { session: ring.session });
  }

  // --- invitations

  /** The live invitation of a conversation. @param {string} conversation @returns {Invitation|null} */
  invitationOf(conversation) {
    return [...this.invitations.values()].find((item) => item.conversation === conversation && LIVE_INVITATION.has(item.state)) ?? null;
  }

  /** @param {string} conversation @returns {Promise<{invitation: string, warnings: string[]}>} */
  async invite(conversation) {
    const reply = await this.command("invitation.send", { conversation });
    this.#takeInvitation({ invitation: reply.invitation, conversation, state: "pending", version: 0 });
    this.#emit("change");
    return { invitation: reply.invitation, warnings: reply.warnings ?? [] };
  }

  /** The agent joins before or after the visitor; or the visitor accepts. @param {Invitation} invitation @returns {Promise<Call>} */
  joinInvitation(invitation) { return this.#enterInvitation("invitation.join", invitation); }

  /** @param {Invitation} invitation @param {{preview?: boolean}} [how] @returns {Promise<Call>} */
  acceptInvitation(invitation, { preview = false } = {}) { return this.#enterInvitation("invitation.accept", invitation, preview ? { preview } : {}); }

  /** @param {string} t @param {Invitation} invitation @param {object} [more] */
  async #enterInvitation(t, invitation, more = {}) {
    const reply = await this.command(t, { invitation: invitation.invitation, ...more });
    const call = this.#call(reply.session, invitation.conversation);
    call.origin = "invited";
    if (call.version < 0 && !call.ended) call.take({ ...reply, version: 0 });
    for (const ring of this.rings.values()) if (ring.session === reply.session) this.rings.delete(ring.ring);
    if (reply.leg) {
      call.enter(reply.leg);
      await this.#warm(call, reply.leg);
    }
    this.#changed(call);
    return call;
  }

  /** The agent takes it back. @param {Invitation} invitation */
  cancelInvitation(invitation) { return this.command("invitation.cancel", { invitation: invitation.invitation }); }

  /** @param {Invitation} invitation */
  declineInvitation(invitation) { return this.command("invitation.decline", { invitation: invitation.invitation }); }

  // --- conversations

  /** @param {string} conversation @param {string} text @returns {Promise<{message: string}>} */
  sendMessage(conversation, text) { return this.command("conversation.message.send", { conversation, text }); }

  /** @param {string} conversation @param {string} message the last one that was read */
  markRead(conversation, message) { return this.command("conversation.read", { conversation, message }); }

  /** What is on the screen; without effect on a call. @param {string|null} conversation */
  focus(conversation) { return this.command("conversation.focus", { conversation }); }

  /** @param {string} conversation @param {string[]} tags */
  tag(conversation, tags) { return this.command("conversation.tag", { conversation, tags }); }

  /** @param {string} conversation @param {{tags?: string[], endVideo?: boolean}} [how] */
  closeConversation(conversation, { tags, endVideo } = {}) {
    return this.command("conversation.close", { conversation, ...(tags ? { tags } : {}), ...(endVideo ? { end_video: true } : {}) });
  }

  /** @param {string} conversation @param {{untilAt?: number, endVideo?: boolean}} [how] `untilAt` in unix ms; without: until the visitor writes */
  snooze(conversation, { untilAt, endVideo } = {}) {
    return this.command("conversation.snooze", { conversation, ...(untilAt ? { until_at: untilAt } : {}), ...(endVideo ? { end_video: true } : {}) });
  }

  /** @param {string} conversation @param {{agent: string}|{group: string}} to @param {{note?: string, endVideo?: boolean}} [how] */
  transfer(conversation, to, { note, endVideo } = {}) {
    return this.command("conversation.transfer", { conversation, to, ...(note ? { note } : {}), ...(endVideo ? { end_video: true } : {}) });
  }

  /** @param {{cursor?: string, filter?: object}} [what] @returns {Promise<{items: ConversationView[], next?: string}>} */
  listConversations(what = {}) { return this.command("conversation.list", what); }

  /** @param {{session?: string, conversation?: string, cursor?: string}} what */
  history(what) { return this.command("history.get", what); }

  // --- what the server says

  /** @param {any} snapshot @param {any} welcome */
  #takeSnapshot(snapshot, welcome) {
    this.caps = new Set(welcome?.caps ?? []);
    this.presence.clear();
    this.conversations.clear();
    this.invitations.clear();
    snapshot.presence?.forEach((/** @type {any} */ status) => this.#takePresence(status));
    snapshot.conversations?.forEach((/** @type {any} */ view) => this.conversations.set(view.conversation, view));
    snapshot.invitations?.forEach((/** @type {any} */ view) => this.#takeInvitation(view));
    this.devices = snapshot.devices ?? [];
    const sessions = new Map((snapshot.sessions ?? []).map((/** @type {any} */ view) => [view.session, view]));
    for (const call of this.calls.values()) {
      const running = sessions.has(call.session) || this.#running(call.session);
      if (!call.ended && !running) this.#end(call, { outcome: "failed", reason: "unknown" });
    }
    for (const view of sessions.values()) if (view.state !== "ended") this.#call(view.session, view.conversation).take(view, { whole: true });
    for (const notice of snapshot.notices ?? []) {
      const conversation = [...this.conversations.values()].find((view) => view.live_session?.session === notice.session)?.conversation ?? "";
      if (notice.kind === "session_moved") this.#call(notice.session, conversation).takeMoved(notice);
    }
    const rings = snapshot.rings ?? [];
    for (const ring of [...this.rings.values()]) {
      if (!rings.some((/** @type {any} */ view) => view.ring === ring.ring)) this.#endRing(ring, { reason: "over" });
    }
    for (const view of rings) this.#takeRing(view);
    this.#emit("snapshot");
    this.#emit("change");
  }

  /** @param {string} session */
  #running(session) { return [...this.conversations.values()].some((view) => view.live_session?.session === session); }

  /** @type {Record<string, (p: any) => void>} */
  #handlers = {
    "presence.changed": (p) => this.#takePresence(p),
    "device.changed": (p) => { this.devices = p.devices; },
    "ring.offer": (p) => this.#takeRing(p),
    "ring.ended": (p) => {
      const ring = this.rings.get(p.ring);
      if (ring) this.#endRing(ring, p);
    },
    "call.state": (p) => this.#of(p, (call) => call.take(p), true),
    "call.accepted": (p) => this.#of(p, (call) => call.takeAccepted(p)),
    "call.active": (p) => this.#of(p, (call) => call.takeActive()),
    "call.peer": (p) => this.#of(p, (call) => { call.takePeer(p); if (p.what === "device_changed") this.#emit("deviceChanged", call); }),
    "call.ended": (p) => this.#end(this.#call(p.session, p.conversation), p),
    "handoff.started": (p) => this.#of(p, (call) => { call.movingTo = p.to; }),
    "handoff.moved": (p) => this.#of(p, (call) => { call.takeMoved(p); this.#emit("moved", call); }),
    "handoff.failed": (p) => this.#of(p, (call) => { call.takeHandoffFailed(); this.#emit("handoffFailed", call); }),
    "handoff.suggested": (p) => this.#of(p, (call) => { call.suggestedFrom = p.from; this.#emit("suggested", call, p.from); }, true),
    "invitation.changed": (p) => this.#takeInvitation(p),
    "media.changed": (p) => this.#of(p, (call) => call.takeMedia(p)),
    "media.gate": (p) => this.#of(p, (call) => call.takeGate(p)),
    "media.quality": (p) => this.#of(p, (call) => { call.takeQuality(p.score); call.qualityFromServer = true; }),
    "recording.changed": (p) => this.#of(p, (call) => { call.recorded = p.on; call.recordedBy = p.by; }),
    "conversation.changed": (p) => this.#takeConversation(p),
    "conversation.removed": (p) => { this.conversations.delete(p.conversation); this.#emit("conversationRemoved", p); },
    "conversation.message": (p) => this.#emit("message", p),
    "conversation.reminder": (p) => this.#emit("reminder", p),
    "server.draining": (p) => this.#emit("draining", p),
  };

  /** @param {Message} event */
  #takeEvent(event) {
    this.options.onProtocolEvent?.(event);
    for (const call of this.calls.values()) if (call.takeLegEvent(event)) return;
    this.#handlers[event.t]?.(event.p); // what this client does not know is acknowledged and ignored
    this.#emit("change");
  }

  /** @param {any} p @param {(call: Call) => void} take @param {boolean} [make] also for a session that is new here */
  #of(p, take, make = false) {
    const call = make ? this.#call(p.session, p.conversation ?? "") : this.calls.get(p.session);
    if (!call || call.ended) return;
    take(call);
    this.#changed(call);
  }

  /** @param {string} session @param {string} conversation @returns {Call} */
  #call(session, conversation) {
    let call = this.calls.get(session);
    if (!call) {
      call = new Call({
        command: (t, p) => this.command(t, p),
        media: this.media,
        quality: () => this.channel.welcome?.quality ?? QUALITY_LIMITS,
        iceServers: () => this.channel.welcome?.ice_servers ?? [],
        changed: (changed) => this.#changed(changed),
        remote: (of, stream) => this.#emit("remote", of, stream),
        nextMediaNumber: () => { this.#mediaNumber += 1; return this.#mediaNumber; },
        RTCPeerConnection: this.options.RTCPeerConnection,
      }, session, conversation);
      this.calls.set(session, call);
      for (const old of [...this.calls.values()].filter((known) => known.ended).slice(0, -KEPT_CALLS)) this.calls.delete(old.session);
    }
    if (conversation) call.conversation = conversation;
    return call;
  }

  /** @param {Call} call @param {string} leg */
  async #warm(call, leg) {
    this.#qualityTimer ??= setInterval(() => { void this.#measureQuality(); }, QUALITY_EVERY_MS);
    await call.warm(leg);
  }

  /** @param {Call} call */
  #changed(call) {
    this.#emit("call", call);
    this.#emit("change");
  }

  /** @param {Call} call @param {any} p */
  #end(call, p) {
    if (call.ended) return;
    for (const ring of [...this.rings.values()]) if (ring.session === call.session) this.#endRing(ring, { reason: "over" });
    call.takeEnd(p);
    this.release();
    this.#emit("callEnded", call);
    this.#changed(call);
  }

  /** @param {any} view a RingView */
  #takeRing(view) {
    const known = this.rings.get(view.ring);
    if (known) {
      known.deadline = performance.now() + view.ttl_ms;
      return;
    }
    const call = this.#call(view.session, view.conversation);
    if (call.state === "asking") call.state = "ringing";
    /** @type {Ring} */
    const ring = {
      ring: view.ring, session: view.session, conversation: view.conversation, kind: view.kind, visitor: view.visitor ?? {},
      permission: view.permission ?? { camera: "granted", mic: "granted", action: "none" },
      deadline: performance.now() + view.ttl_ms, fullMs: view.full_ms ?? view.ttl_ms, silent: false, call,
    };
    this.rings.set(ring.ring, ring);
    this.#emit("ring", ring);
  }

  /** @param {Ring} ring */
  #dropRing(ring) {
    if (!this.rings.delete(ring.ring)) return false;
    if (!ring.call.inCall) { // the leg that was warm belonged to the ring
      ring.call.leg?.close();
      ring.call.leg = null;
      ring.call.legId = null;
    }
    this.release();
    this.#emit("change");
    return true;
  }

  /** @param {Ring} ring @param {any} p */
  #endRing(ring, p) {
    if (this.#dropRing(ring)) this.#emit("ringEnded", ring, { reason: p.reason, by: p.by, logMissed: p.log_missed === true });
  }

  /** @param {ChannelStatus} status */
  #takePresence(status) {
    const known = this.presence.get(status.channel);
    if (!known || status.version >= known.version) this.presence.set(status.channel, status);
  }

  /** @param {ConversationView} view */
  #takeConversation(view) {
    const known = this.conversations.get(view.conversation);
    if (known && view.version < known.version) return;
    if (view.state === "closed") this.conversations.delete(view.conversation);
    else this.conversations.set(view.conversation, view);
    this.#emit("conversation", view);
  }

  /** @param {Invitation} view */
  #takeInvitation(view) {
    const known = this.invitations.get(view.invitation);
    if (known && view.version < known.version) return;
    for (const [id, old] of this.invitations) {
      if (old.conversation === view.conversation && id !== view.invitation && !LIVE_INVITATION.has(old.state)) this.invitations.delete(id);
    }
    this.invitations.set(view.invitation, view);
    this.#emit("invitation", view);
  }

  async #measureQuality() {
    const call = this.here;
    if (!call?.leg || call.state !== "active" || call.qualityFromServer) return;
    const stats = await call.stats();
    const score = stats && this.#ownQuality.score(call.session, stats);
    if (score === null || score === call.quality) return;
    call.takeQuality(score);
    this.#changed(call);
  }
}
