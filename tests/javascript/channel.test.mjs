// The signaling session against a scripted server, with time standing still.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Channel, CommandError, uuid7 } from "../../signaling/web/triortc-channel.js";
import { Clock, FakeServer, settled } from "./fakes.mjs";

const clock = new Clock();
clock.install();
let server, seen, channel;

beforeEach(async () => {
  server = new FakeServer();
  seen = { events: [], snapshots: [], states: [] };
  channel = new Channel({
    url: "ws://server/v1/signal", WebSocket: server.WebSocket, random: () => 0,
    credentials: async () => ({ token: "t", device: { id: "d1", platform: "web" } }),
    onSnapshot: (snapshot) => seen.snapshots.push(snapshot),
    onEvent: (event) => seen.events.push(event.t),
    onState: (state) => seen.states.push(state),
  });
  await channel.connect();
  await settled();
});

afterEach(() => {
  channel.leave();
  assert.deepEqual(server.faults, []);
});

test("3.1 hello comes first on the subprotocol, and the snapshot before the link is open", () => {
  assert.equal(server.socket.protocol, "triortc.v1");
  assert.deepEqual(server.received[0].p, { token: "t", device: { id: "d1", platform: "web" }, features: [] });
  assert.deepEqual(seen.states, ["connecting", "open"]);
  assert.equal(seen.snapshots.length, 1);
});

test("a token, a socket or a welcome that does not come is given up, and tried again", async () => {
  channel.leave();
  seen.states.length = 0;
  const never = new Promise(() => {});
  let hang = "token";
  const Silent = class extends server.WebSocket {
    constructor(url, protocol) {
      super(url, protocol);
      if (hang === "socket") this.readyState = 1; // the fake opens only what is connecting
    }
    send(text) { if (hang !== "welcome") super.send(text); }
  };
  channel = new Channel({
    url: "ws://server/v1/signal", WebSocket: Silent, random: () => 0, openTimeoutMs: 5000,
    credentials: () => (hang === "token" ? never : Promise.resolve({ token: "t", device: { id: "d1" } })),
    onSnapshot: () => {}, onEvent: () => {}, onState: (state) => seen.states.push(state),
  });
  void channel.connect();
  for (const next of ["socket", "welcome", ""]) {
    await clock.advance(4999);
    assert.equal(seen.states.at(-1), "connecting");
    hang = next;
    await clock.advance(1);
    assert.equal(seen.states.at(-1), next === "socket" ? "connecting" : "lost", next); // the first try again is at once
    await clock.advance(next === "socket" ? 0 : next === "welcome" ? 300 : 1000);
  }
  assert.equal(seen.states.at(-1), "open");
  await clock.advance(5000);
  assert.equal(seen.states.at(-1), "open");
});

test("a page that fails over the snapshot has its link all the same", async () => {
  channel.leave();
  channel = new Channel({
    url: "ws://server/v1/signal", WebSocket: server.WebSocket, random: () => 0,
    credentials: async () => ({ token: "t", device: { id: "d1", platform: "web" } }),
    onSnapshot: () => { throw new Error("on purpose"); }, onEvent: () => {}, onState: (state) => seen.states.push(state),
  });
  await channel.connect();
  await settled();
  assert.equal(seen.states.at(-1), "open");
  assert.deepEqual(server.faults.splice(0), ["on purpose"]);
});

test("3.2 a command has its reply, and an error its code and details", async () => {
  server.on["presence.set"] = { channel: "video" };
  assert.deepEqual(await channel.command("presence.set", {}), { channel: "video" });
  server.on["call.accept"] = { error: { code: "call.expired", message: "too late", details: { outcome: "no_answer" } } };
  await assert.rejects(channel.command("call.accept", {}), (error) => error instanceof CommandError && error.code === "call.expired" && error.details.outcome === "no_answer");
});

test("3.3 a lost connection is resumed from the last event, and an unanswered command sent again with its id", async () => {
  server.event("call.state", { n: 1 });
  server.on["call.hangup"] = null;
  const command = channel.command("call.hangup", { session: "vs_1" });
  await settled();
  const resume = server.received[0] && channel.welcome.resume_token;
  server.welcome = { resumed: true };
  server.on["call.hangup"] = { outcome: "completed" };
  server.socket.drop(1006);
  await clock.advance(10);
  const hello = server.sent("hello")[1];
  assert.deepEqual(hello.p.resume, { session: "ss_1", token: resume, last_seq: 1 });
  assert.equal(seen.snapshots.length, 1);
  assert.deepEqual(await command, { outcome: "completed" });
  const [first, second] = server.sent("call.hangup");
  assert.equal(first.id, second.id);
});

test("3.3 a session that cannot be resumed begins at event 1 with a snapshot", async () => {
  for (let i = 0; i < 5; i += 1) server.event("presence.changed", {});
  server.socket.drop(1006);
  await clock.advance(10);
  assert.equal(seen.snapshots.length, 2);
  server.event("call.state", {}, 1);
  assert.equal(seen.events.at(-1), "call.state");
  assert.equal(channel.lastSeq, 1);
});

test("3.3 an event that was seen is not handed on again, and a hole is filled by a resume", async () => {
  server.event("a", {});
  server.event("b", {});
  server.event("b", {}, 2);
  assert.deepEqual(seen.events, ["a", "b"]);
  server.welcome = { resumed: true };
  server.event("d", {}, 4);
  assert.deepEqual(seen.events, ["a", "b"]);
  await clock.advance(10);
  assert.equal(server.sent("hello")[1].p.resume.last_seq, 2);
  server.event("c", {}, 3);
  server.event("d", {}, 4);
  assert.deepEqual(seen.events, ["a", "b", "c", "d"]);
});

test("3.2 events of calls are acknowledged at once, others after two seconds or twenty", async () => {
  server.event("presence.changed", {});
  assert.equal(server.sent("ack").length, 0);
  server.event("ring.offer", {});
  assert.deepEqual(server.sent("ack").map(({ p }) => p.seq), [2]);
  server.event("presence.changed", {});
  await clock.advance(2000);
  assert.deepEqual(server.sent("ack").map(({ p }) => p.seq), [2, 3]);
  for (let i = 0; i < 20; i += 1) server.event("conversation.changed", {});
  assert.deepEqual(server.sent("ack").map(({ p }) => p.seq), [2, 3, 23]);
});

test("3.3 pings keep time, pongs answer, and silence is a lost connection", async () => {
  server.socket.deliver({ t: "ping", p: { n: 7 } });
  assert.deepEqual(server.sent("pong").map(({ p }) => p.n), [7]);
  server.event("session.heartbeat", { hb_ms: 5000 });
  await clock.advance(5000);
  assert.deepEqual(server.sent("ping").map(({ p }) => p.n), [1]);
  assert.equal(seen.events.length, 0);
  await clock.advance(4900);
  assert.equal(seen.states.at(-1), "open");
  await clock.advance(5200);
  assert.ok(seen.states.includes("lost"));
  assert.equal(server.sent("hello").length, 2);
});

test("3.8b renewed TURN credentials take the place of those of the welcome", async () => {
  const renewed = [{ urls: ["turn:turn.example"], username: "2:x", credential: "y" }];
  server.event("session.ice_servers", { ice_servers: renewed });
  await settled();
  assert.deepEqual(channel.welcome.ice_servers, renewed);
  assert.equal(seen.events.length, 0);
});

test("3.6 superseded ends the tries, and says so to whoever waits", async () => {
  server.on["call.hangup"] = null;
  const waiting = channel.command("call.hangup");
  server.socket.drop(4010, "newer");
  await assert.rejects(waiting, { code: "session.superseded" });
  await clock.advance(60_000);
  assert.equal(seen.states.at(-1), "superseded");
  assert.equal(server.sockets.length, 1);
  await channel.connect(); // "use this tab"
  await settled();
  assert.equal(server.sent("hello")[1].p.resume, undefined);
});

test("3.6 a refused token is not tried for ever", async () => {
  server.socket.deliver({ t: "err", re: "hello", p: { code: "auth.expired", message: "expired" } });
  server.socket.drop(4403);
  await clock.advance(60_000);
  assert.equal(seen.states.at(-1), "refused");
  assert.equal(server.sockets.length, 1);
});

test("3.6 rate.limited and server.unavailable are waited for, with the same id; a long wait is said", async () => {
  let tries = 0;
  server.on["conversation.read"] = () => ((tries += 1) < 3 ? { error: { code: tries === 1 ? "rate.limited" : "server.unavailable", retry_after_ms: 100 } } : { done: true });
  const command = channel.command("conversation.read");
  await clock.advance(2000);
  assert.deepEqual(await command, { done: true });
  assert.equal(new Set(server.sent("conversation.read").map(({ id }) => id)).size, 1);
  server.on["call.request"] = { error: { code: "rate.limited", retry_after_ms: 30_000 } };
  await assert.rejects(channel.command("call.request"), { code: "rate.limited", retryAfterMs: 30_000 });
});

test("3.8 a token that expires is refreshed", async () => {
  server.event("auth.expiring", { exp_at: 1 });
  await settled();
  assert.deepEqual(server.sent("auth.refresh").map(({ p }) => p.token), ["t"]);
});

test("tries are spread over time, and an online network is not waited for", async () => {
  server.refusing = true;
  server.socket.drop(1006);
  await clock.advance(1);
  const after = [];
  for (let i = 0; i < 100; i += 1) { await clock.advance(100); after.push(seen.states.filter((state) => state === "connecting").length); }
  assert.equal(after.at(-1), 6); // at 0, 0, 0.3, 1.3, 3.3, 8.3 s
  server.refusing = false;
  channel.retryNow();
  await settled();
  assert.equal(seen.states.at(-1), "open");
});

test("leaving says bye and forgets nobody who waits", async () => {
  server.on["call.cancel"] = null;
  const waiting = channel.command("call.cancel");
  channel.leave();
  await assert.rejects(waiting, { code: "client.left" });
  assert.equal(server.sent("bye")[0].p.code, 4000);
  await clock.advance(60_000);
  assert.equal(server.sockets.length, 1);
});

test("RFC 9562 5.7 identifiers sort by time and carry version and variant", () => {
  const ids = Array.from({ length: 50 }, uuid7);
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(ids.map((id) => id.slice(0, 13)), ids.map((id) => id.slice(0, 13)).sort());
  assert.equal(new Set(ids).size, ids.length);
});

test("a channel that has left listens to the page no longer", async () => {
  let listening = 0;
  globalThis.addEventListener = (_type, _listener, { signal } = {}) => {
    listening += 1;
    signal?.addEventListener("abort", () => { listening -= 1; });
  };
  const other = new Channel({ ...channel.options });
  await other.connect();
  await settled();
  assert.equal(listening, 1);
  other.leave();
  assert.equal(listening, 0);
  await other.connect();
  await settled();
  assert.equal(listening, 1);
  other.leave();
  assert.equal(listening, 0);
  delete globalThis.addEventListener;
});
