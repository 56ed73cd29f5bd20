// The place of the two pictures. Both video elements are made once and never moved in the tree: `data-mode` and the style
// sheet decide whether they are a preview, a call or a thumbnail, so nothing flashes black.

import { h, button, fill, icon, relabel, setText, show } from "./dom.js";
import { makeDraggable } from "./drag.js";
import { menu } from "./menu.js";
import { RECORDED, deviceWords } from "./words.js";

/**
 * @typedef {"off"|"waiting"|"incoming"|"call"|"thumb"} Mode
 * @typedef {object} StageModel
 * @property {Mode} mode
 * @property {string} [title] who is there
 * @property {string} [subtitle]
 * @property {boolean} [micOn]
 * @property {boolean} [cameraOn]
 * @property {boolean} [mirror]
 * @property {boolean} [remoteCameraOn]
 * @property {string} [status] words over the picture: "Connecting…", "Reconnecting…"
 * @property {boolean} [dim]
 * @property {boolean} [held] no new picture comes: dim, and keep the last one
 * @property {string} [warning] what is wrong and what to do
 * @property {string[]} [help] how to do it, step by step
 * @property {string} [quality] only when bad
 * @property {boolean} [recorded] the server records both sides
 * @property {boolean} [canRecord] this side may have it recorded
 * @property {string} [note] words over the own preview
 * @property {any[]} [devices] others of this person, where the call could go on
 * @property {boolean} [live] the other side sees me (agents)
 * @property {number} [unread]
 * @property {boolean} [silent]
 * @property {boolean} [canGo]
 *
 * @typedef {object} StageActions
 * @property {() => void} mic
 * @property {() => void} camera
 * @property {() => void} flip
 * @property {() => void} landscape
 * @property {() => void} hangUp
 * @property {() => void} chat
 * @property {() => void} [cancel]
 * @property {() => void} [go]
 * @property {() => void} [decline]
 * @property {() => void} [silence]
 * @property {() => void} [expand]
 * @property {() => void} [retryCamera]
 * @property {() => void} [record]
 * @property {(device: any) => void} [send] suggest to another device to go on there
 */

const HAVE_CURRENT_DATA = 2;
const SVG = "http://www.w3.org/2000/svg";

/** A circle that empties, with the seconds inside. */
function countdown() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 40 40");
  svg.setAttribute("aria-hidden", "true");
  for (const name of ["track", "rest"]) {
    const circle = document.createElementNS(SVG, "circle");
    for (const [key, value] of Object.entries({ cx: 20, cy: 20, r: 17, pathLength: 100, class: name }))
      circle.setAttribute(key, String(value));
    svg.append(circle);
  }
  const number = h("span", { class: "seconds", "aria-hidden": "true" });
  const element = h("div", { class: "countdown" }, svg, number);
  return { element, rest: /** @type {SVGCircleElement} */ (svg.lastElementChild), number };
}

export class Stage {
  /** @param {HTMLElement} host an empty section @param {StageActions} actions */
  constructor(host, actions) {
    this.host = host;
    this.remote = h("video", { class: "remote", autoplay: true, playsinline: true, "aria-label": "The other person" });
    this.self = h("video", { class: "self-video", autoplay: true, playsinline: true, "aria-label": "You" });
    this.self.muted = true;
    this.clock = countdown();
    /** The last picture, while there is no other. */
    this.held = h("canvas", { class: "held", "aria-hidden": "true", hidden: true });
    this.portraitWords = h("p", {});
    this.portrait = h("div", { class: "portrait" }, icon("person"), this.portraitWords);
    this.selfOff = h("div", { class: "self-off" }, icon("camera-off"), h("span", { text: "Camera off" }));
    this.selfBox = h("div", { class: "self" }, this.self, this.selfOff);
    this.note = h("p", { class: "self-note" });
    this.title = h("h2", { class: "stage-title" });
    this.subtitle = h("p", { class: "stage-subtitle" });
    this.status = h("p", { class: "stage-status", role: "status" });
    this.warning = h("p", { class: "stage-warning", role: "alert" });
    this.retry = button("retry-camera", "camera", "Try again", () => actions.retryCamera?.(), { class: "small" });
    this.helpSteps = h("ol", { class: "stage-help" });
    this.helpBox = h("details", { class: "stage-help-box" }, h("summary", { text: "How to allow it" }), this.helpSteps);
    this.warningBox = h("div", { class: "stage-warning-box" }, this.warning, this.helpBox, this.retry);
    this.quality = h("p", { class: "pill quality", role: "status" });
    this.recorded = h("p", { class: "pill recorded", role: "status" });
    this.live = h("p", { class: "pill live", text: "The visitor sees you" });
    this.unread = h("span", { class: "badge" });
    this.toast = h("button", { class: "stage-toast", type: "button", onclick: actions.chat, hidden: true });
    this.toastTimer = 0;
    this.mic = button("mic", "mic", "Mute", actions.mic, { class: "round", "aria-keyshortcuts": "M" });
    this.camera = button("camera", "camera", "Camera off", actions.camera, { class: "round", "aria-keyshortcuts": "V" });
    this.silence = button("silence", "bell", "Silence", () => actions.silence?.(), { class: "round only-incoming" });
    this.record = button("record", "record", "Record", () => actions.record?.(), { class: "round only-call" });
    /** @type {any[]} */
    this.devices = [];
    this.moveTo = menu(button("move", "device", "Move", () => {}, { class: "round only-call", "aria-label": "Move the video to another device" }), "Go on with the video on", (close) =>
      this.devices.map((device) => h("button", { class: "button menu-item", type: "button", "data-device": device.device, text: deviceWords(device), onclick: () => { close(); actions.send?.(device); } })));
    this.chat = button("open-chat", "chat", "Chat", actions.chat, { class: "round only-call", "aria-keyshortcuts": "C" });
    this.chat.append(this.unread);
    host.append(
      this.remote, this.held, this.portrait, this.selfBox, this.note,
      h("div", { class: "stage-head" }, this.chat,
        h("div", { class: "stage-names" }, this.title, this.subtitle, h("div", { class: "pills" }, this.recorded, this.live, this.quality)), this.clock.element, this.moveTo,
        button("flip", "flip", "Switch", actions.flip, { class: "round only-call", "aria-label": "Switch camera" })),
      this.status, this.warningBox, this.toast, h("div", { class: "captions", "aria-live": "off" }),
      h("div", { class: "stage-bar" }, this.mic, this.camera, this.silence, this.record,
        button("landscape", "rotate", "Landscape", actions.landscape, { class: "round only-call only-phone" }),
        button("hang-up", "hang-up", "Hang up", actions.hangUp, { class: "round stop only-call" }),
        button("cancel", "close", "Cancel", () => actions.cancel?.(), { class: "wide stop only-waiting" }),
        button("write", "chat", "Write instead", () => actions.chat(), { class: "wide only-waiting" }),
        button("decline", "close", "Decline", () => actions.decline?.(), { class: "wide stop only-incoming", "aria-keyshortcuts": "D" }),
        button("go", "camera", "Go", () => actions.go?.(), { class: "wide go only-incoming", "aria-keyshortcuts": "G" })),
      h("button", { class: "expand", type: "button", onclick: () => actions.expand?.(), "aria-label": "Back to the video" }, icon("expand")),
    );
    this.go = /** @type {HTMLButtonElement} */ (host.querySelector("#go"));
    makeDraggable(this.selfBox, host, () => host.dataset.mode === "call");
    this.remote.addEventListener("playing", () => this.#alone());
    this.render({ mode: "off" });
  }

  /** @param {MediaStream|null} stream */
  setSelf(stream) {
    if (this.self.srcObject !== stream) this.self.srcObject = stream;
  }

  /** Whether somebody else is on the screen yet. */
  #alone() {
    const { mode } = this.host.dataset;
    this.host.toggleAttribute("data-alone", mode === "waiting" && this.remote.readyState < HAVE_CURRENT_DATA);
    // Pictures before "Go" come only where the server's policy and the visitor agree to it.
    this.host.toggleAttribute("data-preview", mode === "incoming" && this.remote.readyState >= HAVE_CURRENT_DATA);
  }

  /** Keep the last picture on the screen while no new one comes, whatever happens to the stream. @param {boolean} on */
  #hold(on) {
    if (on === !this.held.hidden) return;
    show(this.held, on && this.remote.readyState >= HAVE_CURRENT_DATA);
    if (this.held.hidden) return;
    this.held.width = this.remote.videoWidth;
    this.held.height = this.remote.videoHeight;
    this.held.getContext("2d")?.drawImage(this.remote, 0, 0);
  }

  /** @param {MediaStream|null} stream */
  setRemote(stream) {
    if (this.remote.srcObject !== stream) this.remote.srcObject = stream;
    if (stream) this.remote.play().catch(() => {}); // some browsers wait for the next tap: every button of the stage calls play()
  }

  play() {
    if (this.remote.srcObject && this.remote.paused) this.remote.play().catch(() => {});
  }

  /** @param {StageModel} model */
  render(model) {
    const { micOn = true, cameraOn = true, remoteCameraOn = true, unread = 0 } = model;
    const entering = this.host.dataset.mode !== model.mode;
    this.host.dataset.mode = model.mode;
    document.body.dataset.stage = model.mode;
    this.#hold(model.held === true);
    this.host.toggleAttribute("data-dim", model.dim === true || model.held === true);
    show(this.host, model.mode !== "off");
    this.#alone();
    setText(this.title, model.title ?? "");
    setText(this.subtitle, model.subtitle ?? "");
    setText(this.status, model.status ?? "");
    setText(this.warning, model.warning ?? "");
    show(this.warningBox, Boolean(model.warning));
    show(this.helpBox, Boolean(model.help?.length));
    const steps = (model.help ?? []).join();
    if (this.helpSteps.dataset.steps !== steps) {
      this.helpSteps.dataset.steps = steps;
      fill(this.helpSteps, ...(model.help ?? []).map((text) => h("li", { text })));
    }
    setText(this.note, model.note ?? "");
    this.devices = model.devices ?? [];
    show(this.moveTo, this.devices.length > 0);
    show(this.record, model.canRecord === true);
    relabel(this.record, model.recorded ? "stop" : "record", model.recorded ? "Stop recording" : "Record");
    this.record.setAttribute("aria-pressed", String(model.recorded === true));
    setText(this.quality, model.quality ?? "");
    show(this.quality, Boolean(model.quality));
    setText(this.recorded, model.recorded ? RECORDED : "");
    show(this.recorded, model.recorded === true);
    show(this.live, model.live === true && model.mode === "call");
    show(this.portrait, !remoteCameraOn && (model.mode === "call" || model.mode === "thumb"));
    setText(this.portraitWords, `${model.title || "The other"}’s camera is off`);
    show(this.selfOff, !cameraOn);
    this.selfBox.toggleAttribute("data-mirror", model.mirror !== false);
    relabel(this.mic, micOn ? "mic" : "mic-off", micOn ? "Mute" : "Unmute");
    this.mic.setAttribute("aria-pressed", String(!micOn));
    relabel(this.camera, cameraOn ? "camera" : "camera-off", cameraOn ? "Camera off" : "Camera on");
    this.camera.setAttribute("aria-pressed", String(!cameraOn));
    relabel(this.silence, model.silent ? "bell-off" : "bell", model.silent ? "Silenced" : "Silence");
    setText(this.unread, unread ? String(unread) : "");
    show(this.unread, unread > 0);
    this.go.disabled = model.canGo === false;
    if (entering && model.mode === "incoming") this.go.focus();
  }

  /** @param {number} leftMs @param {number} totalMs */
  setCountdown(leftMs, totalMs) {
    const rest = Math.max(0, Math.min(100, (100 * leftMs) / totalMs));
    this.clock.rest.style.strokeDashoffset = String(100 - rest);
    setText(this.clock.number, String(Math.ceil(Math.max(0, leftMs) / 1000)));
  }

  hideToast() {
    clearTimeout(this.toastTimer);
    show(this.toast, false);
  }

  /** A message has come while the chat is out of sight. @param {string} text */
  showToast(text) {
    this.toast.textContent = text;
    show(this.toast, true);
    clearTimeout(this.toastTimer);
    this.toastTimer = window.setTimeout(() => this.hideToast(), 5000);
  }
}
