// Cards above the composer: where the video went, that it is over, and how to finish the conversation.

import { button, h, show } from "./dom.js";
import { deviceWords, duration } from "./words.js";

/**
 * @typedef {{kind: "after", talkMs: number, outcome: string, tags: string[], reminder: boolean, canInvite: boolean}
 *   | {kind: "elsewhere", device: any} | {kind: "moved", device: any, canPull: boolean} | {kind: "info", text: string}
 *   | {kind: "invited", visitor: string, joined: boolean}} CardModel
 * @typedef {{close: () => void, tag: (tags: string[]) => void, pull: () => void, invite: () => void, join: () => void, cancelInvitation: () => void}} CardActions
 */

/** @param {string} text @returns {string[]} */
export function splitTags(text) {
  return [...new Set(text.split(",").map((tag) => tag.trim().slice(0, 64)).filter(Boolean))].slice(0, 32);
}

export class Card {
  /** @param {HTMLElement} host @param {CardActions} actions */
  constructor(host, actions) {
    this.host = host;
    this.actions = actions;
    this.key = "";
  }

  /** Build the card anew only when it changed, so that a half-written tag stays. @param {CardModel|null} model */
  render(model) {
    show(this.host, model !== null);
    const key = JSON.stringify(model);
    if (key === this.key) return;
    this.key = key;
    this.host.dataset.kind = model?.kind ?? "";
    this.host.replaceChildren(...(model ? this.#content(model) : []));
  }

  /** @param {CardModel} model @returns {Node[]} */
  #content(model) {
    if (model.kind === "info") return [h("p", { text: model.text })];
    if (model.kind === "moved") {
      return [h("h2", { text: `Your video continues on ${deviceWords(model.device)}` }), h("p", { text: "You can go on writing here." }),
        ...(model.canPull ? [button("pull", "device", "Bring it back here", this.actions.pull, { class: "primary" })] : [])];
    }
    if (model.kind === "elsewhere") {
      return [h("h2", { text: `You are in a video on ${deviceWords(model.device)}` }), button("pull", "device", "Continue here", this.actions.pull, { class: "primary" })];
    }
    if (model.kind === "invited") {
      return [h("h2", { text: `${model.visitor} is invited to a video` }), h("p", { text: "Join now and wait there, or join when they accept: it will ring." }),
        h("div", { class: "finish" }, button("join", "camera", "Join", this.actions.join, { class: "primary" }),
          button("cancel-invitation", "close", "Take it back", this.actions.cancelInvitation))];
    }
    const field = h("input", { id: "tags", type: "text", placeholder: "Tags, with commas", "aria-label": "Tags", value: model.tags.join(", "), maxlength: 400 });
    field.addEventListener("change", () => this.actions.tag(splitTags(field.value)));
    const words = model.reminder ? "This conversation is still open. Close it to be available again." : "Close the conversation to be available again.";
    return [h("h2", { text: model.talkMs ? `Video over · ${duration(model.talkMs)}` : "Video over" }), h("p", { text: words }),
      h("div", { class: "finish" }, field, button("close-conversation", "check", "Close conversation", () => {
        this.actions.tag(splitTags(field.value));
        this.actions.close();
      }, { class: "primary" }), ...(model.canInvite ? [button("invite-again", "invite", "Invite again", this.actions.invite)] : []))];
  }
}
