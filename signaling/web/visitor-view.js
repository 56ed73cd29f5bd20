// Shows the visitor's state: words and attributes, nothing that decides.

import { $, button, fill, h, setText, show } from "./dom.js";
import { linkWords, qualityWords } from "./words.js";

/**
 * @typedef {"chat"|"asking"|"calling"|"queued"|"ringing"|"connecting"|"active"|"elsewhere"} Phase
 * @typedef {import("./triortc-client.js").Call} Call
 *
 * @typedef {object} VisitorModel
 * @property {Phase} phase
 * @property {Call|null} call
 * @property {import("./triortc-client.js").Invitation|null} invitation
 * @property {string} agent
 * @property {boolean} dim
 * @property {{title: string, text: string, kind: string}|null} notice
 * @property {boolean} chatOpen
 * @property {number} unread
 * @property {string} putOff an invitation that was declined here
 *
 * @typedef {object} VisitorActions
 * @property {() => void} useThisTab
 * @property {() => void} reconnect
 * @property {() => void} accept an invitation
 * @property {() => void} notNow
 */

/** What is going on, over the picture. @param {Phase} phase @param {Call|null} call @param {string} agent @returns {string} */
export function statusWords(phase, call, agent) {
  switch (phase) {
    case "asking": return "Allow camera and microphone…";
    case "calling": return "Calling…";
    case "queued": return call?.position ? `You are number ${call.position} in the queue…` : "You are in the queue…";
    case "ringing": {
      const seconds = call?.deadline ? ` ${Math.max(0, Math.ceil((call.deadline - performance.now()) / 1000))} s` : "";
      return `${call?.alerting ? "Ringing" : "Calling"} ${agent || "an adviser"}…${seconds}`;
    }
    default:
  }
  switch (call?.interruption) {
    case "connecting": case "pulling": return "Connecting…";
    case "here": return "Reconnecting…";
    case "peer": return `${agent || "The adviser"} is reconnecting…`;
    default: return "";
  }
}

export class VisitorView {
  /**
   * @param {import("./triortc-client.js").TriortcClient} client @param {import("./call-controls.js").CallControls} controls
   * @param {import("./stage.js").Stage} stage @param {VisitorActions} actions
   */
  constructor(client, controls, stage, actions) {
    this.client = client;
    this.controls = controls;
    this.stage = stage;
    this.actions = actions;
  }

  /** @param {VisitorModel} model */
  render(model) {
    const { phase, call, chatOpen } = model;
    const inCall = phase === "connecting" || phase === "active";
    const waiting = ["asking", "calling", "queued", "ringing"].includes(phase);
    const mode = inCall ? "call" : waiting ? "waiting" : "off";
    const { media, link } = this.client;
    document.body.dataset.screen = phase;
    document.body.dataset.chat = mode === "off" || chatOpen ? "open" : "closed";
    setText($("#link"), linkWords(link));
    const invited = model.invitation !== null && ["pending", "agent_joined"].includes(model.invitation.state) && model.invitation.invitation !== model.putOff;
    show($("#offer"), phase === "chat" && !invited && link !== "superseded");
    this.stage.render({
      mode,
      title: inCall ? model.agent || "Adviser" : "",
      micOn: media.micOn, cameraOn: media.cameraOn, mirror: media.facing === "user",
      remoteCameraOn: call?.remoteCamera ?? true,
      status: this.controls.warning && phase === "asking" ? "" : statusWords(phase, call, model.agent),
      dim: model.dim, held: call?.interruption === "peer" || call?.interruption === "here",
      warning: this.controls.warning, help: this.controls.help, quality: call ? qualityWords(call.weak) : "",
      recorded: call?.recorded ?? false, unread: model.unread,
    });
    this.#notice(model, inCall || waiting, invited && phase === "chat");
    this.#banner(model, invited && waiting);
  }

  /** @param {VisitorModel} model @param {boolean} hidden @param {boolean} invited */
  #notice(model, hidden, invited) {
    const box = $("#notice");
    const name = model.agent || "An adviser";
    const notice = model.phase === "elsewhere" ? { title: "Your call is open in another tab.", text: "", kind: "elsewhere" }
      : invited ? { title: `${name} invites you to a video`, text: model.invitation?.state === "agent_joined" ? `${name} is there already.` : "Your browser will ask for your camera and microphone.", kind: "invitation" }
        : model.notice;
    show(box, notice !== null && !hidden);
    box.dataset.kind = notice?.kind ?? "";
    const key = JSON.stringify(notice);
    if (box.dataset.key === key) return;
    box.dataset.key = key;
    if (!notice) return;
    fill(box, h("h2", { text: notice.title }), h("p", { text: notice.text }),
      notice.kind === "elsewhere" && button("use-this-tab", "expand", "Use this tab", this.actions.useThisTab, { class: "primary" }),
      notice.kind === "superseded" && button("use-this-tab", "expand", "Use this tab", this.actions.reconnect, { class: "primary" }),
      notice.kind === "invitation" && h("div", { class: "finish" },
        button("accept-invitation", "camera", "Join", this.actions.accept, { class: "go" }), button("not-now", "close", "Not now", this.actions.notNow)));
  }

  /** An invitation that comes while something else is on the screen. @param {VisitorModel} model @param {boolean} shown */
  #banner(model, shown) {
    const banner = $("#banner");
    show(banner, shown);
    const key = shown ? model.invitation?.invitation ?? "" : "";
    if (banner.dataset.key === key) return;
    banner.dataset.key = key;
    if (!shown) return;
    fill(banner, h("p", { text: `${model.agent || "An adviser"} invites you to a video` }), button("accept-banner", "camera", "Join", this.actions.accept, { class: "go small" }));
  }
}
