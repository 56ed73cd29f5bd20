// The list of conversations: who, last line, how long ago, what is unread, and how the last video went.

import { h, icon, setText, show } from "./dom.js";
import { age, outcomeWords } from "./words.js";

/**
 * @typedef {object} Row
 * @property {HTMLLIElement} item
 * @property {HTMLButtonElement} open
 * @property {HTMLElement} name
 * @property {HTMLElement} line
 * @property {HTMLElement} age
 * @property {HTMLElement} badge
 * @property {HTMLElement} video
 * @property {HTMLElement} videoWords
 */

export class ConversationList {
  /** @param {HTMLElement} list an <ol> @param {HTMLElement} empty @param {(conversation: string) => void} select */
  constructor(list, empty, select) {
    this.list = list;
    this.empty = empty;
    this.select = select;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
  }

  /**
   * @param {any[]} views in order @param {string|null} selected
   * @param {(conversation: string) => {text: string, at: number}|undefined} lastLine @param {(conversation: string) => number} unread
   * @param {(session: string) => number|undefined} talkMs @param {(conversation: string) => boolean} invited
   */
  render(views, selected, lastLine, unread, talkMs, invited) {
    show(this.empty, views.length === 0);
    for (const [id, row] of this.rows) {
      if (!views.some((view) => view.conversation === id)) {
        row.item.remove();
        this.rows.delete(id);
      }
    }
    views.forEach((view, index) => {
      const row = this.rows.get(view.conversation) ?? this.#make(view.conversation);
      const last = lastLine(view.conversation);
      const count = unread(view.conversation);
      setText(row.name, view.visitor?.name || "Visitor");
      setText(row.line, last?.text ?? "");
      setText(row.age, last ? age(last.at) : "");
      setText(row.badge, count ? String(count) : "");
      show(row.badge, count > 0);
      const waits = invited(view.conversation);
      show(row.video, view.video_icon || waits || view.state === "snoozed");
      const live = Boolean(view.live_session);
      const outcome = view.last_video?.outcome ?? "";
      row.video.dataset.outcome = live ? "live" : waits ? "invited" : outcome;
      setText(row.videoWords, live ? "Live video" : waits ? "Invited to a video" : view.state === "snoozed" ? "Snoozed" : view.last_video ? outcomeWords(outcome, talkMs(view.last_video.session)) : "Video");
      row.item.dataset.state = view.state;
      row.item.toggleAttribute("data-live", live);
      row.open.setAttribute("aria-current", String(view.conversation === selected));
      if (this.list.children[index] !== row.item) this.list.insertBefore(row.item, this.list.children[index] ?? null);
    });
  }

  /** @param {string} conversation @returns {Row} */
  #make(conversation) {
    const name = h("span", { class: "row-name" }), line = h("span", { class: "row-line" }), when = h("span", { class: "row-age" });
    const badge = h("span", { class: "badge", "aria-label": "unread" }), videoWords = h("span", {});
    const video = h("span", { class: "row-video" }, icon("camera"), videoWords);
    const open = h("button", { type: "button", class: "row", onclick: () => this.select(conversation) },
      h("span", { class: "row-dot", "aria-hidden": "true" }), name, when, line, badge, video);
    const item = h("li", { "data-conversation": conversation }, open);
    const row = { item, open, name, line, age: when, badge, video, videoWords };
    this.rows.set(conversation, row);
    return row;
  }
}
