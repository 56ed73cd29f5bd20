// Shows the agent's state: words and attributes, nothing that decides.

import { $, button, h, icon, setText, show } from "./dom.js";
import { liveElsewhere, liveOf, ringOf, visitorName } from "./agent-state.js";
import { deviceWords, linkWords, outcomeWords, qualityWords } from "./words.js";

/**
 * @typedef {object} Parts
 * @property {import("./stage.js").Stage} stage
 * @property {import("./agent-status.js").StatusPanel} statusPanel
 * @property {import("./agent-list.js").ConversationList} list
 * @property {import("./agent-cards.js").Card} card
 * @property {import("./agent-actions.js").ConversationActions} actions
 *
 * @typedef {object} ViewActions
 * @property {() => void} pull
 * @property {(conversation: string) => import("./thread.js").Messages} messagesOf
 */

export class AgentView {
  /**
   * @param {import("./agent-state.js").State} state @param {import("./triortc-client.js").TriortcClient} client
   * @param {import("./call-controls.js").CallControls} controls @param {Parts} parts @param {ViewActions} actions
   */
  constructor(state, client, controls, parts, actions) {
    this.state = state;
    this.client = client;
    this.controls = controls;
    this.parts = parts;
    this.actions = actions;
    /** On a phone's tab, of all conversations together. */
    this.unread = h("span", { class: "badge", role: "status", hidden: true });
  }

  /** What the page's HTML does not hold. @param {(tab: string) => void} open a phone's tab */
  build(open) {
    $("#back").append(icon("back"));
    $("#back").addEventListener("click", () => open("list"));
    this.parts.actions.build($("#conversation-actions"));
    $(".tabs").append(...[["status", "person", "Status"], ["list", "chat", "Conversations"]].map(([tab, shape, word]) =>
      button(`tab-${tab}`, shape, word, () => open(tab), { class: "tab" })));
    $("#tab-list").append(this.unread);
  }

  /** @param {import("./agent-signin.js").Identity} who */
  introduce(who) {
    setText($("#me"), who.name);
    setText($("#device"), `${who.deviceName} · ${who.group}`);
    document.title = `${who.name} – agent`;
  }

  #statusWords() {
    const { client, state } = this;
    if (state.deciding) return "Connecting…";
    const live = liveOf(client);
    if (!live) return "";
    const name = visitorName(client, live.conversation);
    if (live.state === "waiting") return `Waiting for ${name}…`;
    switch (live.interruption) {
      case "pulling": return "Bringing the video here…";
      case "connecting": return "Connecting…";
      case "moving": return `Moving to ${deviceWords(live.movingTo)}…`;
      case "here": return "Reconnecting…";
      case "peer": return `${name} is reconnecting…`;
      default: return "";
    }
  }

  /** @returns {import("./stage.js").Mode} */
  #mode() {
    const { client, state } = this;
    if (ringOf(client)) return "incoming";
    const live = liveOf(client);
    if (!live) return "off";
    if (state.selected !== live.conversation) return "thumb";
    return live.state === "waiting" ? "waiting" : "call";
  }

  /** @returns {import("./agent-cards.js").CardModel|null} */
  #card() {
    const { client, state } = this;
    const view = state.selected ? client.conversations.get(state.selected) : null;
    if (!view || liveOf(client)?.conversation === view.conversation) return null;
    const running = view.live_session;
    const known = running ? client.calls.get(running.session) : undefined;
    if (running && known?.movedTo) return { kind: "moved", device: running.device ?? known.movedTo, canPull: running.can_pull === true };
    if (running?.can_pull) return { kind: "elsewhere", device: running.device };
    const invitation = client.invitationOf(view.conversation);
    if (invitation?.state === "pending" || invitation?.state === "agent_joined")
      return { kind: "invited", visitor: visitorName(client, view.conversation), joined: invitation.state === "agent_joined" };
    if (state.after?.conversation === view.conversation && view.state === "open") {
      return { kind: "after", talkMs: state.after.talkMs, outcome: state.after.outcome, tags: [...view.tags], reminder: state.after.reminder,
        canInvite: client.caps.has("video.invite") };
    }
    if (view.last_video && view.last_video.outcome !== "completed")
      return { kind: "info", text: `${outcomeWords(view.last_video.outcome)}. You can write, invite to a video, or close the conversation.` };
    return null;
  }

  #conversation() {
    const { client, state } = this;
    const view = state.selected ? client.conversations.get(state.selected) : null;
    show($("#open"), Boolean(view));
    show($("#nothing-open"), !view);
    if (!view) return;
    setText($("#visitor-name"), view.visitor?.name || "Visitor");
    const facts = [view.visitor?.page, view.visitor?.online === false ? "left the page" : "", view.state === "snoozed" ? "snoozed" : "", ...view.tags.map((/** @type {string} */ name) => `#${name}`)];
    setText($("#visitor-facts"), facts.filter(Boolean).join(" · "));
    const card = this.#card();
    this.parts.card.render(card);
    this.parts.actions.render(view, card?.kind === "after");
    show($("#conversation-actions"), liveOf(client)?.conversation !== view.conversation);
  }

  #banner() {
    const { client, state } = this;
    const banner = $("#elsewhere");
    const view = liveOf(client) ? null : liveElsewhere(client);
    show(banner, view !== null && view.conversation !== state.selected);
    const key = JSON.stringify(view?.live_session);
    if (!view?.live_session || banner.dataset.key === key) return;
    banner.dataset.key = key;
    banner.replaceChildren(h("p", { text: `You are in a video on ${deviceWords(view.live_session.device)}` }),
      button("pull-banner", "device", "Continue here", () => { this.actions.pull(); }, { class: "primary" }));
  }

  render() {
    const { client, controls, state } = this;
    const live = liveOf(client);
    const ring = ringOf(client);
    const mode = this.#mode();
    document.body.dataset.chat = (mode === "call" || mode === "waiting") && !state.chatOpen ? "closed" : "open";
    document.body.toggleAttribute("data-link-lost", client.link !== "open");
    setText($("#link"), linkWords(client.link));
    const views = [...client.conversations.values()].filter((view) => !this.parts.actions.isPending(view.conversation));
    const chatWith = views.find((view) => view.state === "open" && !view.live_session)?.visitor?.name ?? null;
    this.parts.statusPanel.render(client.presence, chatWith);
    this.parts.list.render(views.reverse(), state.selected,
      (conversation) => this.actions.messagesOf(conversation).last, (conversation) => state.unread.get(conversation) ?? 0, (session) => state.talkMs.get(session),
      (conversation) => client.invitationOf(conversation) !== null);
    const unread = views.reduce((sum, view) => sum + (state.unread.get(view.conversation) ?? 0), 0);
    setText(this.unread, unread > 99 ? "99+" : unread ? String(unread) : "");
    this.unread.setAttribute("aria-label", `${unread} unread`);
    show(this.unread, unread > 0);
    this.#conversation();
    this.#banner();
    const { media } = client;
    this.parts.stage.render({
      mode,
      title: ring ? ring.visitor?.name || "A visitor" : live ? visitorName(client, live.conversation) : "",
      subtitle: ring ? ring.visitor?.page || (ring.kind === "join" ? "has accepted your invitation" : "is calling you by video") : "",
      note: "The visitor cannot see you yet",
      micOn: media.micOn, cameraOn: media.cameraOn, mirror: media.facing === "user",
      remoteCameraOn: live?.remoteCamera ?? true, status: this.#statusWords(), held: Boolean(live && !["", "connecting"].includes(live.interruption)),
      warning: controls.warning, help: controls.help, quality: live ? qualityWords(live.weak) : "",
      recorded: live?.recorded ?? false, canRecord: live?.state === "active" && client.caps.has("record") && client.caps.has("recording.on_request"),
      devices: live?.state === "active" && client.caps.has("handoff") ? client.otherDevices : [],
      live: live !== null && live.live && !live.interruption, silent: ring?.silent,
      unread: live ? state.unread.get(live.conversation) ?? 0 : 0, canGo: !state.deciding,
    });
  }
}
