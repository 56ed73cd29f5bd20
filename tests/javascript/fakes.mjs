// A clock that stands still, a network with a scripted server at its end, and connections without media.

/** Replaces timers and the steady clock; `advance` lets time pass. */
export class Clock {
  #timers = new Map();
  #next = 1;
  now = 1000;

  install() {
    globalThis.setTimeout = (run, ms = 0) => this.#add(run, ms, 0);
    globalThis.setInterval = (run, ms) => this.#add(run, ms, ms);
    globalThis.clearTimeout = globalThis.clearInterval = (id) => this.#timers.delete(id);
    Object.defineProperty(globalThis, "performance", { configurable: true, value: { now: () => this.now, timeOrigin: 0 } });
  }

  #add(run, ms, every) {
    const id = this.#next++;
    this.#timers.set(id, { run, at: this.now + ms, every });
    return id;
  }

  async advance(ms) {
    const end = this.now + ms;
    for (;;) {
      await settled();
      const [id, due] = [...this.#timers].filter(([, timer]) => timer.at <= end).sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (due === undefined) break;
      this.now = Math.max(this.now, due.at);
      if (due.every) due.at += due.every;
      else this.#timers.delete(id);
      due.run();
    }
    this.now = end;
    await settled();
  }
}

/** Everything that only waits for promises has happened. */
export async function settled() {
  for (let i = 0; i < 40; i += 1) await Promise.resolve();
}

/** The other end of every connection. Commands are answered by `on[type]`, or `ok` without payload. */
export class FakeServer {
  sockets = [];
  received = [];
  /** What was thrown by who listens. @type {string[]} */ faults = [];
  on = {};
  welcome = { resumed: false, snapshot: {} };
  refusing = false;
  #seq = 0;
  #session = 0;

  constructor() {
    const server = this;
    this.WebSocket = class {
      readyState = 0;
      constructor(url, protocol) {
        this.url = url;
        this.protocol = protocol;
        queueMicrotask(() => {
          if (server.refusing) this.drop(1006);
          else if (this.readyState === 0) {
            this.readyState = 1;
            server.sockets.push(this);
            this.onopen?.();
          }
        });
      }
      send(text) { server.#receive(this, JSON.parse(text)); }
      close(code = 1005) { this.drop(code); }
      drop(code, reason = "") {
        if (this.readyState === 3) return;
        this.readyState = 3;
        queueMicrotask(() => this.onclose?.({ code, reason }));
      }
      deliver(message) {
        if (this.readyState !== 1) return;
        try {
          this.onmessage?.({ data: JSON.stringify(message) });
        } catch (error) { // a browser writes it into its console
          server.faults.push(error.message);
        }
      }
    };
  }

  get socket() { return this.sockets.at(-1); }

  #receive(socket, message) {
    this.received.push(message);
    if (message.t === "hello") {
      if (!this.welcome.resumed) this.#seq = 0;
      this.#session += this.welcome.resumed ? 0 : 1;
      const tokens = { session: `ss_${this.#session}`, resume_token: `rt_${this.received.length}` };
      queueMicrotask(() => socket.deliver({ t: "welcome", p: { ...tokens, p: "triortc.v1", hb_ms: 15000, caps: [], ...this.welcome, ...(this.welcome.resumed ? { snapshot: undefined } : {}) } }));
      return;
    }
    if (message.id === undefined) return;
    const answer = this.on[message.t];
    if (answer === null) return; // no reply yet
    queueMicrotask(() => {
      const p = typeof answer === "function" ? answer(message.p, message) : answer ?? {};
      if (p === undefined) return;
      const { error, ...rest } = p;
      socket.deliver(error ? { t: "err", re: message.id, p: error } : { t: "ok", re: message.id, p: rest });
    });
  }

  event(t, p, seq = this.#seq + 1) {
    this.#seq = seq;
    this.socket.deliver({ t, seq, at: 0, p });
  }

  sent(t) { return this.received.filter((message) => message.t === t); }
}

export class FakeMediaStream {
  #tracks = [];
  constructor(tracks = []) { this.#tracks = [...tracks]; }
  getTracks() { return [...this.#tracks]; }
  getAudioTracks() { return this.#tracks.filter(({ kind }) => kind === "audio"); }
  getVideoTracks() { return this.#tracks.filter(({ kind }) => kind === "video"); }
  addTrack(track) { this.#tracks.push(track); }
  removeTrack(track) { this.#tracks = this.#tracks.filter((known) => known !== track); }
}

export function fakeTrack(kind) {
  return { kind, enabled: true, stopped: false, stop() { this.stopped = true; }, getSettings: () => ({ deviceId: kind }) };
}

/** Keeps the rules of JSEP's signaling states, sends nothing. */
export class FakeConnection {
  static made = [];
  signalingState = "stable";
  connectionState = "new";
  iceConnectionState = "new";
  localDescription = null;
  remoteDescription = null;
  candidates = [];
  closed = false;
  #offers = 0;

  constructor(configuration) {
    this.configuration = configuration;
    this.number = FakeConnection.made.push(this);
  }

  addTransceiver(track) {
    const sender = { track: typeof track === "string" ? null : track, replaceTrack: async (next) => { sender.track = next; } };
    return { sender };
  }

  async createOffer({ iceRestart = false } = {}) {
    this.#offers += 1;
    return { type: "offer", sdp: `offer ${this.number}.${this.#offers}${iceRestart ? " restart" : ""}\r\na=ice-ufrag:u${this.number}${this.#offers}\r\n` };
  }

  async setLocalDescription(description = { type: "answer", sdp: `answer of ${this.number}` }) {
    const { type } = description;
    if (type === "rollback") {
      if (this.signalingState !== "have-local-offer") throw new Error(`rollback in ${this.signalingState}`);
      this.signalingState = "stable";
      return;
    }
    if (type === "offer" && this.signalingState !== "stable") throw new Error(`offer in ${this.signalingState}`);
    if (type === "answer" && this.signalingState !== "have-remote-offer") throw new Error(`answer in ${this.signalingState}`);
    this.localDescription = description;
    this.signalingState = type === "offer" ? "have-local-offer" : "stable";
  }

  async setRemoteDescription({ type, sdp }) {
    if (type === "answer" && this.signalingState !== "have-local-offer") throw new Error(`answer in ${this.signalingState}`);
    this.remoteDescription = { type, sdp };
    this.signalingState = type === "offer" ? "have-remote-offer" : "stable";
  }

  async addIceCandidate(candidate) { this.candidates.push(candidate); }
  async getStats() { return new Map(); }
  close() { this.closed = true; this.connectionState = "closed"; }

  becomes(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

/** Devices that are always there, unless `refuse` says why not. */
export class FakeMedia {
  stream = null;
  micOn = true;
  cameraOn = true;
  facingName = "front";
  refuse = null;
  closed = 0;
  onVideoTrack = () => {};
  onLost = () => {};
  async open() {
    if (this.refuse) throw this.refuse;
    this.stream ??= new FakeMediaStream([fakeTrack("audio"), fakeTrack("video")]);
    return this.stream;
  }
  async refusal() { return { camera: "denied", mic: "denied" }; }
  setMic(on) { this.micOn = on; }
  async setCamera(on) { this.cameraOn = on; }
  async switch() { this.facingName = "back"; }
  close() { this.stream = null; this.closed += 1; }
}
