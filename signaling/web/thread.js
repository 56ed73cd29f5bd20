// The written side of a conversation: messages and the field to write one.

import { h, icon } from "./dom.js";

/** @typedef {{message: string, mine: boolean, name: string, text: string, at: number, failed?: boolean}} Entry */

const MAX_KEPT = 500;

/** Messages of one conversation, each once; kept over a reload of the tab. */
export class Messages {
  /** @param {string} conversation @param {string} who */
  constructor(conversation, who) {
    this.key = `triortc-thread-${who}-${conversation}`;
    /** @type {Entry[]} */
    this.entries = [];
    try {
      this.entries = JSON.parse(sessionStorage.getItem(this.key) ?? "[]");
    } catch { /* somebody else's data: start empty */ }
  }

  /** @param {Entry} entry @returns {boolean} false where it was known */
  add(entry) {
    if (this.entries.some((known) => known.message === entry.message)) return false;
    this.entries.push(entry);
    if (this.entries.length > MAX_KEPT) this.entries.shift();
    try {
      sessionStorage.setItem(this.key, JSON.stringify(this.entries));
    } catch { /* a full store loses history over a reload, nothing else */ }
    return true;
  }

  get last() { return this.entries.at(-1); }
}

export class ThreadView {
  /** @param {HTMLElement} list an <ol> @param {HTMLFormElement} form @param {(text: string) => Promise<void>} send */
  constructor(list, form, send) {
    this.list = list;
    this.form = form;
    this.field = h("textarea", { id: "message", rows: 1, maxlength: 8000, placeholder: "Write a message…", "aria-label": "Message" });
    this.error = h("p", { class: "composer-error", role: "alert" });
    form.append(this.field, h("button", { id: "send", class: "button round accent", type: "submit", "aria-label": "Send" }, icon("send")), this.error);
    this.field.addEventListener("input", () => this.#grow());
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const text = this.field.value.trim();
      if (!text) return;
      this.field.value = "";
      this.#grow();
      this.error.textContent = "";
      try {
        await send(text);
      } catch (error) {
        this.error.textContent = `Not sent: ${error instanceof Error ? error.message : error}`;
        this.field.value = text;
        this.#grow();
      }
    });
  }

  /** @param {Messages|null} messages */
  show(messages) {
    this.list.replaceChildren(...(messages?.entries ?? []).map((entry) => this.#item(entry)));
    this.list.scrollTop = this.list.scrollHeight;
  }

  /** @param {Entry} entry */
  append(entry) {
    this.list.append(this.#item(entry));
    this.list.scrollTop = this.list.scrollHeight;
  }

  focus() { this.field.focus({ preventScroll: true }); }

  /** @param {Entry} entry */
  #item(entry) {
    const time = new Date(entry.at);
    return h("li", { class: entry.mine ? "message mine" : "message" },
      h("p", { class: "text", text: entry.text }),
      h("p", { class: "meta" }, entry.mine ? "You" : entry.name, " · ",
        h("time", { datetime: time.toISOString(), text: time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) })));
  }

  #grow() {
    this.field.style.setProperty("height", "auto");
    this.field.style.setProperty("height", `${Math.min(this.field.scrollHeight, 144)}px`);
  }
}
