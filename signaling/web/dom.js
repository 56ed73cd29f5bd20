// Small helpers for building and changing the page. No framework: a handful of elements that change by attribute.

import { iconPath } from "./icons.js";

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [attributes] `on…` are listeners, `text` is text, true/false set or leave out
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (name === "text") element.textContent = String(value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(name, String(value));
  }
  element.append(.../** @type {(Node|string)[]} */ (children.filter((child) => child !== null && child !== undefined && child !== false)));
  return element;
}

/** @param {string} selector @returns {HTMLElement} */
export function $(selector) {
  const element = document.querySelector(selector);
  if (!element) throw new Error(`the page has no ${selector}`);
  return /** @type {HTMLElement} */ (element);
}

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name one of icons.js @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", iconPath(name));
  svg.append(path);
  return svg;
}

/**
 * A button with a shape and a word.
 * @param {string} id @param {string} shape icon name @param {string} word
 * @param {() => void} action @param {Record<string, unknown>} [attributes]
 */
export function button(id, shape, word, action, attributes = {}) {
  const { class: extra = "", ...rest } = attributes;
  return h("button", { id, type: "button", class: `button ${extra}`, onclick: action, ...rest },
    icon(shape), h("span", { class: "word", text: word }));
}

/** Change shape and word of a button made by `button`, only where they differ (screen readers hear every change).
 * @param {Element} element @param {string} shape @param {string} word */
export function relabel(element, shape, word) {
  const span = element.querySelector(".word");
  if (!span || span.textContent === word) return;
  span.textContent = word;
  element.querySelector("path")?.setAttribute("d", iconPath(shape));
}

/** @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replace what is inside, leaving out what is not there. @param {Element} element @param {...(Node|string|null|undefined|false)} children */
export function fill(element, ...children) {
  element.replaceChildren(.../** @type {(Node|string)[]} */ (children.filter((child) => child !== null && child !== undefined && child !== false)));
}

/** @param {Element} element @param {boolean} shown */
export function show(element, shown) {
  element.toggleAttribute("hidden", !shown);
}

/** Say something to screen readers. @param {string} text @param {boolean} [urgent] */
export function announce(text, urgent = false) {
  const region = document.querySelector(urgent ? "#announce-now" : "#announce");
  if (region) region.textContent = text;
}
