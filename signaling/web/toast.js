// A sentence that goes away by itself, with at most one thing to do.

import { $, fill, h, show } from "./dom.js";

const TOAST_MS = 6000;
let timer = 0;

/** @param {string} text @param {string} [word] @param {() => void} [action] @param {number} [ms] */
export function toast(text, word, action, ms = TOAST_MS) {
  const box = $("#toast");
  fill(box, h("p", { text }), word && h("button", {
    id: "toast-action", class: "button small", type: "button", text: word, onclick: () => { hideToast(); action?.(); },
  }));
  show(box, true);
  clearTimeout(timer);
  timer = window.setTimeout(hideToast, ms);
}

export function hideToast() {
  clearTimeout(timer);
  show($("#toast"), false);
}
