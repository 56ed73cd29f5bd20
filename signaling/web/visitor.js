// The visitor's page: write, ask for a video or accept one, wait, talk, go on writing.

import { $, announce, button, h, setText, show } from "./dom.js";
import { CallControls } from "./call-controls.js";
import { exposeForTests } from "./debug.js";
import { deviceId, describeDevice, fetchToken, identifier, pictureFromAddress, remembered, signalUrl } from "./identity.js";
import { Stage } from "./stage.js";
import { Messages, ThreadView } from "./thread.js";
import { CommandError, LocalMedia, TriortcClient, uuid7 } from "./triortc-client.js";
import { VisitorView, statusWords } from "./visitor-view.js";
import { errorWords, visitorEndWords, visitorInvitationWords } from "./words.js";

const ANNOUNCE_EVERY_S = 10;
const DIM_MS = 400;

const query = new URLSearchParams(location.search);
const conversation = identifier(query.get("cv") ?? "") || remembered("triortc-cv", () => `cv_${uuid7().replaceAll("-", "")}`);
const visitorName = query.get("name") || "Visitor";
const sub = identifier(query.get("sub") ?? "") || `visitor-${conversation}`.slice(0, 64);
const did = deviceId("web", sub, "tab");

/**
 * What is on the screen beside what the client knows. `asked` is what the browser's own question is for.
 * @type {{asked: ""|"call"|"invitation", requesting: boolean, agent: string, dim: boolean,
 *   notice: {title: string, text: string, kind: string}|null, chatOpen: boolean, unread: number, putOff: string}}
 */
const state = { asked: "", requesting: false, agent: "", dim: false, notice: null, chatOpen: false, unread: 0, putOff: "" };
let saidSeconds = -1;
let dimTimer = 0;

const messages = new Messages(conversation, sub);
const stage = new Stage($("#stage"), {
  mic: () => controls.toggleMic(),
  camera: () => { void controls.toggleCamera(); },
  flip: () => { void controls.flip(); },
  landscape: () => { void controls.toggleLandscape(); },
  hangUp, cancel, chat: toggleChat, retryCamera: () => { void (state.asked === "invitation" ? acceptInvitation() : startCall()); },
});
const client = new TriortcClient({
  url: signalUrl(),
  media: new LocalMedia(pictureFromAddress()),
  credentials: async () => ({
    token: await fetchToken({ role: "visitor", sub, did, name: visitorName, cv: [conversation] }),
    device: await describeDevice(did, "web", "Browser"),
  }),
});
const controls = new CallControls(client, stage, render);
const thread = new ThreadView($("#thread"), /** @type {HTMLFormElement} */ ($("#composer")), async (text) => {
  const reply = await client.sendMessage(conversation, text);
  addMessage({ message: reply.message, mine: true, name: visitorName, text, at: Date.now() });
});
const start = button("start-video", "camera", "Start a video call", () => { void startCall(); }, { class: "primary" });
const preview = h("input", { type: "checkbox", id: "preview" });
/** only where the server would do it. */
const previewLabel = h("label", { class: "hint choice", id: "preview-choice", hidden: true }, preview, "The adviser may see me while it rings");
$("#offer").append(start, previewLabel, h("p", { class: "hint", text: "Your browser will ask for your camera and microphone." }));
const view = new VisitorView(client, controls, stage, {
  useThisTab: () => { void useThisTab(); }, reconnect: () => { void client.connect(); },
  accept: () => { void acceptInvitation(); }, notNow: () => declineInvitation(),
});
const debug = exposeForTests("visitor", () => {
  const call = current();
  return { ...state, phase: phase(), link: client.link, session: call?.session ?? null, warning: controls.warning, connection: call?.connection ?? "new",
    peerLost: call?.peerLost ?? false, recorded: call?.recorded ?? false, position: call?.position ?? null, invitation: client.invitationOf(conversation) };
}, current, stage);

/** The call of this conversation that is not over. */
function current() { return [...client.calls.values()].find((call) => !call.ended && call.conversation === conversation) ?? null; }

/** @returns {import("./visitor-view.js").Phase} */
function phase() {
  const call = current();
  if (state.requesting) return "calling";
  if (state.asked) return "asking";
  if (!call) return "chat";
  if (call.inOtherTab || (!call.here && !call.pulling)) return "elsewhere";
  if (call.state === "queued") return "queued";
  if (call.state === "ringing" || call.state === "waiting" || call.state === "asking") return "ringing";
  return call.state === "connecting" || call.pulling ? "connecting" : "active";
}

const talking = () => ["connecting", "active"].includes(phase());
const busy = () => talking() || ["asking", "calling", "queued", "ringing"].includes(phase());

/** @param {import("./thread.js").Entry} entry */
function addMessage(entry) {
  if (!messages.add(entry)) return;
  thread.append(entry);
  if (entry.mine) return;
  announce(`${entry.name}: ${entry.text}`);
  if (busy() && !state.chatOpen) {
    state.unread += 1;
    stage.showToast(`${entry.name}: ${entry.text}`);
    render();
  }
}

// --- what the visitor does

/** Ask the browser first. @param {"call"|"invitation"} what @returns {Promise<boolean>} whether to go on */
async function ask(what) {
  state.asked = what;
  state.notice = null;
  state.chatOpen = false;
  render();
  if (!(await controls.prepare())) return false;
  if (state.asked && state.asked !== what) return false; // the browser's one answer is for what was asked last
  const goOn = state.asked === what; // not cancelled while the browser asked
  if (goOn) state.requesting = true;
  state.asked = "";
  controls.settleUnless(goOn);
  render();
  return goOn;
}

async function startCall() {
  if (busy() && phase() !== "asking") return;
  if (!(await ask("call"))) return;
  const group = query.get("group");
  await enter(client.requestCall(conversation, { ...(group ? { group } : {}), preview: mayPreview() }));
}

async function acceptInvitation() {
  const invitation = client.invitationOf(conversation);
  if (!invitation || talking()) return;
  if (!(await ask("invitation"))) return;
  await enter(client.acceptInvitation(invitation, { preview: mayPreview() }));
}

const mayPreview = () => client.caps.has("visitor.preview") && preview.checked;

/** @param {Promise<import("./triortc-client.js").Call>} entering */
async function enter(entering) {
  let leftOver = false;
  try {
    const call = await entering;
    if (call.end) {
      notice({ ...visitorEndWords(call.end), kind: call.end.outcome });
      leftOver = true;
    }
  } catch (error) {
    const invite = error instanceof CommandError && error.details.use === "invitation";
    if (invite) notice({ title: "An adviser is taking care of this chat.", text: "Write here; they can invite you to a video.", kind: "info" });
    else notice({ title: "The call could not be started.", text: errorWords(/** @type {CommandError} */ (error)), kind: "error" });
  } finally {
    state.requesting = false;
    controls.settle();
    render();
    if (leftOver) thread.focus(); // the next step is to write
  }
}

function declineInvitation() {
  const invitation = client.invitationOf(conversation);
  if (!invitation) return;
  state.putOff = invitation.invitation;
  client.declineInvitation(invitation).catch(() => {}); // over already
  render();
  thread.focus();
}

function cancel() {
  const call = current();
  state.asked = "";
  state.requesting = false;
  if (call && !call.inCall) {
    call.takeEnd({ outcome: "cancelled", reason: "visitor_cancelled", by: "visitor" });
    call.cancel().catch(() => {}); // an answer was faster: the server takes it as a hang-up
  }
  controls.settle();
  notice({ title: "You stopped calling.", text: "You can write here, or call again.", kind: "info" });
  thread.focus();
}

function hangUp() {
  debug.mark("hangup");
  current()?.hangUp().catch(() => {}); // over already
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
  const call = current();
  if (!call || !(await controls.prepare())) return;
  try {
    await call.pull();
  } catch (error) {
    controls.settle();
    notice({ title: "The call stays in the other tab.", text: errorWords(/** @type {CommandError} */ (error)), kind: "error" });
  }
}

/** @param {{title: string, text: string, kind: string}|null} what */
function notice(what) {
  state.notice = what;
  if (what) announce(`${what.title} ${what.text}`, true);
  render();
}

// --- what the server says

client.on("change", render);
client.on("link", (link, detail) => {
  if (link === "superseded") state.notice = { title: "This chat is open in another tab.", text: "", kind: "superseded" };
  else if (state.notice?.kind === "superseded") state.notice = null;
  if (link === "refused") state.notice = { title: "The chat could not be opened.", text: detail, kind: "error" };
});
client.on("call", (call) => {
  const name = call.agent.display_name;
  if (name && name !== state.agent) state.agent = name;
  if (call.state === "active" && call.here) debug.markOnce(`active-${call.session}`, "active");
});
client.on("callEnded", (call) => {
  if (call.conversation !== conversation || call.end?.reason === "visitor_cancelled") return;
  state.unread = 0;
  if (!call.inOtherTab && !state.requesting) {
    notice({ ...visitorEndWords(call.end ?? { outcome: "failed" }), kind: call.end?.outcome ?? "failed" });
    thread.focus();
  }
});
client.on("invitation", (invitation) => {
  if (invitation.conversation !== conversation) return;
  if (["pending", "agent_joined"].includes(invitation.state)) {
    if (state.notice?.kind !== "superseded") state.notice = null;
    announce(`${state.agent || "An adviser"} invites you to a video.`, true);
  } else if (["cancelled", "missed", "failed", "declined"].includes(invitation.state) && !talking()) {
    if (state.asked === "invitation") state.asked = "";
    controls.settle();
    if (current() === null || !current()?.here) notice({ ...visitorInvitationWords(invitation, state.agent || "The adviser"), kind: "info" });
  }
});
client.on("deviceChanged", dimBriefly);
client.on("snapshot", () => { void rejoin(); });
client.on("message", (p) => {
  if (p.conversation !== conversation) return;
  const mine = p.from === "visitor" || p.from === sub;
  if (!mine && p.name) state.agent = p.name;
  addMessage({ message: p.message, mine, name: mine ? visitorName : p.name || state.agent || "Adviser", text: p.text ?? "", at: p.sent_at ?? Date.now() });
});

/** This page was loaded again in the middle of a call. */
async function rejoin() {
  const call = current();
  if (!call?.here || call.leg || call.pulling) return;
  if (!(await controls.prepare())) return;
  call.enter(call.legId);
  await call.warm().catch((error) => controls.warn(errorWords(error)));
  render();
}

/** Another device of the agent took over: at most a short dim, and the pictures go on. */
function dimBriefly() {
  state.dim = true;
  clearTimeout(dimTimer);
  dimTimer = window.setTimeout(() => { state.dim = false; render(); }, DIM_MS);
}

// --- the screen

function tick() {
  const call = current();
  if (phase() !== "ringing" || !call?.deadline) return;
  const left = call.deadline - performance.now();
  stage.setCountdown(left, call.ringMs);
  const seconds = Math.ceil(left / 1000);
  const words = statusWords(phase(), call, state.agent);
  if (seconds > 0 && seconds % ANNOUNCE_EVERY_S === 0 && seconds !== saidSeconds) {
    saidSeconds = seconds;
    announce(words);
  }
  setText(stage.status, words);
}

function render() {
  show(previewLabel, client.caps.has("visitor.preview"));
  view.render({ ...state, phase: phase(), call: current(), invitation: client.invitationOf(conversation) });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /** @type {HTMLElement} */ (event.target).closest("input, textarea")) return;
  const key = event.key.toLowerCase();
  if (stage.host.dataset.mode === "off") return;
  if (key === "escape" && state.chatOpen) toggleChat();
  else if (key === "m") controls.toggleMic();
  else if (key === "v") void controls.toggleCamera();
  else if (key === "c") { event.preventDefault(); toggleChat(); }
});
addEventListener("pagehide", (event) => { if (!event.persisted && !current()) client.leave(); });
setInterval(tick, 250);
thread.show(messages);
render();
void client.connect();
