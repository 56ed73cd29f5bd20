// One signaling session of triortc.v1 over WebSocket: commands with replies, events in order, resume, heartbeats.
// It keeps no rules of calls; the pages show what arrives here.

/**
 * @typedef {{t: string, p: any, id?: string, re?: string, seq?: number, at?: number}} Message
 * @typedef {object} ChannelOptions
 * @property {() => Promise<{token: string, device: object}>} credentials fetched for every new session
 * @property {(snapshot: any, welcome: any) => void} onSnapshot the server's view; forget what you knew
 * @property {(event: Message) => void} onEvent in order, each once
 * @property {(state: "connecting"|"open"|"lost"|"superseded"|"refused", detail?: string) => void} onState
 */

const SUBPROTOCOL = "triortc.v1";
const ACK_EVERY_EVENTS = 20;
const ACK_EVERY_MS = 2000;
const IMMEDIATE_ACK = /^(ring|call|handoff|invitation)\./;
const FINAL_CODES = new Set([4400, 4401, 4402, 4403]);
const SUPERSEDED_CODE = 4010;
const RETRY_MS = [0, 300, 1000, 2000, 5000];

/** A refusal by the server: `code` is stable, `details` say more. */
export class CommandError extends Error {
  /** @param {{code: string, message?: string, details?: any, retryable?: boolean}} p */
  constructor(p) {
    super(p.message || p.code);
    this.code = p.code;
    this.details = p.details ?? {};
    this.retryable = p.retryable ?? false;
  }
}

/** Time-ordered identifier (UUID version 7). */
export function uuid7() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let ms = Date.now();
  for (let i = 5; i >= 0; i -= 1) { bytes[i] = ms % 256; ms = Math.floor(ms / 256); }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export class Channel {
  /** @param {ChannelOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {WebSocket|null} */
    this.socket = null;
    this.welcome = /** @type {any} */ (null);
    this.lastSeq = 0;
    this.ackedSeq = 0;
    this.heartbeatMs = 15000;
    this.heardAt = 0;
    this.pings = 0;
    this.attempt = 0;
    this.stopped = false;
    /** @type {Map<string, {message: Message, resolve: (p: any) => void, reject: (e: Error) => void}>} */
    this.unanswered = new Map();
    this.ackTimer = 0;
    this.beatTimer = 0;
    this.retryTimer = 0;
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.retryNow(); });
  }

  get open() { return this.socket?.readyState === WebSocket.OPEN && this.welcome !== null && this.greeted === true; }

  async connect() {
    clearTimeout(this.retryTimer);
    this.stopped = false;
    this.greeted = false;
    this.options.onState("connecting");
    let credentials;
    try {
      credentials = await this.options.credentials();
    } catch (error) {
      this.#retryLater(String(error instanceof Error ? error.message : error));
      return;
    }
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/v1/signal`, SUBPROTOCOL);
    this.socket = socket;
    socket.onopen = () => this.#hello(credentials);
    socket.onmessage = (event) => { if (socket === this.socket) this.#receive(JSON.parse(event.data)); };
    socket.onclose = (event) => { if (socket === this.socket) this.#closed(event.code, event.reason); };
  }

  /**
   * Send a command and wait for its reply. It survives a lost connection: it is sent again, with the same id.
   * @param {string} t @param {object} [p] @returns {Promise<any>} the payload of `ok`; rejects with CommandError
   */
  command(t, p = {}) {
    const message = { t, id: uuid7(), p };
    return new Promise((resolve, reject) => {
      this.unanswered.set(message.id, { message, resolve, reject });
      if (this.open) this.#send(message);
    });
  }

  /** Leave for good: the server may forget the session. */
  leave() {
    this.stopped = true;
    clearTimeout(this.retryTimer);
    if (this.open) this.#send({ t: "bye", p: { code: 4000, reason: "left" } });
    this.socket?.close(1000);
  }

  retryNow() {
    if (this.retryTimer && !this.stopped) this.connect();
  }

  /** @param {{token: string, device: object}} credentials */
  #hello(credentials) {
    /** @type {Record<string, unknown>} */
    const p = { token: credentials.token, device: credentials.device, features: [] };
    if (this.welcome) p.resume = { session: this.welcome.session, token: this.welcome.resume_token, last_seq: this.lastSeq };
    this.#send({ t: "hello", p });
    this.heardAt = performance.now();
    this.#beat();
  }

  /** @param {Message} message */
  #send(message) {
    this.socket?.send(JSON.stringify(message));
  }

  /** @param {Message} message */
  #receive(message) {
    this.heardAt = performance.now();
    if (message.seq !== undefined) this.#event(message);
    else if (message.t === "ok" || message.t === "err") this.#reply(message);
    else if (message.t === "welcome") this.#welcomed(message.p);
    else if (message.t === "ping") this.#send({ t: "pong", p: { n: message.p.n } });
  }

  /** @param {any} p */
  #welcomed(p) {
    this.welcome = p;
    this.greeted = true;
    this.attempt = 0;
    if (p.hb_ms) this.heartbeatMs = p.hb_ms;
    if (!p.resumed) {
      this.lastSeq = 0;
      this.ackedSeq = 0;
    }
    this.options.onState("open");
    if (p.snapshot) this.options.onSnapshot(p.snapshot, p);
    for (const { message } of [...this.unanswered.values()]) this.#send(message);
  }

  /** @param {Message} message */
  #reply(message) {
    if (message.re === "hello") {
      if (message.p.code?.startsWith("auth.")) this.welcome = null;
      this.options.onState("refused", message.p.message || message.p.code);
      return;
    }
    const waiting = this.unanswered.get(message.re ?? "");
    if (!waiting) return;
    if (message.t === "err" && message.p.code === "rate.limited" && message.p.retry_after_ms) {
      setTimeout(() => { if (this.open) this.#send(waiting.message); }, message.p.retry_after_ms);
      return;
    }
    this.unanswered.delete(message.re ?? "");
    if (message.t === "ok") waiting.resolve(message.p ?? {});
    else waiting.reject(new CommandError(message.p));
  }

  /** @param {Message} message */
  #event(message) {
    const seq = message.seq ?? 0;
    if (seq <= this.lastSeq) return;
    if (seq > this.lastSeq + 1) { // a hole: the resume fills it
      this.socket?.close(4000 + 999);
      return;
    }
    this.lastSeq = seq;
    if (message.t === "session.heartbeat") this.heartbeatMs = message.p.hb_ms;
    else if (message.t === "auth.expiring") this.#refresh();
    else this.options.onEvent(message);
    if (IMMEDIATE_ACK.test(message.t) || seq - this.ackedSeq >= ACK_EVERY_EVENTS) this.#ack();
    else if (!this.ackTimer) this.ackTimer = window.setTimeout(() => this.#ack(), ACK_EVERY_MS);
  }

  #ack() {
    clearTimeout(this.ackTimer);
    this.ackTimer = 0;
    if (!this.open || this.ackedSeq === this.lastSeq) return;
    this.ackedSeq = this.lastSeq;
    this.#send({ t: "ack", p: { seq: this.lastSeq } });
  }

  async #refresh() {
    const { token } = await this.options.credentials();
    await this.command("auth.refresh", { token });
  }

  #beat() {
    clearTimeout(this.beatTimer);
    this.beatTimer = window.setTimeout(() => {
      if (this.socket?.readyState !== WebSocket.OPEN) return;
      if (performance.now() - this.heardAt > this.heartbeatMs * 2.3) {
        this.socket.close(4999);
        this.#closed(4999, "silence");
        return;
      }
      this.pings += 1;
      this.#send({ t: "ping", p: { n: this.pings } });
      this.#beat();
    }, this.heartbeatMs);
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    clearTimeout(this.beatTimer);
    this.socket = null;
    this.greeted = false;
    if (this.stopped) return;
    if (code === SUPERSEDED_CODE) {
      this.welcome = null;
      this.options.onState("superseded");
      return;
    }
    if (FINAL_CODES.has(code)) this.welcome = null;
    this.#retryLater(reason);
  }

  /** @param {string} reason */
  #retryLater(reason) {
    const wait = RETRY_MS[Math.min(this.attempt, RETRY_MS.length - 1)];
    this.attempt += 1;
    this.options.onState("lost", reason);
    this.retryTimer = window.setTimeout(() => { this.retryTimer = 0; this.connect(); }, wait + Math.random() * 200);
  }
}
