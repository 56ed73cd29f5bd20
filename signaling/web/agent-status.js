// The agent's own availability: one switch a channel, with what is in effect in words, shape and colour.

import { h, icon, setText } from "./dom.js";
import { busyWords } from "./words.js";

/** @type {[string, string, string][]} */
const CHANNELS = [["chat", "Chat", "chat"], ["video", "Video", "camera"]];

export class StatusPanel {
  /** @param {HTMLElement} host @param {(channel: string, declared: "available"|"unavailable") => void} set */
  constructor(host, set) {
    /** @type {Map<string, {toggle: HTMLElement, words: HTMLElement}>} */
    this.rows = new Map();
    for (const [channel, name, shape] of CHANNELS) {
      const words = h("span", { class: "channel-words", id: `words-${channel}` });
      const toggle = h("button", {
        type: "button", role: "switch", class: "channel", id: `toggle-${channel}`, "aria-checked": "false", "data-color": "red",
        "aria-describedby": `words-${channel}`,
        onclick: () => set(channel, toggle.getAttribute("aria-checked") === "true" ? "unavailable" : "available"),
      }, icon(shape), h("span", { class: "channel-name", text: name }), h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "knob" })));
      host.append(h("div", { class: "channel-row" }, toggle, h("p", { class: "channel-state" }, h("span", { class: "shape", "aria-hidden": "true" }), words)));
      this.rows.set(channel, { toggle, words });
    }
  }

  /** @param {Map<string, any>} presence @param {string|null} visitor of an open chat */
  render(presence, visitor) {
    for (const [channel, { toggle, words }] of this.rows) {
      const status = presence.get(channel);
      const color = status?.color ?? "red";
      toggle.setAttribute("aria-checked", String(status?.declared === "available"));
      toggle.dataset.color = color;
      const row = toggle.parentElement;
      if (row) row.dataset.color = color;
      setText(words, color === "green" ? "Available" : color === "orange" ? `Busy: ${busyWords(status.reasons, visitor)}`
        : status?.declared === "available" ? "Not reachable" : "Unavailable");
    }
  }
}
