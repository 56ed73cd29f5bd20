// One signaling session of triortc.v1: commands with replies, events in order and each once, acknowledgements,
// resume with replay, heartbeats. It knows no rules of calls, and nothing of a page: it runs in Node too.

import { RacingSocket } from "./triortc-transport.js";

/**
 * @typedef {object} Message one message of the protocol: a command has `id`, a reply `re`, an event `seq`
 * @property {string} t
 * @property {any} p
 * @property {string} [id]
 * @property {string} [re]
 * @property {number} [seq]
 * @property {number} [at]
 *
 * @typedef {"idle"|"connecting"|"open"|"lost"|"superseded"|"refused"|"left"} LinkState
 *
 * @typedef {object} Credentials
 * @property {string} token a JSON Web Token
 * @property {Record<string, unknown>} device the device part of `hello`
 *
 * @typedef {object} ChannelOptions
 * @property {string} url where the signaling socket is: `wss://host/v1/signal`
 * @property {() => Promise<Credentials>} credentials fetched for every connection, and when a token is about to expire
 * @property {(snapshot: any, welcome: any) => void} onSnapshot the server's view: forget what you knew
 * @property {(event: Message) => void} onEvent in order, each once
 * @property {(state: LinkState, detail: string) => void} onState
 * @property {typeof WebSocket} [WebSocket] another implementation, for tests
 * @property {number} [openTimeoutMs] how long one try may take, token and `welcome` included
 * @property {() => number} [random] between 0 and 1; spreads the tries of many clients
 */

const SUBPROTOCOL = "triortc.v1";
const ACK_EVERY_EVENTS = 20;
const ACK_EVERY_MS = 2000;
const IMMEDIATE_ACK = /^(ring|call|handoff|invitation)\./;
const AUTHENTICATION_CODE = 4403;
const DO_NOT_RESUME = new Set([4400, 4401, 4402, AUTHENTICATION_CODE]);
const SUPERSEDED_CODE = 4010;
const HOLE_CODE = 4998;
const SILENCE_CODE = 4999;
const RETRY_MS = [0, 300, 1000, 2000, 5000];
const SPREAD_MS = 200;
/** A longer wait than this is said to whoever asked, instead of being waited for here. */
const MAX_SILENT_WAIT_MS = 2000;
const UNAVAILABLE_TRIES = 3;
const UNAVAILABLE_WAIT_MS = 500;
/** Heartbeats of silence after which a connection counts as dead: 35 s at 15 s, 12 s at 5 s. */
const DEAD_AFTER_BEATS = 2.3;
/** From the wish to connect to `welcome`: whatever hangs on the way (a token, a socket, a server that says nothing), it is tried again. */
const OPEN_TIMEOUT_MS = 12000;

/** A refusal: `code` is stable, `details` say more. */
export class CommandError extends Error {
  /** @param {{code: string, message?: string, details?: any, retryable?: boolean, retry_after_ms?: number}} p */
  constructor(p) {
    super(p.message || p.code);
    this.name = "CommandError";
    this.code = p.code;
    /** @type {any} */
    this.details = p.details ?? {};
    this.retryable = p.retryable ?? false;
    this.retryAfterMs = p.retry_after_ms ?? 0;
  }
}

/** A time-ordered identifier (UUID version 7, RFC 9562 section 5.7). */
export function uuid7() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let ms = Date.now();
  for (let i = 5; i >= 0; i -= 1) { bytes[i] = ms % 256; ms = Math.floor(ms / 256); }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** @typedef {{message: Message, tries: number, resolve: (p: any) => void, reject: (error: Error) => void}} Waiting */

export class Channel {
  /** @type {RacingSocket|null} */ #socket = null;
  /** @type {any} what the server said last in `welcome` */ welcome = null;
  /** This device, as it introduced itself last. */ device = "";
  /** @type {Map<string, Waiting>} */ #unanswered = new Map();
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #ackTimer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #beatTimer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #retryTimer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #openTimer;
  /** Which try to connect is the newest: what an older one brings is let go. */ #tries = 0;
  /** Ends what the page tells us. @type {AbortController|null} */ #listening = null;
  #greeted = false;
  #refused = false;
  #stopped = true;
  #lastSeq = 0;
  #ackedSeq = 0;
  #heartbeatMs = 15000;
  #heardAt = 0;
  #pings = 0;
  #attempt = 0;

  /** @param {ChannelOptions} options */
  constructor(options) {
    this.options = options;
  }

  get open() { return this.#greeted && this.#socket?.readyState === 1; }

  /** The last event that was handed on. */
  get lastSeq() { return this.#lastSeq; }

  /** Connect, and stay connected: a lost connection is tried again until `leave`. */
  async connect() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#stopped = false;
    this.#refused = false;
    this.#listen();
    this.#tries += 1;
    const mine = this.#tries;
    clearTimeout(this.#openTimer);
    this.#openTimer = setTimeout(() => {
      this.#tries += 1;
      this.#closed(SILENCE_CODE, "no answer");
    }, this.options.openTimeoutMs ?? OPEN_TIMEOUT_MS);
    this.options.onState("connecting", "");
    let credentials;
    try {
      credentials = await this.options.credentials();
    } catch (error) {
      if (!this.#stopped && mine === this.#tries) this.#retryLater(error instanceof Error ? error.message : String(error));
      return;
    }
    if (this.#stopped || mine !== this.#tries) return;
    const Socket = this.options.WebSocket ?? RacingSocket;
    this.#drop();
    const socket = /** @type {RacingSocket} */ (new Socket(this.options.url, SUBPROTOCOL));
    this.#socket = socket;
    socket.onopen = () => { if (socket === this.#socket) this.#hello(credentials); };
    socket.onmessage = (event) => { if (socket === this.#socket) this.#receive(JSON.parse(event.data)); };
    socket.onclose = (event) => { if (socket === this.#socket) this.#closed(event.code, event.reason); };
  }

  /**
   * Send a command and wait for its reply. It survives a lost connection: it is sent again, with the same id.
   * @param {string} t @param {object} [p] @returns {Promise<any>} the payload of `ok`; rejects with CommandError
   */
  command(t, p = {}) {
    const message = { t, id: uuid7(), p };
    return new Promise((resolve, reject) => {
      this.#unanswered.set(message.id, { message, tries: 0, resolve, reject });
      if (this.open) this.#send(message);
    });
  }

  /** Leave for good: the server forgets the session. */
  leave() {
    this.#stopped = true;
    this.#listening?.abort();
    this.#listening = null;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#openTimer);
    if (this.open) this.#send({ t: "bye", p: { code: 4000, reason: "left" } });
    this.#drop();
    this.#giveUp("client.left", "this client has left");
    this.options.onState("left", "");
  }

  /** A network that is back, and a page that is looked at again, are worth a try. */
  #listen() {
    if (this.#listening) return;
    const { signal } = this.#listening = new AbortController();
    globalThis.addEventListener?.("online", () => this.retryNow(), { signal });
    globalThis.document?.addEventListener("visibilitychange", () => { if (!document.hidden) this.retryNow(); }, { signal });
  }

  /** Do not wait for the next try. */
  retryNow() {
    if (this.#retryTimer !== undefined && !this.#stopped) void this.connect();
  }

  /** Close the connection as a network would; it is resumed. For tests, and after doubt. */
  interrupt() {
    const socket = this.#socket;
    if (!socket) return;
    socket.close(HOLE_CODE);
    this.#closed(HOLE_CODE, "interrupted");
  }

  #drop() {
    clearTimeout(this.#beatTimer);
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    this.#greeted = false;
    const socket = this.#socket;
    this.#socket = null;
    if (socket && socket.readyState < 2) socket.close(1000);
  }

  /** @param {Credentials} credentials */
  #hello(credentials) {
    /** @type {Record<string, unknown>} */
    const p = { token: credentials.token, device: credentials.device, features: [] };
    if (this.welcome) p.resume = { session: this.welcome.session, token: this.welcome.resume_token, last_seq: this.#lastSeq };
    this.device = String(credentials.device.id ?? "");
    this.#send({ t: "hello", p });
    this.#heardAt = performance.now();
    this.#beat();
  }

  /** @param {Message} message */
  #send(message) { this.#socket?.send(JSON.stringify(message)); }

  /** @param {Message} message */
  #receive(message) {
    this.#heardAt = performance.now();
    if (message.seq !== undefined) this.#event(message, message.seq);
    else if (message.t === "ok" || message.t === "err") this.#reply(message);
    else if (message.t === "welcome") this.#welcomed(message.p);
    else if (message.t === "ping") this.#send({ t: "pong", p: { n: message.p.n } });
  }

  /** @param {any} p */
  #welcomed(p) {
    this.welcome = p;
    this.#greeted = true;
    clearTimeout(this.#openTimer);
    this.#attempt = 0;
    if (p.hb_ms) this.#setHeartbeat(p.hb_ms);
    if (!p.resumed) {
      this.#lastSeq = 0;
      this.#ackedSeq = 0;
    }
    try {
      if (p.snapshot) this.options.onSnapshot(p.snapshot, p);
    } finally { // a fault of the page's own does not leave it without a link
      this.options.onState("open", "");
      for (const { message } of [...this.#unanswered.values()]) this.#send(message);
    }
  }

  /** @param {Message} message */
  #reply(message) {
    if (message.re === "hello") {
      this.#refused = message.p.code?.startsWith("auth.") || message.p.code === "proto.unsupported_version";
      if (this.#refused) {
        this.welcome = null;
        this.options.onState("refused", message.p.message || message.p.code);
      }
      return;
    }
    const id = message.re ?? "";
    const waiting = this.#unanswered.get(id);
    if (!waiting) return;
    if (message.t === "err" && this.#tryAgain(waiting, message.p)) return;
    this.#unanswered.delete(id);
    if (message.t === "ok") waiting.resolve(message.p ?? {});
    else waiting.reject(new CommandError(message.p));
  }

  /** @param {Waiting} waiting @param {any} error @returns {boolean} whether the command is sent again, with the same id */
  #tryAgain(waiting, error) {
    const unavailable = error.code === "server.unavailable" && waiting.tries < UNAVAILABLE_TRIES;
    const limited = error.code === "rate.limited" && error.retry_after_ms > 0 && error.retry_after_ms <= MAX_SILENT_WAIT_MS;
    if (!unavailable && !limited) return false;
    waiting.tries += 1;
    setTimeout(() => { if (this.open) this.#send(waiting.message); }, limited ? error.retry_after_ms : UNAVAILABLE_WAIT_MS);
    return true;
  }

  /** @param {Message} message @param {number} seq */
  #event(message, seq) {
    if (seq <= this.#lastSeq) return;
    if (seq > this.#lastSeq + 1) { // a hole: the replay of the resume fills it
      this.interrupt();
      return;
    }
    this.#lastSeq = seq;
    if (message.t === "session.heartbeat") this.#setHeartbeat(message.p.hb_ms);
    else if (message.t === "session.ice_servers" && this.welcome) this.welcome.ice_servers = message.p.ice_servers; // for legs to come
    else if (message.t === "auth.expiring") this.refresh().catch(() => {}); // the server says what an expired token forbids
    else this.options.onEvent(message);
    if (IMMEDIATE_ACK.test(message.t) || seq - this.#ackedSeq >= ACK_EVERY_EVENTS) this.#ack();
    else this.#ackTimer ??= setTimeout(() => this.#ack(), ACK_EVERY_MS);
  }

  #ack() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    if (!this.open || this.#ackedSeq === this.#lastSeq) return;
    this.#ackedSeq = this.#lastSeq;
    this.#send({ t: "ack", p: { seq: this.#lastSeq } });
  }

  /** Give the server a fresh token. */
  async refresh() {
    const { token } = await this.options.credentials();
    await this.command("auth.refresh", { token });
  }

  /** @param {number} ms */
  #setHeartbeat(ms) {
    this.#heartbeatMs = ms;
    this.#beat();
  }

  #beat() {
    clearTimeout(this.#beatTimer);
    this.#beatTimer = setTimeout(() => {
      if (this.#socket?.readyState !== 1) return;
      if (performance.now() - this.#heardAt > this.#heartbeatMs * DEAD_AFTER_BEATS) {
        const socket = this.#socket;
        this.#closed(SILENCE_CODE, "silence");
        socket.close(SILENCE_CODE);
        return;
      }
      this.#pings += 1;
      this.#send({ t: "ping", p: { n: this.#pings } });
      this.#beat();
    }, this.#heartbeatMs);
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    clearTimeout(this.#openTimer);
    this.#drop();
    if (this.#stopped) return;
    if (code === SUPERSEDED_CODE || this.#refused || code === AUTHENTICATION_CODE) {
      this.welcome = null;
      this.#stopped = true;
      const superseded = code === SUPERSEDED_CODE;
      this.#giveUp(superseded ? "session.superseded" : "auth.invalid", reason);
      this.options.onState(superseded ? "superseded" : "refused", reason);
      return;
    }
    if (DO_NOT_RESUME.has(code)) this.welcome = null;
    this.#retryLater(reason);
  }

  /** @param {string} reason */
  #retryLater(reason) {
    const wait = RETRY_MS[Math.min(this.#attempt, RETRY_MS.length - 1)];
    this.#attempt += 1;
    clearTimeout(this.#openTimer);
    this.options.onState("lost", reason);
    const random = this.options.random ?? Math.random;
    this.#retryTimer = setTimeout(() => { void this.connect(); }, wait + random() * SPREAD_MS);
  }

  /** @param {string} code @param {string} message */
  #giveUp(code, message) {
    const waiting = [...this.#unanswered.values()];
    this.#unanswered.clear();
    for (const { reject } of waiting) reject(new CommandError({ code, message }));
  }
}
