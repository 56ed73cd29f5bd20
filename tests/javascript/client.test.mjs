// The client's own view of calls, rings, invitations and conversations, against a scripted server.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { TriortcClient } from "../../signaling/web/triortc-client.js";
import { Clock, FakeConnection, FakeMedia, FakeMediaStream, FakeServer, fakeTrack, settled } from "./fakes.mjs";

const clock = new Clock();
clock.install();
globalThis.MediaStream = FakeMediaStream;
let server, client, told;

const VISITOR = { name: "Léa" };
const offered = (more = {}) => ({ ring: "rg_1", session: "vs_1", conversation: "cv_1", kind: "call", ttl_ms: 30_000, expires_at: 1, visitor: VISITOR, preview: true, permission: { camera: "granted", mic: "granted", action: "none" }, media: {}, ...more });
const view = (more = {}) => ({ conversation: "cv_1", state: "open", assignee: "ana", group: "default", video_icon: false, unread: 0, tags: [], visitor: VISITOR, version: 1, ...more });

beforeEach(async () => {
  FakeConnection.made.length = 0;
  server = new FakeServer();
  server.on["sdp.offer"] = { answer: "answer" };
  told = [];
  client = new TriortcClient({
    url: "ws://server/v1/signal", WebSocket: server.WebSocket, RTCPeerConnection: FakeConnection, media: new FakeMedia(),
    credentials: async () => ({ token: "t", device: { id: "d1", platform: "desktop" } }),
  });
  for (const type of ["ring", "ringEnded", "callEnded", "moved", "handoffFailed", "suggested", "invitation", "message", "reminder", "conversationRemoved", "remote"])
    client.on(type, (...values) => told.push([type, ...values]));
  await client.connect();
  await settled();
});
afterEach(() => client.leave());

async function answered() {
  server.event("ring.offer", offered());
  const [ring] = client.rings.values();
  server.on["ring.opened"] = { ttl_ms: 29_000, leg: "leg_2" };
  server.on["call.accept"] = { leg: "leg_2", state: "connecting" };
  await client.prepare();
  await client.openRing(ring);
  await ring.call.warm();
  const call = await client.accept(ring);
  server.event("call.active", { session: "vs_1", since_at: 1 });
  return call;
}

async function visitorsCall() {
  server.on["call.request"] = { session: "vs_1", state: "ringing", leg: "leg_1" };
  await client.prepare();
  return client.requestCall("cv_1");
}

test("S1.3 a ring counts down on this device's own clock, warms its leg, and Go enters the call on that leg", async () => {
  server.event("ring.offer", offered({ ttl_ms: 17_000 }));
  const [ring] = client.rings.values();
  assert.equal(ring.deadline - clock.now, 17_000);
  server.on["ring.opened"] = { ttl_ms: 16_000, leg: "leg_2" };
  await client.prepare();
  await client.openRing(ring);
  await ring.call.warm();
  assert.equal(ring.deadline - clock.now, 16_000);
  assert.equal(server.sent("sdp.offer")[0].p.leg, "leg_2");
  server.on["call.accept"] = { leg: "leg_2", state: "connecting" };
  const call = await client.accept(ring);
  assert.equal(call.state, "connecting");
  assert.equal(client.here, call);
  assert.equal(client.rings.size, 0);
  assert.equal(server.sent("sdp.offer").length, 1);
  server.event("call.active", { session: "vs_1", since_at: 1 });
  server.event("media.gate", { session: "vs_1", kind: "video", state: "open", since_at: 1 });
  assert.deepEqual([call.state, call.live, call.interruption], ["active", true, "connecting"]);
  FakeConnection.made[0].becomes("connected");
  assert.equal(call.interruption, "");
});

test("S1.1 a refused camera is told to the server and the ring goes on", async () => {
  client.media.refuse = new Error("no");
  server.event("ring.offer", offered());
  await assert.rejects(client.prepare(), /no/);
  await settled();
  assert.deepEqual(server.sent("device.update")[0].p, { perms: { camera: "denied", mic: "denied" } });
  assert.equal(client.rings.size, 1);
});

test("S1.3 a declined ring and one answered elsewhere close the warm leg and the devices", async () => {
  for (const end of ["decline", "elsewhere"]) {
    server.event("ring.offer", offered({ ring: `rg_${end}`, session: `vs_${end}` }));
    const [ring] = client.rings.values();
    server.on["ring.opened"] = { ttl_ms: 29_000, leg: `leg_${end}` };
    await client.prepare();
    await client.openRing(ring);
    await ring.call.warm();
    if (end === "decline") await client.decline(ring);
    else server.event("ring.ended", { ring: ring.ring, session: ring.session, reason: "answered_elsewhere", by: { platform: "ios" }, log_missed: false });
    assert.ok(FakeConnection.made.at(-1).closed);
    assert.equal(client.media.stream, null);
    assert.equal(client.here, null);
  }
  assert.deepEqual(told.filter(([type]) => type === "ringEnded").map(([, , { reason, by }]) => [reason, by?.platform]), [["answered_elsewhere", "ios"]]);
});

test("S1.5b a request that nobody can take has ended in its reply", async () => {
  server.on["call.request"] = { session: "vs_9", state: "ended", outcome: "unavailable", reason: "agent_busy" };
  await client.prepare();
  const call = await client.requestCall("cv_1");
  assert.deepEqual([call.end.outcome, call.end.reason], ["unavailable", "agent_busy"]);
  server.event("call.ended", { session: "vs_9", outcome: "unavailable", reason: "agent_busy", by: "system", talk_ms: 0, conversation: "cv_1", conversation_state: "open", next: "conversation" });
  assert.equal(told.filter(([type]) => type === "callEnded").length, 1);
  assert.equal(client.media.stream, null);
});

test("V2 V7 a queued visitor sees the place in the queue, then the ring", async () => {
  server.on["call.request"] = { session: "vs_1", state: "queued", leg: "leg_1" };
  await client.prepare();
  const call = await client.requestCall("cv_1");
  server.event("call.state", { session: "vs_1", conversation: "cv_1", origin: "routed", state: "queued", version: 1, leg: "leg_1", position: 2 });
  assert.deepEqual([call.state, call.position], ["queued", 2]);
  server.event("call.state", { session: "vs_1", conversation: "cv_1", origin: "routed", state: "ringing", version: 2, leg: "leg_1", alerting: true });
  assert.deepEqual([call.state, call.position, call.alerting], ["ringing", null, true]);
});

test("3.3 an older view is ignored", async () => {
  const call = await visitorsCall();
  const state = (name, version) => server.event("call.state", { session: "vs_1", conversation: "cv_1", origin: "routed", state: name, version, leg: "leg_1" });
  state("ringing", 5);
  state("queued", 4);
  assert.equal(call.state, "ringing");
});

test("V32 V33 the other side reconnects, and comes back", async () => {
  const call = await answered();
  FakeConnection.made[0].becomes("connected");
  server.event("call.peer", { session: "vs_1", what: "reconnecting", deadline_ms: 30_000 });
  assert.deepEqual([call.interruption, call.peerDeadline - clock.now], ["peer", 30_000]);
  server.event("call.peer", { session: "vs_1", what: "resumed" });
  assert.equal(call.interruption, "");
  FakeConnection.made[0].becomes("disconnected");
  assert.equal(call.interruption, "here");
  FakeConnection.made[0].becomes("connecting");
  assert.equal(call.interruption, "here", "ICE restarts, and has no way yet");
  FakeConnection.made[0].becomes("connected");
  assert.equal(call.interruption, "");
  FakeConnection.made[0].becomes("connecting");
  assert.equal(call.interruption, "", "ICE restarts over a way that is there still");
});

test("S1.4c media.set is numbered, the valve first and the camera then", async () => {
  const call = await answered();
  await call.setCamera(false);
  call.setMic(false);
  await call.switchCamera();
  const sets = server.sent("media.set").map(({ p }) => p);
  assert.deepEqual(sets.map(({ n, session, ...what }) => what), [{ camera: false }, { mic: false }, { facing: "back" }]);
  assert.ok(sets[0].n < sets[1].n && sets[1].n < sets[2].n);
  assert.equal(client.media.cameraOn, false);
});

test("S1.4c what was muted before Go is muted in the call", async () => {
  client.media.micOn = false;
  await answered();
  assert.deepEqual(server.sent("media.set")[0].p.mic, false);
});

test("S2 a pulled call: handoff.request, a leg of its own, the first sign of it ends the waiting", async () => {
  server.event("conversation.changed", view({ live_session: { session: "vs_1", state: "active", device: { platform: "desktop", name: "Desk" }, can_pull: true } }));
  const call = client.elsewhere;
  assert.equal(client.here, null);
  server.on["handoff.request"] = { leg: "leg_3", deadline_ms: 10_000 };
  await client.prepare();
  await call.pull();
  assert.equal(server.sent("sdp.offer")[0].p.leg, "leg_3");
  assert.equal(call.pulling, true);
  server.event("call.active", { session: "vs_1", since_at: 1 });
  assert.deepEqual([call.pulling, client.here, client.elsewhere], [false, call, null]);
});

test("S2.1d the device that lost the call knows where it is and may have it back; a failed handoff changes nothing", async () => {
  const call = await answered();
  server.event("handoff.started", { session: "vs_1", to: { platform: "ios", name: "Ana's iPhone" } });
  assert.equal(call.movingTo.name, "Ana's iPhone");
  server.event("handoff.failed", { session: "vs_1", reason: "timeout" });
  assert.deepEqual([call.movingTo, call.here], [null, true]);
  server.event("handoff.moved", { session: "vs_1", notice: "session_moved", to: { platform: "ios", name: "Ana's iPhone" }, can_pull_back: true });
  assert.deepEqual([call.here, call.movedTo.name, call.canPullBack, FakeConnection.made[0].closed], [false, "Ana's iPhone", true, true]);
});

test("A-18 the agent's other devices that are connected may be asked to go on with the call, and this one hears of it", async () => {
  const call = await answered();
  const device = (name, signaling = "live") => ({ device: name, platform: "ios", name, app_state: "foreground", perms: {}, signaling });
  server.event("device.changed", { devices: [device("d1"), device("d2"), device("d3", "gone"), device("d4", "grace")] });
  assert.deepEqual(client.otherDevices.map((other) => other.device), ["d2"]);
  await call.suggest("d2");
  assert.deepEqual(server.sent("handoff.offer")[0].p, { session: "vs_1", to_device: "d2" });
  server.event("handoff.suggested", { session: "vs_9", from: { platform: "desktop", name: "Desk" } });
  assert.deepEqual(told.at(-1).slice(2), [{ platform: "desktop", name: "Desk" }]);
});

test("3.4 the server's word about the way counts, and between its two thresholds nothing flickers", async () => {
  const call = await answered();
  assert.deepEqual([call.quality, call.weak], [null, false]);
  const seen = [90, 41, 39, 54, 41, 55, 41].map((score) => {
    server.event("media.quality", { session: "vs_1", score, rtt_ms: 20, loss: 0, kbps: 900 });
    return call.weak;
  });
  assert.deepEqual(seen, [false, false, true, true, true, false, false]);
  assert.equal(call.qualityFromServer, true);
});

test("3.3 a way counts as weak at the scores that the server is configured with: those of its welcome", async () => {
  server.welcome = { ...server.welcome, quality: { weak_score: 70, good_score: 80 } };
  client.leave();
  await client.connect();
  await settled();
  const call = await answered();
  const seen = [70, 69, 79, 80].map((score) => {
    server.event("media.quality", { session: "vs_1", score, rtt_ms: 20, loss: 0, kbps: 900 });
    return call.weak;
  });
  assert.deepEqual(seen, [false, true, true, false]);
});

test("A-24 a visitor who agrees to be seen while it rings says so in the request, and in the acceptance of an invitation", async () => {
  await visitorsCall();
  assert.equal("preview" in server.sent("call.request")[0].p, false);
  await client.requestCall("cv_1", { preview: true });
  assert.equal(server.sent("call.request")[1].p.preview, true);
  server.event("invitation.changed", { invitation: "inv_1", conversation: "cv_1", state: "pending", version: 1 });
  server.on["invitation.accept"] = { session: "vs_2", state: "ringing", leg: "leg_9" };
  await client.acceptInvitation(client.invitationOf("cv_1"), { preview: true });
  assert.deepEqual(server.sent("invitation.accept")[0].p, { invitation: "inv_1", preview: true });
});

test("R28 a visitor's other tab is in the call, and this one may take it", async () => {
  server.event("call.state", { session: "vs_1", conversation: "cv_1", origin: "routed", state: "active", version: 3, in_other_tab: true, agent: { display_name: "Ana" } });
  const call = client.elsewhere;
  assert.equal(call.agent.display_name, "Ana");
  assert.deepEqual([call.inOtherTab, call.here], [true, false]);
  server.on["handoff.request"] = { leg: "leg_5", deadline_ms: 10_000 };
  await client.prepare();
  await call.pull();
  assert.deepEqual([call.inOtherTab, call.here], [false, true]);
});

test("S3 an invitation: sent, joined first, accepted by the visitor", async () => {
  server.on["invitation.send"] = { invitation: "inv_1", warnings: ["channel_available:chat"] };
  const { warnings } = await client.invite("cv_1");
  assert.deepEqual(warnings, ["channel_available:chat"]);
  const invitation = client.invitationOf("cv_1");
  server.on["invitation.join"] = { session: "vs_2", state: "waiting", leg: "leg_7" };
  await client.prepare();
  const call = await client.joinInvitation(invitation);
  assert.deepEqual([call.state, call.origin, call.here], ["waiting", "invited", true]);
  assert.equal(server.sent("sdp.offer")[0].p.leg, "leg_7");
  server.event("call.state", { session: "vs_2", conversation: "cv_1", origin: "invited", state: "connecting", version: 2, leg: "leg_7" });
  server.event("invitation.changed", { invitation: "inv_1", conversation: "cv_1", state: "in_session", session: "vs_2", version: 3 });
  server.event("call.active", { session: "vs_2", since_at: 1 });
  assert.equal(call.state, "active");
  server.event("invitation.changed", { invitation: "inv_1", conversation: "cv_1", state: "completed", session: "vs_2", version: 4 });
  assert.equal(client.invitationOf("cv_1"), null);
});

test("S3 V6 the visitor accepts first: the agent's ring says join", async () => {
  server.event("ring.offer", offered({ kind: "join", session: "vs_3", ring: "rg_3" }));
  assert.equal(told.at(-1)[1].kind, "join");
});

test("S3 the visitor's side: pending, cancelled with its reason; older versions are ignored", async () => {
  server.event("invitation.changed", { invitation: "inv_1", conversation: "cv_1", state: "pending", version: 1 });
  assert.equal(client.invitationOf("cv_1").invitation, "inv_1");
  server.event("invitation.changed", { invitation: "inv_1", conversation: "cv_1", state: "cancelled", reason: "conversation_transferred", version: 2 });
  server.event("invitation.changed", { invitation: "inv_1", conversation: "cv_1", state: "pending", version: 1 });
  assert.equal(client.invitationOf("cv_1"), null);
  assert.equal(told.filter(([type]) => type === "invitation").length, 2);
});

test("S3.6a a second invitation is refused with the first one's conversation", async () => {
  server.on["invitation.send"] = { error: { code: "invitation.already_pending", details: { invitation: "inv_1", conversation: "cv_2" } } };
  await assert.rejects(client.invite("cv_1"), (error) => error.details.conversation === "cv_2");
});

test("D1 a snapshot after a reload: the leg that is ours, the ring that is left, the move that happened", async () => {
  server.welcome = { resumed: false, caps: ["record"], snapshot: {
    sessions: [{ session: "vs_1", conversation: "cv_1", origin: "routed", state: "active", version: 7, leg: "leg_1", recording: true }],
    rings: [offered({ ring: "rg_9", session: "vs_9", ttl_ms: 4000, full_ms: 45_000 })],
    conversations: [view(), view({ conversation: "cv_2", live_session: { session: "vs_5", state: "active", can_pull: true } })],
    notices: [{ kind: "session_moved", session: "vs_5", to: { platform: "android" }, can_pull_back: true }],
    invitations: [{ invitation: "inv_1", conversation: "cv_2", state: "pending", version: 1 }],
  } };
  server.socket.drop(1006);
  await clock.advance(250);
  assert.deepEqual([client.here.session, client.here.legId, client.here.recorded, client.here.leg], ["vs_1", "leg_1", true, null]);
  assert.equal([...client.rings.values()][0].deadline - clock.now <= 4000, true);
  assert.equal([...client.rings.values()][0].fullMs, 45_000);
  assert.equal(client.calls.get("vs_5").movedTo.platform, "android");
  assert.ok(client.invitationOf("cv_2"));
  assert.ok(client.caps.has("record"));
});

test("V33 a page that is back in its call knows it by its own leg", async () => {
  server.welcome = { resumed: false, snapshot: { sessions: [{ session: "vs_1", conversation: "cv_1", origin: "routed", state: "reconnecting", version: 7, leg: "leg_1" }] } };
  server.socket.drop(1006);
  await clock.advance(250);
  const call = client.here;
  await client.prepare();
  await call.warm();
  assert.equal(call.state, "reconnecting");
  FakeConnection.made[0].becomes("connected");
  assert.equal(call.state, "active");
});

test("a call that the server knows no more after a lost session has ended here too", async () => {
  const call = await answered();
  server.socket.drop(1006);
  await clock.advance(250);
  assert.deepEqual([call.state, call.end.outcome, client.here], ["ended", "failed", null]);
  assert.equal(told.filter(([type]) => type === "callEnded").length, 1);
});

test("3.4 server's offers and restarts reach the leg that they name", async () => {
  await answered();
  server.event("sdp.offer", { leg: "leg_2", neg: 2, sdp: "server's" });
  await settled();
  assert.equal(server.sent("sdp.answer")[0].p.neg, 2);
  server.event("ice.restart", { leg: "leg_2" });
  await settled();
  assert.equal(server.sent("sdp.offer").at(-1).p.ice_restart, true);
  server.event("ice.restart", { leg: "leg_other" });
  await settled();
  assert.equal(server.sent("sdp.offer").length, 2);
});

test("recording is told before it is written; the agent may ask for it", async () => {
  const call = await answered();
  await call.record();
  assert.deepEqual(server.sent("recording.start")[0].p, { session: "vs_1" });
  server.event("recording.changed", { session: "vs_1", on: true, by: "agent" });
  assert.deepEqual([call.recorded, call.recordedBy], [true, "agent"]);
});

test("3.2 events and fields that this client does not know are acknowledged and ignored", async () => {
  server.event("call.hologram", { session: "vs_1" });
  server.event("call.state", { session: "vs_1", conversation: "cv_1", origin: "telepathy", state: "ringing", version: 1, mood: "blue" });
  assert.equal(client.calls.get("vs_1").state, "ringing");
  assert.equal(server.sent("ack").at(-1).p.seq, 2);
});

test("conversations: the newest view counts, a removed one goes, messages and reminders are handed on", async () => {
  server.event("conversation.changed", view({ version: 3, tags: ["chairs"] }));
  server.event("conversation.changed", view({ version: 2 }));
  assert.deepEqual(client.conversations.get("cv_1").tags, ["chairs"]);
  server.event("conversation.message", { conversation: "cv_1", message: "m1", from: "visitor", notify: true, sent_at: 1, text: "Hello" });
  server.event("conversation.reminder", { conversation: "cv_1", kind: "close_after_video", n: 1 });
  server.event("conversation.removed", { conversation: "cv_1", why: "transferred" });
  assert.deepEqual(told.map(([type]) => type), ["message", "reminder", "conversationRemoved"]);
  assert.equal(client.conversations.size, 0);
});

test("3.4 conversation commands carry what the protocol names", async () => {
  await client.snooze("cv_1", { untilAt: 99, endVideo: true });
  await client.transfer("cv_1", { group: "sales" }, { note: "knows chairs" });
  await client.closeConversation("cv_1", { tags: ["a"] });
  assert.deepEqual(server.sent("conversation.snooze")[0].p, { conversation: "cv_1", until_at: 99, end_video: true });
  assert.deepEqual(server.sent("conversation.transfer")[0].p, { conversation: "cv_1", to: { group: "sales" }, note: "knows chairs" });
  assert.deepEqual(server.sent("conversation.close")[0].p, { conversation: "cv_1", tags: ["a"] });
});

test("a camera that disappears is told to the server as interrupted", async () => {
  await answered();
  client.media.onLost("video");
  assert.deepEqual(server.sent("media.set").at(-1).p.camera_state, "interrupted");
  const fresh = fakeTrack("video");
  await client.media.onVideoTrack(fresh);
});
