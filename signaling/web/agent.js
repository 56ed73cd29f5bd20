// The agent's page: availability, conversations, invitations, the incoming call, the call, and finishing it.

import { $, announce, show } from "./dom.js";
import { ConversationActions } from "./agent-actions.js";
import { Card } from "./agent-cards.js";
import { ConversationList } from "./agent-list.js";
import { Ringing } from "./agent-ring.js";
import { setUpSignIn } from "./agent-signin.js";
import { liveOf, newState, ringOf, visitorName } from "./agent-state.js";
import { StatusPanel } from "./agent-status.js";
import { AgentView } from "./agent-view.js";
import { CallControls } from "./call-controls.js";
import { exposeForTests } from "./debug.js";
import { describeDevice, fetchToken, pictureFromAddress, signalUrl } from "./identity.js";
import { Installation } from "./install.js";
import { Stage } from "./stage.js";
import { Messages, ThreadView } from "./thread.js";
import { hideToast, toast } from "./toast.js";
import { LocalMedia, TriortcClient } from "./triortc-client.js";
import { deviceWords, errorWords, explainRefusal, invitationEndWords } from "./words.js";

/** @typedef {import("./triortc-client.js").CommandError} CommandError */

const state = newState();
let me = /** @type {import("./agent-signin.js").Identity} */ (/** @type {unknown} */ (null));
/** @type {Map<string, Messages>} */
const threads = new Map();
/** The call that was shown when it began. @type {string|null} */
let shown = null;

const stage = new Stage($("#stage"), {
  mic: () => controls.toggleMic(),
  camera: () => { void controls.toggleCamera(); },
  flip: () => { void controls.flip(); },
  landscape: () => { void controls.toggleLandscape(); },
  hangUp, chat: toggleChat, go: () => { void ringing.go(); }, decline: () => ringing.decline(), silence: () => ringing.silence(),
  cancel: cancelWaiting,
  expand: () => { const live = liveOf(client); if (live) select(live.conversation); },
  retryCamera: () => { void controls.prepare().then(() => ringing.warm()); },
  record: () => { void toggleRecording(); },
  send: (device) => { void suggest(device); },
});
/** @type {TriortcClient} */
const client = new TriortcClient({
  url: signalUrl(),
  media: new LocalMedia(pictureFromAddress()),
  credentials: async () => ({
    token: await fetchToken({ role: "agent", sub: me.sub, did: me.did, name: me.name, grp: [me.group] }),
    device: { ...await describeDevice(me.did, me.platform, me.deviceName), push: await installation.endpoints() },
  }),
});
const controls = new CallControls(client, stage, render);
const actions = new ConversationActions(client, { selected: () => state.selected, left: () => { document.body.dataset.tab = "list"; select(null); }, show: select, render });
/** @type {Installation} */
const installation = new Installation($("#install"), (push) => client.updateDevice({ push }));
const debug = exposeForTests("agent", () => {
  const live = liveOf(client);
  const ring = ringOf(client);
  return {
    ...state, link: client.link, pushes: installation.subscriptions, presence: Object.fromEntries(client.presence), conversations: [...client.conversations.values()],
    invitations: [...client.invitations.values()], warning: controls.warning, connection: (live ?? ring?.call)?.connection ?? "new",
    ring: ring && { ring: ring.ring, session: ring.session, kind: ring.kind, leg: ring.call.legId },
    live: live && { session: live.session, conversation: live.conversation, phase: live.pulling ? "pulling" : live.state, peerLost: live.peerLost, recorded: live.recorded },
  };
}, () => (liveOf(client) ?? ringOf(client)?.call ?? null), stage);
const view = new AgentView(state, client, controls, {
  stage,
  statusPanel: new StatusPanel($("#channels"), (name, declared) => { void setPresence(name, declared); }),
  list: new ConversationList($("#conversations"), $("#no-conversations"), select),
  card: new Card($("#card"), {
    close: () => actions.close(), tag: (tags) => actions.tag(tags), pull: () => { void pull(); },
    invite: () => { void actions.invite(); }, join: () => { void join(); }, cancelInvitation: () => actions.cancelInvitation(),
  }),
  actions,
}, { pull: () => { void pull(); }, messagesOf });
const ringing = new Ringing(state, client, controls, stage, { render, mark: (name) => debug.mark(name) });
const thread = new ThreadView($("#thread"), /** @type {HTMLFormElement} */ ($("#composer")), async (text) => {
  const conversation = state.selected;
  if (!conversation) return;
  const reply = await client.sendMessage(conversation, text);
  addMessage(conversation, { message: reply.message, mine: true, name: me.name, text, at: Date.now() });
});

// --- conversations

/** @param {string} conversation */
function messagesOf(conversation) {
  let messages = threads.get(conversation);
  if (!messages) threads.set(conversation, messages = new Messages(conversation, me.sub));
  return messages;
}

/** @param {string} conversation @param {import("./thread.js").Entry} entry @param {boolean} [news] not what was said long ago */
function addMessage(conversation, entry, news = true) {
  if (!messagesOf(conversation).add(entry)) return;
  const live = liveOf(client);
  const visible = conversation === state.selected && (!live || state.chatOpen || live.conversation !== conversation);
  if (conversation === state.selected) thread.append(entry);
  if (news && !entry.mine && !visible) state.unread.set(conversation, (state.unread.get(conversation) ?? 0) + 1);
  if (news && !entry.mine) {
    announce(`${entry.name}: ${entry.text}`);
    if (!visible && live) stage.showToast(`${entry.name}: ${entry.text}`);
    else if (visible) client.markRead(conversation, entry.message).catch(() => {}); // a hint only
  }
  render();
}

/** @param {string|null} conversation */
function select(conversation) {
  const live = liveOf(client);
  if (state.selected !== conversation) {
    state.selected = conversation;
    thread.show(conversation ? messagesOf(conversation) : null);
    client.focus(conversation).catch(() => {}); // a hint only
    const inside = live?.conversation === conversation;
    live?.set({ view: inside ? "full" : "thumbnail" });
    if (inside) state.chatOpen = false;
  }
  if (conversation) {
    document.body.dataset.tab = "conversation";
    if (live?.conversation !== conversation) state.unread.delete(conversation);
  }
  render();
}

// --- presence

/** @param {string} name @param {"available"|"unavailable"} declared */
async function setPresence(name, declared) {
  if (name === "video" && declared === "available") void checkDevices();
  await client.setPresence(name, declared).catch((/** @type {CommandError} */ error) => toast(errorWords(error)));
}

/** Going green asks for the devices now, not in a visitor's thirty seconds; and for leave to ring when this page is closed. */
async function checkDevices() {
  const note = $("#check");
  show(note, false);
  void installation.offer();
  if (client.media.stream) return;
  try {
    await client.prepare();
  } catch (error) {
    note.textContent = explainRefusal(error);
    show(note, true);
  } finally {
    client.release();
  }
}

// --- the call

function hangUp() {
  debug.mark("hangup");
  liveOf(client)?.hangUp().catch((/** @type {CommandError} */ error) => toast(errorWords(error)));
}

/** The visitor has not come yet: take the invitation back. */
function cancelWaiting() {
  const live = liveOf(client);
  if (live?.state !== "waiting") return;
  const invitation = client.invitationOf(live.conversation);
  const ended = invitation ? client.cancelInvitation(invitation) : live.hangUp();
  ended.catch((/** @type {CommandError} */ error) => toast(errorWords(error)));
}

async function toggleRecording() {
  const live = liveOf(client);
  if (!live) return;
  await (live.recorded ? live.stopRecording() : live.record()).catch((/** @type {CommandError} */ error) => toast(errorWords(error)));
}

/** Join an invitation before the visitor does. */
async function join() {
  const invitation = state.selected ? client.invitationOf(state.selected) : null;
  hideToast();
  if (!invitation || !(await controls.prepare())) return;
  await client.joinInvitation(invitation).catch((/** @type {CommandError} */ error) => {
    controls.settle();
    toast(errorWords(error));
  });
  render();
}

/** Take over a video that runs on another device of mine. */
async function pull() {
  const call = client.elsewhere;
  if (!call) return;
  debug.mark("pull");
  call.pulling = true;
  select(call.conversation);
  try {
    if (!(await controls.prepare())) throw new Error(controls.warning);
    await call.pull();
  } catch (error) {
    call.pulling = false;
    controls.settle();
    toast(errorWords(/** @type {CommandError} */ (error)));
  }
  render();
}

/** Ask another device of mine to go on with the video there; it is that device that takes it. @param {any} device */
async function suggest(device) {
  try {
    await liveOf(client)?.suggest(device.device);
    toast(`Press “Continue here” on ${deviceWords(device)}.`);
  } catch (error) {
    toast(errorWords(/** @type {CommandError} */ (error)));
  }
}

function toggleChat() {
  const live = liveOf(client);
  if (!live) return;
  state.chatOpen = !state.chatOpen;
  if (live.conversation !== state.selected) select(live.conversation);
  if (state.chatOpen) {
    state.unread.delete(live.conversation);
    stage.hideToast();
    render();
    thread.focus();
  }
  render();
}

// --- what the server says

client.on("change", render);
client.on("link", (link, detail) => { if (link === "refused") toast(`Sign-in refused: ${detail}`); });
client.on("call", (call) => {
  if (!call.here || !call.inCall || shown === call.session) return;
  shown = call.session;
  select(call.conversation);
});
client.on("snapshot", () => { void rejoin(); });
client.on("callEnded", (call) => {
  state.talkMs.set(call.session, call.end?.talkMs ?? 0);
  if (shown !== call.session) return;
  shown = null;
  state.after = { conversation: call.conversation, talkMs: call.end?.talkMs ?? 0, outcome: call.end?.outcome ?? "failed", reminder: false };
  select(call.conversation);
  announce("The video is over. The chat is still open.", true);
  if (call.end?.outcome === "failed") toast("The connection was lost. The chat is still open.");
  thread.focus();
});
client.on("moved", (call) => {
  shown = null;
  announce(`Your video continues on ${deviceWords(call.movedTo)}.`, true);
});
client.on("handoffFailed", (call) => { if (!call.here) toast("The video could not be moved. It goes on where it was."); });
client.on("suggested", (call, from) => toast(`${deviceWords(from)} suggests to go on here.`, "Continue here", () => { void pull(); }));
client.on("invitation", (invitation) => {
  if (["pending", "agent_joined", "visitor_accepted", "in_session", "completed"].includes(invitation.state)) return;
  if (actions.cancelled.delete(invitation.invitation)) return; // said already
  toast(invitationEndWords(invitation, visitorName(client, invitation.conversation)));
});
client.on("conversation", (changed) => {
  const gone = changed.state === "closed" || (changed.assignee !== null && changed.assignee !== me.sub);
  if (gone) client.conversations.delete(changed.conversation);
  if (gone && state.selected === changed.conversation) select(null);
});
client.on("conversationRemoved", (gone) => { if (state.selected === gone.conversation) select(null); });
client.on("message", (p) => {
  const ours = p.from === me.sub || p.from === "agent";
  const mine = ours && (!p.name || p.name === me.name); // else another agent's, who had the conversation before
  const name = p.name || visitorName(client, p.conversation);
  addMessage(p.conversation, { message: p.message, mine, name, text: p.text ?? "", at: p.sent_at ?? Date.now() }, p.notify !== false);
});
client.on("reminder", (p) => {
  state.after = { conversation: p.conversation, talkMs: state.after?.talkMs ?? 0, outcome: "completed", reminder: true };
  toast(`The conversation with ${visitorName(client, p.conversation)} is still open.`, "Open", () => select(p.conversation), 15000);
});
client.on("draining", () => toast("The server will restart soon. Calls that run may end."));

/** This page was loaded again in the middle of a call. */
async function rejoin() {
  installation.opened(client);
  const live = liveOf(client);
  if (!live || live.leg || live.pulling) return;
  shown = live.session;
  select(live.conversation);
  if (!(await controls.prepare())) return;
  live.enter(live.legId);
  await live.warm().catch((error) => controls.warn(errorWords(error)));
  render();
}
installation.onDecline = () => ringing.decline();
stage.remote.addEventListener("playing", () => { if (liveOf(client)?.state === "active") debug.mark("pulled"); });
client.on("call", (call) => { if (call.state === "active" && call.here) debug.markOnce(`active-${call.session}`, "active"); });

// --- the screen

function render() {
  if (me) view.render();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /** @type {HTMLElement} */ (event.target).closest("input, textarea, select")) return;
  const key = event.key.toLowerCase();
  const ring = ringOf(client);
  const live = liveOf(client);
  if (ring && key === "g") void ringing.go();
  else if (ring && key === "d") ringing.decline();
  else if (key === "escape" && live && state.chatOpen) toggleChat();
  else if ((ring || live) && key === "m") controls.toggleMic();
  else if ((ring || live) && key === "v") void controls.toggleCamera();
  else if (live && key === "c") { event.preventDefault(); toggleChat(); }
});
addEventListener("pagehide", () => actions.finishAll()); // what was closed stays closed

view.build((tab) => { document.body.dataset.tab = tab; select(null); });
setUpSignIn((who) => {
  me = who;
  view.introduce(who);
  void installation.start();
  render();
  void client.connect();
});
