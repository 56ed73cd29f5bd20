// A panel that opens under a button and closes when one is done with it: Escape, a click elsewhere, the focus going away.

import { h } from "./dom.js";

/**
 * @param {HTMLElement} opener its button @param {string} label of the panel, for screen readers
 * @param {(close: () => void) => Node[]} content made anew at each opening
 * @returns {HTMLElement} what to put into the page: the button and its panel
 */
export function menu(opener, label, content) {
  const panel = h("div", { class: "menu", role: "group", "aria-label": label, hidden: true });
  const box = h("div", { class: "menu-box" }, opener, panel);
  const close = () => {
    if (panel.hidden) return;
    const inside = panel.contains(document.activeElement);
    panel.hidden = true;
    opener.setAttribute("aria-expanded", "false");
    if (inside) opener.focus();
  };
  opener.setAttribute("aria-expanded", "false");
  opener.setAttribute("aria-haspopup", "true");
  opener.addEventListener("click", () => {
    if (!panel.hidden) {
      close();
      return;
    }
    panel.replaceChildren(...content(close));
    panel.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    /** @type {HTMLElement|null} */ (panel.querySelector("button, input, select"))?.focus();
  });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || panel.hidden) return;
    event.stopPropagation();
    close();
  });
  document.addEventListener("pointerdown", (event) => { if (!box.contains(/** @type {Node} */ (event.target))) close(); });
  return box;
}
