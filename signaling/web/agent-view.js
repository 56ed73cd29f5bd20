// Shows the agent's state: words and attributes, nothing that decides.

import { $, button, fill, h, setText, show } from "./dom.js";
import { liveElsewhere, visitorName } from "./agent-state.js";
import { deviceWords, outcomeWords } from "./words.js";

const TOAST_MS = 5000;

/**
 * @typedef {object} Parts
 * @property {import("./stage.js").Stage} stage
 * @property {import("./agent-status.js").StatusPanel} statusPanel
 * @property {import("./agent-list.js").ConversationList} list
 * @property {import("./agent-cards.js").Card} card
 *
 * @typedef {object} ViewActions
 * @property {() => void} pull
 * @property {(conversation: string) => import("./thread.js").Messages} messagesOf
 * @property {(conversation: string) => boolean} isClosing
 */

export class AgentView {
  /** @param {import("./agent-state.js").State} state @param {import("./call.js").Call} call @param {Parts} parts @param {ViewActions} actions */
  constructor(state, call, parts, actions) {
    this.state = state;
    this.call = call;
    this.parts = parts;
    this.actions = actions;
    this.toastTimer = 0;
  }

  /** A sentence that goes away, with at most one thing to do. @param {string} text @param {string} [word] @param {() => void} [action] */
  toast(text, word, action) {
    const box = $("#toast");
    const hide = () => show(box, false);
    fill(box, h("p", { text }), word && h("button", { id: "toast-action", class: "button small", type: "button", text: word, onclick: () => { hide(); action?.(); } }));
    show(box, true);
    clearTimeout(this.toastTimer);
    this.toastTimer = window.setTimeout(hide, TOAST_MS);
  }

  #status() {
    const { state, call } = this;
    if (state.ring?.deciding) return "Connecting…";
    const live = state.live;
    if (!live) return "";
    if (live.phase === "pulling") return "Bringing the video here…";
    if (live.phase === "connecting" || call.connection === "new" || call.connection === "connecting") return "Connecting…";
    if (live.movingTo) return `Moving to ${live.movingTo}…`;
    if (call.connection === "disconnected" || call.connection === "failed") return "Reconnecting…";
    if (live.peerLost) return `${visitorName(state, live.conversation)} is reconnecting…`;
    return "";
  }

  /** @returns {import("./stage.js").Mode} */
  #mode() {
    const { state } = this;
    if (state.ring) return "incoming";
    if (!state.live) return "off";
    return state.selected === state.live.conversation ? "call" : "thumb";
  }

  /** @returns {import("./agent-cards.js").CardModel|null} */
  #card() {
    const { state } = this;
    const view = state.selected ? state.conversations.get(state.selected) : null;
    if (!view || state.live?.conversation === view.conversation) return null;
    const running = view.live_session;
    if (running && state.moved?.session === running.session) return { kind: "moved", device: state.moved.device, canPull: state.moved.canPull };
    if (running?.can_pull) return { kind: "elsewhere", device: running.device };
    if (state.after?.conversation === view.conversation && view.state === "open")
      return { kind: "after", talkMs: state.after.talkMs, outcome: state.after.outcome, tags: [...view.tags], reminder: state.after.reminder };
    if (view.last_video && view.last_video.outcome !== "completed")
      return { kind: "info", text: `${outcomeWords(view.last_video.outcome)}. You can write, or close the conversation.` };
    return null;
  }

  #conversation() {
    const { state } = this;
    const view = state.selected ? state.conversations.get(state.selected) : null;
    show($("#open"), Boolean(view));
    show($("#nothing-open"), !view);
    if (!view) return;
    setText($("#visitor-name"), view.visitor?.name || "Visitor");
    const facts = [view.visitor?.page, view.visitor?.online === false ? "left the page" : "", view.state === "snoozed" ? "snoozed" : "", ...view.tags.map((/** @type {string} */ name) => `#${name}`)];
    setText($("#visitor-facts"), facts.filter(Boolean).join(" · "));
    this.parts.card.render(this.#card());
    show($("#conversation-actions"), !state.live || state.live.conversation !== view.conversation);
  }

  #banner() {
    const { state } = this;
    const banner = $("#elsewhere");
    const view = state.live ? undefined : liveElsewhere(state);
    show(banner, Boolean(view) && view?.conversation !== state.selected);
    if (!view || banner.dataset.session === view.live_session.session) return;
    banner.dataset.session = view.live_session.session;
    banner.replaceChildren(h("p", { text: `You are in a video on ${deviceWords(view.live_session.device)}` }),
      button("pull-banner", "device", "Continue here", () => { this.actions.pull(); }, { class: "primary" }));
  }

  render() {
    const { state, call } = this;
    const { live, ring } = state;
    const mode = this.#mode();
    document.body.dataset.chat = mode === "call" && !state.chatOpen ? "closed" : "open";
    document.body.toggleAttribute("data-link-lost", state.link !== "open");
    const words = { open: "", connecting: "Connecting…", lost: "Connection lost. Trying again…", superseded: "Signed in elsewhere as this device", refused: "Not signed in" };
    setText($("#link"), words[/** @type {"open"} */ (state.link)] ?? "");
    const chatWith = [...state.conversations.values()].find((view) => view.state === "open" && !view.live_session)?.visitor?.name ?? null;
    this.parts.statusPanel.render(state.presence, chatWith);
    this.parts.list.render([...state.conversations.values()].filter((view) => !this.actions.isClosing(view.conversation)).reverse(), state.selected,
      (conversation) => this.actions.messagesOf(conversation).last, (conversation) => state.unread.get(conversation) ?? 0, (session) => state.talkMs.get(session));
    this.#conversation();
    this.#banner();
    this.parts.stage.render({
      mode,
      title: ring ? ring.visitor?.name || "A visitor" : live ? visitorName(state, live.conversation) : "",
      subtitle: ring ? ring.visitor?.page || "is calling you by video" : "",
      micOn: call.camera.micOn, cameraOn: call.camera.cameraOn, mirror: call.camera.facing === "user",
      remoteCameraOn: live?.remoteCamera ?? true, status: this.#status(), dim: Boolean(live?.peerLost || live?.movingTo || live?.phase === "pulling"),
      warning: call.warning, quality: state.quality, recorded: live?.recorded ?? false, live: live?.live ?? false, silent: ring?.silent,
      unread: live ? state.unread.get(live.conversation) ?? 0 : 0, canGo: !ring?.deciding,
    });
  }
}
