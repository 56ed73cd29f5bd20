// Who this tab is, from the address and the tab's own memory; and its token from the development server.

import { uuid7 } from "./triortc-channel.js";
import { permissions } from "./triortc-media.js";

const APP_VERSION = "web-1";
const TOKEN_TIMEOUT_MS = 10000;

/**
 * A value that this tab keeps over a reload, or this browser over its end.
 * @param {string} name @param {() => string} make @param {Storage} [store]
 */
export function remembered(name, make, store = sessionStorage) {
  const known = store.getItem(name);
  if (known) return known;
  const value = make();
  store.setItem(name, value);
  return value;
}

/** @param {string} text @returns {string} an id the server takes: letters, digits, - and _ */
export function identifier(text) {
  return text.normalize("NFKD").replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 48);
}

/**
 * An agent's device is this browser: closed and opened again, it is the one that a push has woken. A visitor's is one tab.
 * @param {string} prefix @param {string} sub @param {string} kind @param {Storage} [store]
 */
export function deviceId(prefix, sub, kind, store = sessionStorage) {
  return remembered(`triortc-device-${sub}-${kind}`, () => `${prefix}-${identifier(kind)}-${uuid7().slice(-12)}`, store);
}

/** @param {object} claims role, sub, did, name, grp, cv @returns {Promise<string>} */
export async function fetchToken(claims) {
  const response = await fetch("/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(claims),
    signal: AbortSignal.timeout(TOKEN_TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`Sign-in failed (${response.status}).`);
  return (await response.json()).token;
}

/** The device part of `hello`. @param {string} id @param {string} platform @param {string} name */
export async function describeDevice(id, platform, name) {
  const { camera, mic } = await permissions();
  return {
    id, platform, name: name.slice(0, 64), app_version: APP_VERSION,
    app_state: "foreground", // a page in another tab can still ring: browsers have no push here
    perms: { camera, mic },
    caps: [],
  };
}

/** Where the signaling socket of this page's server is. */
export function signalUrl() { return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/v1/signal`; }

/** The size of the own picture, where the address asks for one: `video=1280x720`. */
export function pictureFromAddress() {
  const [width, height] = new URLSearchParams(location.search).get("video")?.split("x").map(Number) ?? [];
  return width > 0 && height > 0 ? { width, height } : {};
}
