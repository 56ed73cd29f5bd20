// A visitor and an agent, both this client, against a running server over real WebSockets; media are made up.
//   node --experimental-websocket server.mjs http://127.0.0.1:8080

import assert from "node:assert/strict";
import { test } from "node:test";
import { TriortcClient } from "../../signaling/web/triortc-client.js";
import { FakeConnection, FakeMedia, FakeMediaStream } from "./fakes.mjs";

globalThis.MediaStream = FakeMediaStream;
const url = process.argv.at(-1);
const offers = JSON.parse(process.env.TRIORTC_OFFERS ?? "{}");

/** Offers what a browser offers, so that the server has something real to answer. */
class OfferingConnection extends FakeConnection {
  async createOffer() { return { type: "offer", sdp: offers.chromium }; }
}

async function open(role, sub, device, more = {}) {
  const claims = { role, sub, did: device, name: sub, ...more };
  const client = new TriortcClient({
    url: `${url.replace("http", "ws")}/v1/signal`, RTCPeerConnection: OfferingConnection, media: new FakeMedia(),
    credentials: async () => {
      const reply = await fetch(`${url}/dev/token`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(claims) });
      return { token: (await reply.json()).token, device: { id: device, platform: role === "agent" ? "desktop" : "web", app_state: "foreground", perms: { camera: "granted", mic: "granted" } } };
    },
  });
  await client.connect();
  await until(client, () => client.link === "open");
  return client;
}

/** The first time that it is so, after something has changed. */
function until(client, condition) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => { stop(); reject(new Error(`never so: ${condition}`)); }, 10_000);
    const look = () => {
      if (!condition()) return;
      clearTimeout(timer);
      stop();
      resolve();
    };
    const stop = client.on("change", look);
    look();
  });
}

async function house(conversation) {
  const agent = await open("agent", `ana-${conversation}`, `desk-${conversation}`, { grp: [conversation] });
  const visitor = await open("visitor", `lea-${conversation}`, `tab-${conversation}`, { cv: [conversation], grp: [conversation] });
  for (const channel of ["chat", "video"]) await agent.setPresence(channel, "available");
  return { agent, visitor, leave() { agent.leave(); visitor.leave(); } };
}

test("a ring that is declined: the visitor reads no answer, the agent's list has the icon", async () => {
  const { agent, visitor, leave } = await house("cv_declined");
  await visitor.prepare();
  const call = await visitor.requestCall("cv_declined", { group: "cv_declined" });
  assert.equal(call.state, "ringing");
  assert.ok(call.leg.pc.remoteDescription.sdp.includes("a=ice-ufrag"));
  await until(agent, () => agent.rings.size === 1);
  const [ring] = agent.rings.values();
  assert.ok(ring.deadline - performance.now() > 25_000);
  await agent.acknowledge(ring);
  await until(visitor, () => call.alerting);
  assert.equal((await agent.decline(ring)).next, "conversation_list");
  await until(visitor, () => call.ended);
  assert.equal(call.end.outcome, "no_answer");
  await until(agent, () => agent.conversations.get("cv_declined")?.video_icon);
  leave();
});

test("accepted, interrupted and resumed without losing a message, hung up, tagged and closed", async () => {
  const { agent, visitor, leave } = await house("cv_talk");
  await visitor.prepare();
  const call = await visitor.requestCall("cv_talk", { group: "cv_talk" });
  await until(agent, () => agent.rings.size === 1);
  const [ring] = agent.rings.values();
  await agent.openRing(ring);
  await agent.prepare();
  await ring.call.warm();
  const mine = await agent.accept(ring);
  assert.equal(mine.here, true);
  await until(visitor, () => call.state === "connecting");
  assert.equal(call.agent.display_name, "ana-cv_talk");
  const messages = [];
  visitor.on("message", ({ text }) => messages.push(text));
  const session = visitor.channel.welcome.session;
  visitor.channel.interrupt();
  for (const text of ["one", "two", "three"]) await agent.sendMessage("cv_talk", text);
  await until(visitor, () => messages.length === 3);
  assert.deepEqual(messages, ["one", "two", "three"]);
  assert.equal(visitor.channel.welcome.session, session);
  await call.hangUp();
  await until(agent, () => mine.ended);
  assert.equal(mine.end.reason, "visitor_hangup");
  await agent.tag("cv_talk", ["chairs"]);
  await agent.closeConversation("cv_talk");
  await until(agent, () => agent.conversations.size === 0);
  leave();
});

test("a command that makes no sense is refused with its code, and the connection stays", async () => {
  const { agent, leave } = await house("cv_refused");
  await assert.rejects(agent.command("call.hangup", { session: "vs_unknown" }), { code: "state.not_found" });
  await assert.rejects(agent.command("call.dance", {}), { code: "proto.unknown_type" });
  assert.equal(agent.link, "open");
  leave();
});

test("the same device from another page supersedes the first", async () => {
  const first = await open("agent", "ben", "desk-ben");
  const second = await open("agent", "ben", "desk-ben");
  await until(first, () => first.link === "superseded");
  assert.equal(second.link, "open");
  first.leave();
  second.leave();
});
