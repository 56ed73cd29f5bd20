// One leg's negotiation against a scripted server.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Leg } from "../../signaling/web/triortc-leg.js";
import { Clock, FakeConnection, FakeMediaStream, fakeTrack, settled } from "./fakes.mjs";

const clock = new Clock();
clock.install();
globalThis.MediaStream = FakeMediaStream;
let sent, answers, leg, states;

function refusal(code, details = {}) { return Object.assign(new Error(code), { code, details }); }

beforeEach(() => {
  FakeConnection.made.length = 0;
  sent = [];
  states = [];
  answers = { "sdp.offer": (p) => ({ answer: `answer to ${p.sdp.slice(0, 9)}` }) };
  leg = new Leg(new FakeMediaStream([fakeTrack("audio"), fakeTrack("video")]), {
    leg: "leg_1", RTCPeerConnection: FakeConnection, onRemote: () => {}, onState: (state) => states.push(state),
    command: async (t, p) => { sent.push({ t, p }); await settled(); return answers[t]?.(p) ?? {}; },
  });
});

afterEach(() => leg.close());

const offers = () => sent.filter(({ t }) => t === "sdp.offer").map(({ p }) => p);

test("3.4 the client offers first, and neg counts its offers", async () => {
  await leg.negotiate();
  await leg.negotiate();
  assert.deepEqual(offers().map(({ neg }) => neg), [1, 2]);
  assert.equal(leg.pc.remoteDescription.sdp, "answer to offer 1.2");
  assert.equal(leg.pc.signalingState, "stable");
});

test("two negotiations at once go one after the other", async () => {
  await Promise.all([leg.negotiate(), leg.negotiate({ restart: true })]);
  assert.deepEqual(offers().map(({ neg, ice_restart }) => [neg, ice_restart ?? false]), [[1, false], [2, true]]);
});

test("3.4 the server's offer wins over one of ours that it has not answered, which then follows (sdp.glare)", async () => {
  let glared = false;
  answers["sdp.offer"] = (p) => {
    if (glared) return { answer: "late answer" };
    glared = true;
    throw refusal("sdp.glare", { neg: p.neg });
  };
  const negotiating = leg.negotiate();
  await settled();
  await leg.offered({ neg: 2, sdp: "server's offer" });
  await negotiating;
  await settled();
  assert.deepEqual(sent.map(({ t, p }) => [t, p.neg]), [["sdp.offer", 1], ["sdp.answer", 2], ["sdp.offer", 3]]);
  assert.equal(leg.pc.remoteDescription.sdp, "late answer");
});

test("3.4 glare that is told before the server's offer comes waits for it", async () => {
  let glared = false;
  answers["sdp.offer"] = () => {
    if (glared) return { answer: "answer" };
    glared = true;
    throw refusal("sdp.glare");
  };
  await leg.negotiate();
  assert.equal(leg.pc.signalingState, "stable");
  await leg.offered({ neg: 2, sdp: "server's offer" });
  assert.deepEqual(sent.map(({ t }) => t), ["sdp.offer", "sdp.answer", "sdp.offer"]);
});

test("R24 a page that was loaded again goes on counting where the server is", async () => {
  answers["sdp.offer"] = (p) => {
    if (p.neg <= 4) throw refusal("sdp.stale", { neg: 4 });
    return { answer: "answer" };
  };
  await leg.negotiate();
  assert.deepEqual(offers().map(({ neg }) => neg), [1, 5]);
});

test("what the server refuses is said, and the connection can offer again", async () => {
  answers["sdp.offer"] = () => { throw refusal("sdp.invalid"); };
  await assert.rejects(leg.negotiate(), { code: "sdp.invalid" });
  assert.equal(leg.pc.signalingState, "stable");
});

test("3.4 candidates go in batches of 20, the first after 50 ms, the next every 500 ms, the end once", async () => {
  await leg.negotiate();
  const batches = () => sent.filter(({ t }) => t === "ice.candidates").map(({ p }) => [p.candidates.length, p.end, p.ufrag]);
  const trickle = (count) => { for (let i = 0; i < count; i += 1) leg.pc.onicecandidate({ candidate: { candidate: `candidate:${i}`, sdpMid: "0" } }); };
  trickle(3);
  await clock.advance(49);
  assert.equal(batches().length, 0);
  await clock.advance(1);
  assert.deepEqual(batches(), [[3, false, "u11"]]);
  trickle(2);
  await clock.advance(499);
  assert.equal(batches().length, 1);
  await clock.advance(1);
  assert.equal(batches().length, 2);
  trickle(45);
  leg.pc.onicecandidate({ candidate: null });
  assert.deepEqual(batches().slice(2), [[20, false, "u11"], [20, false, "u11"], [5, true, "u11"]]);
});

test("candidates that were found just before an ICE restart go as those of the generation they are of, the end as the new one's", async () => {
  await leg.negotiate();
  const found = (name, usernameFragment) => leg.pc.onicecandidate({ candidate: { candidate: `candidate:${name}`, sdpMid: "0", usernameFragment } });
  found("a", "u11");
  await leg.negotiate({ restart: true });
  found("b", "u12");
  found("c", null); // an implementation that does not say: of the description in force
  found("d", "u11");
  leg.pc.onicecandidate({ candidate: null });
  const batches = sent.filter(({ t }) => t === "ice.candidates").map(({ p }) => [p.ufrag, p.candidates, p.end]);
  const named = (...names) => names.map((name) => ({ candidate: `candidate:${name}`, mid: "0" }));
  assert.deepEqual(batches, [["u11", named("a"), false], ["u12", named("b", "c"), false], ["u11", named("d"), false], ["u12", [], true]]);
});

test("a disconnected leg is given two seconds, then ICE restarts; a failed one begins anew at once", async () => {
  await leg.negotiate();
  leg.pc.becomes("connected");
  leg.pc.becomes("disconnected");
  await clock.advance(1999);
  leg.pc.becomes("connected");
  await clock.advance(5000);
  assert.equal(offers().length, 1);
  leg.pc.becomes("disconnected");
  await clock.advance(2000);
  assert.deepEqual(offers().map(({ ice_restart }) => ice_restart ?? false), [false, true]);
  assert.equal(FakeConnection.made.length, 1);
  leg.pc.becomes("failed");
  await clock.advance(0);
  assert.equal(FakeConnection.made.length, 2);
  assert.deepEqual(offers().map(({ ice_restart }) => ice_restart ?? false), [false, true, false]);
});

test("where the server has nothing to restart, another connection begins the leg anew and keeps the remote stream", async () => {
  const { remote } = leg;
  await leg.negotiate();
  answers["sdp.offer"] = (p) => {
    if (p.ice_restart) throw refusal("sdp.unsupported");
    return { answer: "answer" };
  };
  leg.pc.becomes("disconnected");
  await clock.advance(2000);
  assert.equal(FakeConnection.made.length, 2);
  assert.ok(FakeConnection.made[0].closed);
  assert.deepEqual(offers().map(({ neg, sdp }) => [neg, sdp.slice(0, 9)]), [[1, "offer 1.1"], [2, "offer 1.2"], [3, "offer 2.1"]]);
  const track = fakeTrack("video");
  leg.pc.ontrack({ track });
  assert.equal(leg.remote, remote);
  assert.deepEqual(remote.getTracks(), [track]);
});

test("V47 a leg that the server has lost begins anew at once, behind the offer that is on its way", async () => {
  const first = leg.negotiate();
  leg.renew();
  await first;
  await settled();
  assert.equal(FakeConnection.made.length, 2);
  assert.ok(FakeConnection.made[0].closed);
  assert.deepEqual(offers().map(({ neg, sdp, ice_restart }) => [neg, sdp.slice(0, 9), ice_restart ?? false]), [[1, "offer 1.1", false], [2, "offer 2.1", false]]);
});

test("V47 a new beginning that the server did not answer is tried again", async () => {
  await leg.negotiate();
  answers["sdp.offer"] = () => { throw refusal("server.internal"); };
  leg.renew();
  await settled();
  answers["sdp.offer"] = () => ({ answer: "answer" });
  await clock.advance(5000);
  assert.equal(leg.pc.remoteDescription.sdp, "answer");
  leg.pc.becomes("connected");
  const made = FakeConnection.made.length;
  await clock.advance(20000);
  assert.equal(FakeConnection.made.length, made);
});

test("who asks a connection for statistics while another takes its place hears from the other, and of an ended leg nothing", async () => {
  await leg.negotiate();
  answers["sdp.offer"] = (p) => {
    if (p.ice_restart) throw refusal("sdp.unsupported");
    return { answer: "answer" };
  };
  let found;
  leg.pc.getStats = () => new Promise(() => {}); // as Firefox, where it is closed meanwhile
  leg.stats().then((stats) => { found = stats; });
  leg.pc.becomes("failed");
  await clock.advance(0);
  await settled();
  assert.equal(found?.connection, "new", "the first one has failed");
  leg.pc.getStats = () => new Promise(() => {});
  const asked = leg.stats();
  leg.close();
  assert.equal(await asked, null);
});

test("a camera that is switched off leaves its sender without a track, and a closed leg says nothing more", async () => {
  await leg.negotiate();
  await leg.setVideoTrack(null);
  leg.close();
  leg.pc.onicecandidate?.({ candidate: { candidate: "candidate:1", sdpMid: "0" } });
  await clock.advance(5000);
  assert.equal(sent.filter(({ t }) => t === "ice.candidates").length, 0);
  await leg.negotiate();
  assert.equal(offers().length, 1);
});
