// What an agent does with a conversation: invite, snooze, transfer, tag, close. Finishing ones can be undone for a moment:
// they are sent when that moment is over.

import { button, h, show } from "./dom.js";
import { visitorName } from "./agent-state.js";
import { menu } from "./menu.js";
import { toast } from "./toast.js";
import { CommandError } from "./triortc-client.js";
import { errorWords, invitationWarnings } from "./words.js";

const UNDO_MS = 4000;
const HOUR_MS = 3_600_000;

/**
 * @typedef {object} ActionHooks
 * @property {() => string|null} selected
 * @property {() => void} left show the list
 * @property {(conversation: string) => void} show
 * @property {() => void} render
 */

export class ConversationActions {
  /** @type {Map<string, {timer: number, send: () => void}>} what can still be undone, by conversation */
  #pending = new Map();
  /** Invitations that this agent took back: nothing more to say about them. @type {Set<string>} */
  cancelled = new Set();

  /** @param {import("./triortc-client.js").TriortcClient} client @param {ActionHooks} hooks */
  constructor(client, hooks) {
    this.client = client;
    this.hooks = hooks;
    this.inviteButton = button("invite", "invite", "Invite to video", () => { void this.invite(); }, { class: "small accent" });
  }

  /** @param {HTMLElement} host */
  build(host) {
    const snooze = menu(button("snooze", "clock", "Snooze", () => {}, { class: "small quiet" }), "Snooze until", (close) =>
      /** @type {[string, number|undefined][]} */ ([["Until they write", undefined], ["For one hour", Date.now() + HOUR_MS], ["Until tomorrow, 9:00", tomorrow()]])
        .map(([word, untilAt], index) => h("button", { class: "button menu-item", type: "button", id: `snooze-${index}`, text: word, onclick: () => { close(); this.snooze(untilAt); } })));
    const transfer = menu(button("transfer", "transfer", "Transfer", () => {}, { class: "small quiet" }), "Transfer to", (close) => [this.#transferForm(close)]);
    host.append(this.inviteButton, snooze, transfer, button("close", "check", "Close", () => this.close(), { class: "small quiet" }));
  }

  /** @param {string} conversation */
  isPending(conversation) { return this.#pending.has(conversation); }

  /**
   * Whether inviting makes sense now; the server decides.
   * @param {import("./triortc-client.js").ConversationView} view @param {boolean} offered whether a card offers it already
   */
  render(view, offered) {
    const may = this.client.caps.has("video.invite") && !offered && !this.client.here && view.state === "open" && !view.live_session && !this.client.invitationOf(view.conversation);
    show(this.inviteButton, may);
  }

  async invite() {
    const conversation = this.hooks.selected();
    if (!conversation) return;
    try {
      const { warnings } = await this.client.invite(conversation);
      toast(invitationWarnings(warnings));
    } catch (error) {
      const other = error instanceof CommandError ? error.details.conversation : undefined;
      if (other && other !== conversation) toast(errorWords(/** @type {CommandError} */ (error)), "Show it", () => this.hooks.show(other));
      else this.#refused(error);
    }
  }

  cancelInvitation() {
    const conversation = this.hooks.selected();
    const invitation = conversation ? this.client.invitationOf(conversation) : null;
    if (!invitation) return;
    this.cancelled.add(invitation.invitation);
    this.client.cancelInvitation(invitation).then(() => toast("The invitation is taken back."), (error) => this.#refused(error));
  }

  /** @param {string[]} tags */
  tag(tags) {
    const conversation = this.hooks.selected();
    const view = conversation ? this.client.conversations.get(conversation) : undefined;
    if (!conversation || !view || JSON.stringify(tags) === JSON.stringify(view.tags)) return;
    view.tags = tags;
    this.client.tag(conversation, tags).catch((error) => this.#refused(error));
  }

  close() {
    this.#finish((name) => `Conversation with ${name} closed.`, (conversation, endVideo) => this.client.closeConversation(conversation, { endVideo }));
  }

  /** @param {number} [untilAt] unix ms; without: until the visitor writes */
  snooze(untilAt) {
    const until = untilAt ? ` until ${new Date(untilAt).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" })}` : " until they write again";
    this.#finish((name) => `${name} is snoozed${until}.`, (conversation, endVideo) => this.client.snooze(conversation, { untilAt, endVideo }));
  }

  /** @param {{agent: string}|{group: string}} to @param {string} note */
  transfer(to, note) {
    const where = "group" in to ? `the group ${to.group}` : to.agent;
    this.#finish((name) => `${name} goes to ${where}.`, (conversation, endVideo) => this.client.transfer(conversation, to, { note, endVideo }));
  }

  /** Send everything that waits for an undo. */
  finishAll() { for (const { send } of [...this.#pending.values()]) send(); }

  /** @param {(name: string) => string} words @param {(conversation: string, endVideo: boolean) => Promise<any>} command */
  #finish(words, command) {
    const conversation = this.hooks.selected();
    if (!conversation || this.#pending.has(conversation)) return;
    const name = visitorName(this.client, conversation);
    const run = (/** @type {boolean} */ endVideo) => command(conversation, endVideo).catch((error) => {
      if (error instanceof CommandError && error.code === "conversation.video_active" && !endVideo)
        toast("This conversation has a running video.", "End the video too", () => { void run(true); }, 10000);
      else this.#refused(error);
    }).finally(() => this.hooks.render());
    const send = () => {
      clearTimeout(this.#pending.get(conversation)?.timer);
      this.#pending.delete(conversation);
      void run(false);
    };
    if (this.client.conversations.get(conversation)?.live_session) { // what the server may refuse is not promised
      void run(false);
      return;
    }
    this.#pending.set(conversation, { timer: window.setTimeout(send, UNDO_MS), send });
    toast(words(name), "Undo", () => {
      clearTimeout(this.#pending.get(conversation)?.timer);
      this.#pending.delete(conversation);
      this.hooks.show(conversation);
    }, UNDO_MS);
    this.hooks.left();
  }

  /** @param {() => void} close */
  #transferForm(close) {
    const kind = h("select", { id: "transfer-kind", "aria-label": "To whom" }, h("option", { value: "group", text: "Group" }), h("option", { value: "agent", text: "Agent" }));
    const name = h("input", { id: "transfer-name", required: true, maxlength: 64, placeholder: "Name", "aria-label": "Name of the group or agent", autocomplete: "off" });
    const note = h("input", { id: "transfer-note", maxlength: 400, placeholder: "Note for whoever takes over", "aria-label": "Note", autocomplete: "off" });
    const form = h("form", { class: "menu-form" }, h("div", { class: "menu-row" }, kind, name), note,
      h("button", { class: "button primary small", type: "submit", id: "transfer-go", text: "Transfer" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      close();
      this.transfer(kind.value === "group" ? { group: name.value.trim() } : { agent: name.value.trim() }, note.value.trim());
    });
    return form;
  }

  /** @param {unknown} error */
  #refused(error) { toast(errorWords(/** @type {CommandError} */ (error))); }
}

function tomorrow() {
  const day = new Date();
  day.setDate(day.getDate() + 1);
  day.setHours(9, 0, 0, 0);
  return day.getTime();
}
