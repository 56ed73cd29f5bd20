// The race of the two transports, each of them scripted.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { RacingSocket } from "../../signaling/web/triortc-transport.js";
import { FakeServer } from "./fakes.mjs";

const own = { fetch: globalThis.fetch, WebTransport: globalThis.WebTransport, WebSocket: globalThis.WebSocket };
let server;

/** A session that opens, and whose stream never brings anything. */
class SilentTransport {
  ready = Promise.resolve();
  closed = new Promise(() => {});
  close() {}
  async createBidirectionalStream() { return { readable: new ReadableStream(), writable: new WritableStream() }; }
}

beforeEach(() => {
  server = new FakeServer();
  globalThis.fetch = async () => ({ ok: true, json: async () => ({ webtransport: { port: 1, certificate_hashes: [] } }) });
  globalThis.WebTransport = SilentTransport;
  globalThis.WebSocket = server.WebSocket;
});

afterEach(() => Object.assign(globalThis, own));

async function opened() {
  const socket = new RacingSocket("wss://server/v1/signal", "triortc.v1");
  await new Promise((resolve) => { socket.onopen = () => resolve(null); });
  return socket;
}

test("3.1 who was given up on WebTransport before anything came is on WebSocket with the next try", async () => {
  const first = await opened();
  assert.equal(first.transport, "webtransport");
  first.close();
  const second = await opened();
  assert.equal(second.transport, "websocket");
  second.close();
});
