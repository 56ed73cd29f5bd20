// The agent's page: availability, conversations, the incoming call, the call, and finishing it.

import { $, announce, button, icon, setText, show } from "./dom.js";
import { Card } from "./agent-cards.js";
import { ConversationList } from "./agent-list.js";
import { Ringing } from "./agent-ring.js";
import { setUpSignIn } from "./agent-signin.js";
import { liveElsewhere, newLive, newState, visitorName } from "./agent-state.js";
import { StatusPanel } from "./agent-status.js";
import { AgentView } from "./agent-view.js";
import { Call } from "./call.js";
import { Camera, explainRefusal } from "./camera.js";
import { Channel, CommandError } from "./channel.js";
import { exposeForTests } from "./debug.js";
import { describeDevice, fetchToken } from "./identity.js";
import { Stage } from "./stage.js";
import { Messages, ThreadView } from "./thread.js";
import { deviceWords, errorWords, ringEndWords } from "./words.js";

const UNDO_MS = 4000;

const state = newState();
let me = /** @type {import("./agent-signin.js").Identity} */ (/** @type {unknown} */ (null));
/** @type {Map<string, number>} conversations whose closing can still be undone */
const closing = new Map();
/** @type {Map<string, Messages>} */
const threads = new Map();

const camera = new Camera();
const stage = new Stage($("#stage"), {
  mic: () => { stage.play(); call.toggleMic(); },
  camera: () => { void call.toggleCamera(); },
  flip: () => { void call.flip(); },
  landscape: () => { void call.toggleLandscape(); },
  hangUp, chat: toggleChat, go: () => { void ringing.go(); }, decline: () => ringing.decline(), silence: () => ringing.silence(),
  expand: () => { if (state.live) select(state.live.conversation); },
  retryCamera: () => { void call.prepare().then(() => ringing.warm()); },
});
const channel = new Channel({
  credentials: async () => ({
    token: await fetchToken({ role: "agent", sub: me.sub, did: me.did, name: me.name, grp: [me.group] }),
    device: await describeDevice(me.did, me.platform, me.deviceName),
  }),
  onSnapshot, onEvent,
  onState: (link, detail) => {
    state.link = link;
    if (link === "refused") toast(`Sign-in refused: ${detail ?? ""}`);
    render();
  },
});
const call = new Call(channel, camera, stage, render);
const debug = exposeForTests("agent", () => ({
  ...state, presence: Object.fromEntries(state.presence), conversations: [...state.conversations.values()], warning: call.warning, connection: call.connection,
}), () => call.leg, stage);
const view = new AgentView(state, call, {
  stage,
  statusPanel: new StatusPanel($("#channels"), (name, declared) => { void setPresence(name, declared); }),
  list: new ConversationList($("#conversations"), $("#no-conversations"), select),
  card: new Card($("#card"), { close: closeConversation, tag, pull: () => { void pull(); } }),
}, { pull: () => { void pull(); }, messagesOf, isClosing: (conversation) => closing.has(conversation) });
const ringing = new Ringing(state, channel, call, stage, { render, toast, answered: select, mark: (name) => debug.mark(name) });
const thread = new ThreadView($("#thread"), /** @type {HTMLFormElement} */ ($("#composer")), async (text) => {
  const conversation = state.selected;
  if (!conversation) return;
  const reply = await channel.command("conversation.message.send", { conversation, text });
  addMessage(conversation, { message: reply.message, mine: true, name: me.name, text, at: Date.now() });
});

// --- conversations

/** @param {string} conversation */
function messagesOf(conversation) {
  let messages = threads.get(conversation);
  if (!messages) threads.set(conversation, messages = new Messages(conversation, me.sub));
  return messages;
}

/** @param {string} conversation @param {import("./thread.js").Entry} entry */
function addMessage(conversation, entry) {
  if (!messagesOf(conversation).add(entry)) return;
  const visible = conversation === state.selected && (!state.live || state.chatOpen || state.live.conversation !== conversation);
  if (conversation === state.selected) thread.append(entry);
  if (!entry.mine && !visible) state.unread.set(conversation, (state.unread.get(conversation) ?? 0) + 1);
  if (!entry.mine) {
    announce(`${entry.name}: ${entry.text}`);
    if (!visible && state.live) stage.showToast(`${entry.name}: ${entry.text}`);
    else if (visible) channel.command("conversation.read", { conversation, message: entry.message }).catch(() => {}); // a hint only
  }
  render();
}

/** @param {string|null} conversation */
function select(conversation) {
  if (state.selected !== conversation) {
    state.selected = conversation;
    thread.show(conversation ? messagesOf(conversation) : null);
    channel.command("conversation.focus", { conversation }).catch(() => {}); // a hint only
    const inside = state.live?.conversation === conversation;
    if (state.live) call.set({ view: inside ? "full" : "thumbnail" });
    if (inside) state.chatOpen = false;
  }
  if (conversation) {
    document.body.dataset.tab = "conversation";
    if (!state.live || state.live.conversation !== conversation) state.unread.delete(conversation);
  }
  render();
}

/** @param {string[]} tags */
function tag(tags) {
  const conversation = state.selected;
  const view = conversation ? state.conversations.get(conversation) : null;
  if (!conversation || !view || JSON.stringify(tags) === JSON.stringify(view.tags)) return;
  view.tags = tags;
  channel.command("conversation.tag", { conversation, tags }).catch((error) => toast(errorWords(error)));
}

function closeConversation() {
  const conversation = state.selected;
  if (!conversation || closing.has(conversation)) return;
  const name = visitorName(state, conversation);
  const finish = () => {
    closing.delete(conversation);
    channel.command("conversation.close", { conversation }).catch((error) => { toast(errorWords(error)); render(); });
  };
  closing.set(conversation, window.setTimeout(finish, UNDO_MS));
  toast(`Conversation with ${name} closed.`, "Undo", () => {
    clearTimeout(closing.get(conversation));
    closing.delete(conversation);
    select(conversation);
  });
  select(null);
  document.body.dataset.tab = "list";
}

function snoozeConversation() {
  const conversation = state.selected;
  if (!conversation) return;
  channel.command("conversation.snooze", { conversation })
    .then(() => toast(`Snoozed until ${visitorName(state, conversation)} writes again.`), (error) => toast(errorWords(error)));
}

// --- presence

/** @param {string} name @param {"available"|"unavailable"} declared */
async function setPresence(name, declared) {
  if (name === "video" && declared === "available") void checkDevices();
  try {
    const status = await channel.command("presence.set", { channel: name, declared });
    if (status.channel) takePresence(status);
  } catch (error) {
    toast(errorWords(/** @type {CommandError} */ (error)));
  }
  render();
}

/** Going green asks for the devices now, not in a visitor's thirty seconds. */
async function checkDevices() {
  const note = $("#check");
  show(note, false);
  if (camera.stream) return;
  try {
    await camera.open();
    await channel.command("device.update", { perms: { camera: "granted", mic: "granted" } });
  } catch (error) {
    if (error instanceof CommandError) return;
    note.textContent = explainRefusal(error);
    show(note, true);
    channel.command("device.update", { perms: { camera: "denied", mic: "denied" } }).catch(() => {});
  } finally {
    if (!state.ring && !state.live) camera.close();
  }
}

/** @param {any} status */
function takePresence(status) {
  const known = state.presence.get(status.channel);
  if (!known || status.version >= known.version) state.presence.set(status.channel, status);
}

// --- the call

function hangUp() {
  const live = state.live;
  if (!live) return;
  debug.mark("hangup");
  channel.command("call.hangup", { session: live.session }).catch((error) => toast(errorWords(error)));
}

/** @param {any} end */
function ended(end) {
  state.talkMs.set(end.session, end.talk_ms);
  if (state.ring?.session === end.session) ringing.over("");
  if (state.moved?.session === end.session) state.moved = null;
  if (state.live?.session !== end.session) return;
  state.live = null;
  call.end();
  state.after = { conversation: end.conversation, talkMs: end.talk_ms, outcome: end.outcome, reminder: false };
  select(end.conversation);
  announce("The video is over. The chat is still open.", true);
  if (end.outcome === "failed") toast("The connection was lost. The chat is still open.");
  thread.focus();
}

/** Take over a video that runs on another device of mine. */
async function pull() {
  const view = liveElsewhere(state);
  if (!view) return;
  debug.mark("pull");
  const { session } = view.live_session;
  state.live = newLive(session, view.conversation, "pulling");
  select(view.conversation);
  try {
    if (!(await call.prepare())) throw new Error(call.warning);
    const reply = await channel.command("handoff.request", { session });
    if (state.live?.session !== session) return;
    call.enter(session);
    await call.warm(reply.leg);
  } catch (error) {
    pullFailed(errorWords(/** @type {CommandError} */ (error)));
  }
}

/** @param {string} words */
function pullFailed(words) {
  if (state.live?.phase !== "pulling") return;
  state.live = null;
  call.end();
  toast(words);
  render();
}

function toggleChat() {
  if (!state.live) return;
  state.chatOpen = !state.chatOpen;
  if (state.live.conversation !== state.selected) select(state.live.conversation);
  if (state.chatOpen) {
    state.unread.delete(state.live.conversation);
    stage.hideToast();
    render();
    thread.focus();
  }
  render();
}

// --- what the server says

/** @type {Record<string, (p: any) => void>} */
const HANDLERS = {
  "presence.changed": takePresence,
  "ring.offer": (p) => { void ringing.start(p); },
  "ring.ended": (p) => { if (state.ring?.ring === p.ring && !state.ring?.deciding) ringing.over(ringEndWords(p.reason, p.by)); },
  "call.active": (p) => {
    if (state.live?.session !== p.session) return;
    state.live.phase = "active";
    state.live.since = performance.now();
    debug.mark("active");
  },
  "call.peer": (p) => {
    if (state.live?.session !== p.session) return;
    if (p.what === "reconnecting") state.live.peerLost = true;
    else if (p.what === "resumed") state.live.peerLost = false;
  },
  "call.ended": ended,
  "media.changed": (p) => {
    if (state.live?.session === p.session && p.side === "visitor") state.live.remoteCamera = p.camera !== false && (p.camera_state ?? "live") === "live";
  },
  "media.gate": (p) => {
    if (state.live?.session !== p.session || p.kind !== "video") return;
    state.live.live = p.state === "open";
    if (p.state === "open") pulled();
  },
  "recording.changed": (p) => { if (state.live?.session === p.session) state.live.recorded = p.on; },
  "media.quality": (p) => { state.quality = p.score < 40 ? "Weak connection" : ""; },
  "handoff.started": (p) => { if (state.live?.session === p.session) state.live.movingTo = deviceWords(p.to); },
  "handoff.moved": (p) => {
    if (state.live?.session === p.session) {
      state.live = null;
      call.end();
    }
    state.moved = { session: p.session, device: p.to, canPull: p.can_pull_back };
    announce(`Your video continues on ${deviceWords(p.to)}.`, true);
  },
  "handoff.failed": (p) => {
    if (state.live?.session !== p.session) return;
    if (state.live.phase === "pulling") pullFailed("The video could not be moved. It goes on where it was.");
    else state.live.movingTo = "";
  },
  "conversation.changed": takeConversation,
  "conversation.removed": (p) => {
    state.conversations.delete(p.conversation);
    if (state.selected === p.conversation) select(null);
  },
  "conversation.message": (p) => {
    const mine = p.from === me.sub || p.from === "agent";
    addMessage(p.conversation, { message: p.message, mine, name: p.name || visitorName(state, p.conversation), text: p.text ?? "", at: p.sent_at ?? Date.now() });
  },
  "conversation.reminder": (p) => {
    state.after = { conversation: p.conversation, talkMs: state.after?.talkMs ?? 0, outcome: "completed", reminder: true };
    toast(`The conversation with ${visitorName(state, p.conversation)} is still open.`, "Open", () => select(p.conversation));
  },
};

/** @param {import("./channel.js").Message} event */
function onEvent(event) {
  if (call.handle(event)) return;
  HANDLERS[event.t]?.(event.p);
  render();
}

/** @param {any} view */
function takeConversation(view) {
  const known = state.conversations.get(view.conversation);
  if (known && view.version < known.version) return;
  if (view.state === "closed" || (view.assignee !== null && view.assignee !== me.sub)) {
    state.conversations.delete(view.conversation);
    if (state.selected === view.conversation) select(null);
    return;
  }
  state.conversations.set(view.conversation, view);
}

/** @param {any} snapshot */
async function onSnapshot(snapshot) {
  state.presence.clear();
  snapshot.presence?.forEach(takePresence);
  state.conversations.clear();
  snapshot.conversations?.forEach(takeConversation);
  const notice = snapshot.notices?.find((/** @type {any} */ item) => item.kind === "session_moved");
  state.moved = notice ? { session: notice.session, device: notice.to, canPull: notice.can_pull_back } : null;
  const ring = snapshot.rings?.[0];
  if (state.ring && state.ring.ring !== ring?.ring) ringing.over("");
  const live = snapshot.sessions?.find((/** @type {any} */ view) => view.leg && ["connecting", "active", "reconnecting", "handoff"].includes(view.state));
  if (state.live && state.live.session !== live?.session && state.live.phase !== "pulling") {
    state.live = null;
    call.end();
  }
  render();
  if (ring) void ringing.start(ring);
  if (live && !call.leg) await rejoin(live);
}

/** This tab was reloaded in the middle of a call. @param {any} view */
async function rejoin(view) {
  state.live = newLive(view.session, view.conversation, view.state === "connecting" ? "connecting" : "active");
  state.live.recorded = view.recording === true;
  select(view.conversation);
  if (!(await call.prepare())) return;
  call.enter(view.session);
  await call.warm(view.leg).catch((error) => { call.warning = errorWords(error); });
  render();
}

/** The first sign that a pulled video is here: the gate, or a picture. */
function pulled() {
  if (state.live?.phase !== "pulling") return;
  state.live.phase = "active";
  state.moved = null;
  state.live.live = true;
  debug.mark("pulled");
  render();
}
stage.remote.addEventListener("playing", pulled);

// --- the screen

function render() {
  if (me) view.render();
}

/** @param {string} text @param {string} [word] @param {() => void} [action] */
function toast(text, word, action) {
  view.toast(text, word, action);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /** @type {HTMLElement} */ (event.target).closest("input, textarea, select")) return;
  const key = event.key.toLowerCase();
  if (state.ring && key === "g") void ringing.go();
  else if (state.ring && key === "d") ringing.decline();
  else if (key === "escape" && state.live && state.chatOpen) toggleChat();
  else if ((state.ring || state.live) && key === "m") call.toggleMic();
  else if ((state.ring || state.live) && key === "v") void call.toggleCamera();
  else if (state.live && key === "c") { event.preventDefault(); toggleChat(); }
});
addEventListener("pagehide", () => {
  for (const [conversation, timer] of closing) { // what was closed stays closed
    clearTimeout(timer);
    void channel.command("conversation.close", { conversation });
  }
});

$("#back").append(icon("back"));
$("#back").addEventListener("click", () => { document.body.dataset.tab = "list"; select(null); });
$("#conversation-actions").append(
  button("snooze", "clock", "Snooze", snoozeConversation, { class: "small" }),
  button("close", "check", "Close", closeConversation, { class: "small" }));
$(".tabs").append(...[["status", "person", "Status"], ["list", "chat", "Conversations"]].map(([tab, shape, word]) =>
  button(`tab-${tab}`, shape, word, () => { document.body.dataset.tab = tab; select(null); }, { class: "tab" })));
setUpSignIn((who) => {
  me = who;
  setText($("#me"), who.name);
  setText($("#device"), `${who.deviceName} · ${who.group}`);
  document.title = `${who.name} – agent`;
  render();
  void channel.connect();
});
