// The visitor's page: write, ask for a video, wait, talk, go on writing.

import { $, announce, button, fill, h, setText, show } from "./dom.js";
import { Call } from "./call.js";
import { Camera } from "./camera.js";
import { Channel, CommandError, uuid7 } from "./channel.js";
import { exposeForTests } from "./debug.js";
import { deviceId, describeDevice, fetchToken, identifier, remembered } from "./identity.js";
import { Stage } from "./stage.js";
import { Messages, ThreadView } from "./thread.js";
import { deviceWords, errorWords, visitorEndWords } from "./words.js";

const RING_MS = 30000;
const ANNOUNCE_EVERY_S = 10;
const DIM_MS = 400;

const query = new URLSearchParams(location.search);
const conversation = identifier(query.get("cv") ?? "") || remembered("triortc-cv", () => `cv_${uuid7().replaceAll("-", "")}`);
const visitorName = query.get("name") || "Visitor";
const sub = identifier(query.get("sub") ?? "") || `visitor-${conversation}`.slice(0, 64);
const did = deviceId("web", sub, "tab");

/**
 * What is on the screen. `phase` follows the server's session states; `asking` is the browser's own question.
 * @type {{phase: "chat"|"asking"|"calling"|"ringing"|"connecting"|"active"|"elsewhere", link: string, session: string|null,
 *   agent: string, deadline: number, alerting: boolean, since: number, peerLost: boolean, remoteCamera: boolean, dim: boolean,
 *   notice: {title: string, text: string, kind: string}|null, chatOpen: boolean, unread: number, quality: string,
 *   recorded: boolean}}
 */
const state = {
  phase: "chat", link: "connecting", session: null, agent: "", deadline: 0, alerting: false, since: 0, peerLost: false,
  remoteCamera: true, dim: false, notice: null, chatOpen: false, unread: 0, quality: "",
  recorded: false,
};
let saidSeconds = -1;
let dimTimer = 0;

const messages = new Messages(conversation, sub);
const camera = new Camera();
const stage = new Stage($("#stage"), {
  mic: () => { stage.play(); call.toggleMic(); },
  camera: () => { void call.toggleCamera(); },
  flip: () => { void call.flip(); },
  landscape: () => { void call.toggleLandscape(); },
  hangUp, cancel, chat: toggleChat, retryCamera: () => { void startCall(); },
});
const channel = new Channel({
  credentials: async () => ({
    token: await fetchToken({ role: "visitor", sub, did, name: visitorName, cv: [conversation] }),
    device: await describeDevice(did, "web", "Browser"),
  }),
  onSnapshot, onEvent,
  onState: (link, detail) => {
    state.link = link;
    if (link === "superseded") state.notice = { title: "This chat is open in another tab.", text: "", kind: "superseded" };
    else if (state.notice?.kind === "superseded") state.notice = null;
    if (link === "refused") state.notice = { title: "The chat could not be opened.", text: detail ?? "", kind: "error" };
    render();
  },
});
const call = new Call(channel, camera, stage, render);
const thread = new ThreadView($("#thread"), /** @type {HTMLFormElement} */ ($("#composer")), async (text) => {
  const reply = await channel.command("conversation.message.send", { conversation, text });
  addMessage({ message: reply.message, mine: true, name: visitorName, text, at: Date.now() });
});
const start = button("start-video", "camera", "Start a video call", startCall, { class: "primary" });
$("#offer").append(start, h("p", { class: "hint", text: "Your browser will ask for your camera and microphone." }));
const debug = exposeForTests("visitor", () => ({ ...state, warning: call.warning, connection: call.connection }), () => call.leg, stage);

const inCall = () => state.phase === "connecting" || state.phase === "active";
const waiting = () => state.phase === "asking" || state.phase === "calling" || state.phase === "ringing";

/** @param {import("./thread.js").Entry} entry */
function addMessage(entry) {
  if (!messages.add(entry)) return;
  thread.append(entry);
  if (entry.mine) return;
  announce(`${entry.name}: ${entry.text}`);
  if ((inCall() || waiting()) && !state.chatOpen) {
    state.unread += 1;
    stage.showToast(`${entry.name}: ${entry.text}`);
    render();
  }
}

async function startCall() {
  if (inCall() || state.phase === "calling" || state.phase === "ringing") return;
  state.phase = "asking";
  state.notice = null;
  state.chatOpen = false;
  render();
  if (!(await call.prepare())) return;
  if (state.phase !== "asking") { // cancelled while the browser asked
    call.end();
    return;
  }
  state.phase = "calling";
  render();
  try {
    const reply = await channel.command("call.request", { conversation, media: { audio: true, video: true }, ...(query.get("group") ? { group: query.get("group") } : {}) });
    if (reply.state === "ended") {
      ended(reply);
      return;
    }
    follow(reply);
    if (reply.leg) await call.warm(reply.leg);
  } catch (error) {
    refused(error);
  }
}

/** @param {unknown} error */
function refused(error) {
  const invite = error instanceof CommandError && error.details.use === "invitation";
  call.end();
  state.phase = "chat";
  state.notice = invite
    ? { title: "An adviser is taking care of this chat.", text: "Write here; they can invite you to a video.", kind: "info" }
    : { title: "The call could not be started.", text: errorWords(/** @type {CommandError} */ (error)), kind: "error" };
  render();
}

/** Take over what the server says of the session. @param {any} view */
function follow(view) {
  const isNew = state.session !== view.session;
  state.session = view.session;
  call.session = view.session;
  if (view.in_other_tab) {
    state.phase = "elsewhere";
  } else if (view.state === "ringing" || view.state === "queued" || view.state === "waiting") {
    if (isNew || state.phase !== "ringing") state.deadline = performance.now() + (view.ttl_ms ?? RING_MS);
    state.phase = "ringing";
  } else if (view.state === "connecting" && !inCall()) {
    state.phase = "connecting";
  } else if (view.state === "active" || view.state === "reconnecting" || view.state === "handoff") {
    state.phase = "active";
    state.peerLost = view.state === "reconnecting";
    state.recorded = view.recording === true;
  }
  if (view.alerting !== undefined) state.alerting = view.alerting;
  if (view.agent?.display_name) state.agent = view.agent.display_name;
  render();
}

function cancel() {
  const session = state.session;
  state.phase = "chat";
  state.session = null;
  call.end();
  if (session) channel.command("call.cancel", { session }).catch(() => {}); // an answer was faster: the server takes it as a hang-up
  state.notice = { title: "You stopped calling.", text: "You can write here, or call again.", kind: "info" };
  render();
  thread.focus();
}

function hangUp() {
  const session = state.session;
  debug.mark("hangup");
  if (session) channel.command("call.hangup", { session }).then((reply) => ended({ session, outcome: "completed", ...reply }), () => {});
}

/** @param {{session?: string, outcome: string, reason?: string}} end */
function ended(end) {
  if (end.session && state.session && end.session !== state.session) return;
  const mine = state.phase !== "elsewhere";
  if (state.phase === "chat") return;
  call.end();
  state.phase = "chat";
  state.session = null;
  state.recorded = false;
  state.unread = 0;
  state.since = 0;
  if (mine) {
    state.notice = { ...visitorEndWords(end), kind: end.outcome };
    announce(`${state.notice.title} ${state.notice.text}`, true);
  }
  render();
  thread.focus();
}

function toggleChat() {
  state.chatOpen = !state.chatOpen;
  if (state.chatOpen) state.unread = 0;
  if (state.chatOpen) stage.hideToast();
  stage.play();
  render();
  if (state.chatOpen) thread.focus();
}

async function useThisTab() {
  const session = state.session;
  if (!session || !(await call.prepare())) return;
  try {
    const reply = await channel.command("handoff.request", { session });
    state.phase = "connecting";
    call.enter(session);
    render();
    await call.warm(reply.leg);
  } catch (error) {
    state.notice = { title: "The call stays in the other tab.", text: errorWords(/** @type {CommandError} */ (error)), kind: "error" };
    call.end();
    state.phase = "elsewhere";
    state.session = session;
    render();
  }
}

/** @param {any} snapshot */
async function onSnapshot(snapshot) {
  const live = snapshot.sessions?.find((/** @type {any} */ view) => view.state !== "ended");
  if (!live) {
    if (state.session) ended({ outcome: "failed" });
    return;
  }
  const known = call.leg !== null && live.leg === call.leg.id;
  follow(live);
  if (state.phase === "elsewhere" || known || !live.leg) {
    if (!live.leg && state.phase !== "elsewhere" && !call.leg) { state.phase = "elsewhere"; render(); }
    return;
  }
  if (await call.prepare()) { // this tab was reloaded in the middle of a call
    call.enter(live.session);
    await call.warm(live.leg);
  }
}

/** @type {Record<string, (p: any) => void>} */
const HANDLERS = {
  "call.state": follow,
  "call.accepted": (p) => {
    state.agent = p.agent?.display_name ?? state.agent;
    if (state.phase !== "elsewhere") {
      state.phase = "connecting";
      call.enter(p.session);
    }
    announce(`${state.agent || "An adviser"} has answered.`, true);
    render();
  },
  "call.active": (p) => {
    if (state.phase === "elsewhere") return;
    state.phase = "active";
    state.since = performance.now();
    state.peerLost = false;
    state.session = p.session;
    debug.mark("active");
    render();
  },
  "call.peer": (p) => {
    if (p.what === "reconnecting") state.peerLost = true;
    else if (p.what === "resumed") state.peerLost = false;
    else if (p.what === "device_changed") dimBriefly();
    if (p.agent?.display_name) state.agent = p.agent.display_name;
    render();
  },
  "call.ended": ended,
  "handoff.moved": () => {
    call.end();
    state.phase = "elsewhere";
    render();
  },
  "media.changed": (p) => {
    if (p.side !== "agent") return;
    state.remoteCamera = p.camera !== false && (p.camera_state ?? "live") === "live";
    render();
  },
  "recording.changed": (p) => {
    if (p.session !== state.session) return;
    state.recorded = p.on;
    render();
  },
  "media.quality": (p) => {
    state.quality = p.score < 40 ? "Weak connection" : "";
    render();
  },
  "conversation.message": (p) => {
    const from = sender(p.from);
    if (from.visitor) addMessage({ message: p.message, mine: true, name: visitorName, text: p.text ?? "", at: p.at ?? Date.now() });
    else addMessage({ message: p.message, mine: false, name: from.name || state.agent || "Adviser", text: p.text ?? "", at: p.at ?? Date.now() });
  },
};

/** @param {any} from @returns {{visitor: boolean, name: string}} */
function sender(from) {
  if (typeof from === "string") return { visitor: from === "visitor" || from === sub, name: "" };
  return { visitor: from?.role === "visitor" || from?.side === "visitor" || from?.sub === sub, name: from?.name ?? from?.display_name ?? "" };
}

/** @param {import("./channel.js").Message} event */
function onEvent(event) {
  if (!call.handle(event)) HANDLERS[event.t]?.(event.p);
}

function dimBriefly() {
  state.dim = true;
  clearTimeout(dimTimer);
  dimTimer = window.setTimeout(() => { state.dim = false; render(); }, DIM_MS);
}

function statusWords() {
  if (state.phase === "asking") return call.warning ? "" : "Allow camera and microphone…";
  if (state.phase === "calling") return "Calling…";
  if (state.phase === "ringing") {
    const seconds = Math.max(0, Math.ceil((state.deadline - performance.now()) / 1000));
    return `${state.alerting ? "Ringing" : "Calling"} ${state.agent || "an adviser"}… ${seconds} s`;
  }
  if (state.phase === "connecting") return "Connecting…";
  if (state.phase === "active" && (call.connection === "new" || call.connection === "connecting")) return "Connecting…";
  if (call.connection === "disconnected" || call.connection === "failed") return "Reconnecting…";
  if (state.link !== "open" && call.connection !== "connected") return "Reconnecting…";
  if (state.peerLost) return `${state.agent || "The adviser"} is reconnecting…`;
  return "";
}

function tick() {
  if (state.phase !== "ringing") return;
  const left = state.deadline - performance.now();
  stage.setCountdown(left, RING_MS);
  const seconds = Math.ceil(left / 1000);
  if (seconds > 0 && seconds % ANNOUNCE_EVERY_S === 0 && seconds !== saidSeconds) {
    saidSeconds = seconds;
    announce(`${statusWords()}`);
  }
  setText(stage.status, statusWords());
}

function renderNotice() {
  const box = $("#notice");
  const elsewhere = state.phase === "elsewhere";
  const notice = elsewhere
    ? { title: `Your call is open in ${deviceWords("another tab")}.`, text: "", kind: "elsewhere" }
    : state.notice;
  show(box, notice !== null && !inCall() && !waiting());
  box.dataset.kind = notice?.kind ?? "";
  const key = JSON.stringify(notice);
  if (!notice || box.dataset.key === key) return;
  box.dataset.key = key;
  fill(box, h("h2", { text: notice.title }), h("p", { text: notice.text }),
    notice.kind === "elsewhere" && button("use-this-tab", "expand", "Use this tab", () => { void useThisTab(); }, { class: "primary" }),
    notice.kind === "superseded" && button("use-this-tab", "expand", "Use this tab", () => { void channel.connect(); }, { class: "primary" }));
}

function render() {
  const mode = inCall() ? "call" : waiting() ? "waiting" : "off";
  document.body.dataset.screen = state.phase;
  document.body.dataset.chat = mode === "off" || state.chatOpen ? "open" : "closed";
  const words = { open: "", connecting: "Connecting…", lost: "Connection lost. Trying again…", superseded: "Open in another tab", refused: "Not signed in" };
  setText($("#link"), words[/** @type {"open"} */ (state.link)] ?? "");
  show($("#offer"), mode === "off" && state.phase === "chat" && state.link !== "superseded");
  stage.render({
    mode,
    title: inCall() ? state.agent || "Adviser" : "",
    micOn: camera.micOn, cameraOn: camera.cameraOn, mirror: camera.facing === "user",
    remoteCameraOn: state.remoteCamera,
    status: statusWords(), dim: state.dim || state.peerLost,
    warning: call.warning, quality: state.quality, recorded: state.recorded, unread: state.unread,
  });
  renderNotice();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /** @type {HTMLElement} */ (event.target).closest("input, textarea")) return;
  const key = event.key.toLowerCase();
  if (stage.host.dataset.mode === "off") return;
  if (key === "escape" && state.chatOpen) toggleChat();
  else if (key === "m") call.toggleMic();
  else if (key === "v") void call.toggleCamera();
  else if (key === "c") { event.preventDefault(); toggleChat(); }
});
addEventListener("pagehide", (event) => { if (!event.persisted && !state.session) channel.leave(); });
setInterval(tick, 250);
thread.show(messages);
render();
void channel.connect();
