// WebTransport or WebSocket, whichever opens first, with the face of a WebSocket: text messages, whole and in order.
// Whoever uses it says `hello` when it opens, and so on one transport only. It runs in a page, a worker and Node.

const WEBSOCKET_AFTER_MS = 300;
const LENGTH_BYTES = 4;
const MAX_MESSAGE_BYTES = 1 << 20;
const NORMAL_CODE = 1000;
const LOST_CODE = 1006;

/**
 * @typedef {{port: number, certificate_hashes: string[]}} Offer where WebTransport is
 * @typedef {object} Link an open connection of either kind
 * @property {(text: string) => void} send
 * @property {(code: number, reason: string) => void} close
 */

/** Opened once in vain, WebTransport is not waited for again: a network that drops UDP does so every time. */
let webTransportFails = false;

/** Joins what comes and cuts it at the lengths. */
class Frames {
  #waiting = new Uint8Array(0);

  /** @param {Uint8Array} bytes @returns {string[]} the messages that are whole now */
  feed(bytes) {
    const joined = new Uint8Array(this.#waiting.length + bytes.length);
    joined.set(this.#waiting);
    joined.set(bytes, this.#waiting.length);
    const view = new DataView(joined.buffer);
    const messages = [];
    let start = 0;
    while (joined.length - start >= LENGTH_BYTES) {
      const length = view.getUint32(start);
      if (length > MAX_MESSAGE_BYTES) throw new Error(`a message of ${length} bytes`);
      const end = start + LENGTH_BYTES + length;
      if (joined.length < end) break;
      messages.push(new TextDecoder("utf-8", { fatal: true }).decode(joined.subarray(start + LENGTH_BYTES, end)));
      start = end;
    }
    this.#waiting = joined.slice(start);
    return messages;
  }
}

/** @param {string} text */
function frame(text) {
  const body = new TextEncoder().encode(text);
  const framed = new Uint8Array(LENGTH_BYTES + body.length);
  new DataView(framed.buffer).setUint32(0, body.length);
  framed.set(body, LENGTH_BYTES);
  return framed;
}

/** A connection that is opened by both transports; the first to open stays. */
export class RacingSocket {
  /** 0 connecting, 1 open, 2 closing, 3 closed: as a WebSocket's. */
  readyState = 0;
  /** @type {"websocket"|"webtransport"|null} what it came to be */
  transport = null;
  /** @type {(() => void)|null} */ onopen = null;
  /** @type {((event: {data: string}) => void)|null} */ onmessage = null;
  /** @type {((event: {code: number, reason: string}) => void)|null} */ onclose = null;
  /** @type {Link|null} */ #link = null;
  /** @type {Set<() => void>} what ends those that run still when one has won */ #losers = new Set();
  #running = 1;
  /** @type {ReturnType<typeof setTimeout>|undefined} */ #timer;
  #webSocketBegan = false;
  #heard = false;

  /**
   * @param {string} url `wss://host/v1/signal`
   * @param {string} protocol `triortc.v1`
   */
  constructor(url, protocol) {
    this.url = url;
    this.protocol = protocol;
    if (webTransportFails || typeof WebTransport === "undefined") {
      this.#beginWebSocket();
    } else {
      this.#timer = setTimeout(() => this.#beginWebSocket(), WEBSOCKET_AFTER_MS);
      this.#running += 1;
      this.#tryWebTransport().catch(() => this.#beginWebSocket()).finally(() => this.#oneLess());
    }
  }

  /** @param {string} text */
  send(text) {
    if (this.readyState === 1) this.#link?.send(text);
  }

  close(code = NORMAL_CODE, reason = "") {
    if (this.readyState >= 2) return;
    const link = this.#link;
    // Open, and yet nothing came: a network or a proxy that lets packets through and streams not. The next try does without.
    if (this.transport === "webtransport" && !this.#heard) webTransportFails = true;
    this.readyState = 2;
    this.#endLosers();
    if (link) link.close(code, reason);
    else queueMicrotask(() => this.#closed(LOST_CODE, "closed before it was open"));
  }

  // --- the race

  /** @param {Link} link @param {"websocket"|"webtransport"} transport @returns {boolean} whether it has won */
  #opened(link, transport) {
    if (this.readyState !== 0) return false;
    this.#link = link;
    this.transport = transport;
    this.readyState = 1;
    this.#endLosers();
    this.onopen?.();
    return true;
  }

  /** What a listener throws is its own fault, told as the browser tells it, and not the connection's. @param {string} data */
  #received(data) {
    this.#heard = true;
    try {
      this.onmessage?.({ data });
    } catch (error) {
      setTimeout(() => { throw error; });
    }
  }

  #endLosers() {
    clearTimeout(this.#timer);
    for (const end of this.#losers) end();
    this.#losers.clear();
  }

  /** One of those that run has ended; with the last the race is lost. */
  #oneLess() {
    this.#running -= 1;
    if (this.#running === 0 && this.readyState === 0) this.#closed(LOST_CODE, "");
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#endLosers();
    this.onclose?.({ code, reason });
  }

  // --- WebSocket

  #beginWebSocket() {
    if (this.#webSocketBegan || this.readyState !== 0) return;
    this.#webSocketBegan = true;
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.url, this.protocol);
    // Closed before it is open, it would be an error in Firefox's console: it may open, and says nothing.
    const lose = () => { socket.onclose = socket.onmessage = null; socket.onopen = () => socket.close(); };
    this.#losers.add(lose);
    let won = false;
    socket.onopen = () => {
      this.#losers.delete(lose);
      won = this.#opened(
        { send: (text) => socket.send(text), close: (code, reason) => socket.close(code, reason) }, "websocket");
      if (!won) socket.close();
    };
    socket.onmessage = (event) => { if (won) this.#received(event.data); };
    socket.onclose = (event) => {
      this.#losers.delete(lose);
      if (won) this.#closed(event.code, event.reason);
      else this.#oneLess();
    };
  }

  // --- WebTransport

  /** @returns {Promise<Offer|null>} */
  async #offer() {
    const url = new URL("/v1/transports", this.url);
    url.protocol = url.protocol === "wss:" ? "https:" : "http:";
    const answer = await fetch(url, { signal: AbortSignal.timeout(3000) });
    return answer.ok ? (await answer.json()).webtransport : null;
  }

  async #tryWebTransport() {
    const offer = await this.#offer();
    if (this.readyState !== 0) return;
    if (!offer) {
      this.#beginWebSocket();
      return;
    }
    const url = new URL(this.url);
    url.protocol = "https:";
    url.port = String(offer.port);
    url.search = `p=${this.protocol}`;
    const serverCertificateHashes = offer.certificate_hashes.map((text) => (
      { algorithm: "sha-256", value: Uint8Array.from(atob(text), (character) => character.charCodeAt(0)) }));
    const session = new WebTransport(url, serverCertificateHashes.length ? { serverCertificateHashes } : {});
    session.closed.catch(() => {});
    const lose = () => session.close();
    this.#losers.add(lose);
    let stream;
    try {
      await session.ready;
      stream = await session.createBidirectionalStream();
    } catch (error) {
      if (this.readyState === 0) webTransportFails = true;
      this.#losers.delete(lose);
      throw error;
    }
    this.#losers.delete(lose);
    const writer = stream.writable.getWriter();
    writer.closed.catch(() => {});
    const link = {
      /** @param {string} text */
      send: (text) => { writer.write(frame(text)).catch(() => {}); },
      /** @param {number} code @param {string} reason */
      close: (code, reason) => {
        // What was written last is on its way before the session ends.
        writer.close().catch(() => {}).finally(() => session.close({ closeCode: code, reason }));
      },
    };
    if (this.#opened(link, "webtransport")) this.#read(session, stream, writer);
    else session.close();
  }

  /** @param {WebTransport} session @param {WebTransportBidirectionalStream} stream @param {WritableStreamDefaultWriter} writer */
  async #read(session, stream, writer) {
    const frames = new Frames();
    const reader = stream.readable.getReader();
    try {
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        for (const data of frames.feed(part.value)) this.#received(data);
      }
      // The server has said its last word: when it sees our end, too, it tells the code.
      await writer.close().catch(() => {});
    } catch {
      session.close();
    }
    try {
      const { closeCode, reason } = await session.closed;
      this.#closed(closeCode || NORMAL_CODE, reason ?? "");
    } catch {
      this.#closed(LOST_CODE, "");
    }
  }
}
