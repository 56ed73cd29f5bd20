// The agent's page as an installed one: its service worker, and leave to ring it by Web Push when it is closed.

import { button, fill, h, show } from "./dom.js";

/** @typedef {{kind: "webpush", endpoint: string, p256dh: string, auth: string}} PushEndpoint */

export class Installation {
  /** @type {ServiceWorkerRegistration|null} */ #registration = null;
  /** Whether the server can send Web Pushes. */ #available = false;
  /** @type {any} */ #prompt = null;
  /** How many the server knows of this page. */
  subscriptions = 0;
  /** A ring was declined from its notification. */
  onDecline = () => {};
  #declined = "";

  /** @param {HTMLElement} host @param {(endpoints: PushEndpoint[]) => Promise<any>} told takes a new subscription */
  constructor(host, told) {
    this.host = host;
    this.told = told;
    addEventListener("beforeinstallprompt", (event) => {
      event.preventDefault();
      this.#prompt = event;
      this.#render();
    });
    addEventListener("appinstalled", () => { this.#prompt = null; this.#render(); });
    navigator.serviceWorker?.addEventListener("message", (event) => {
      if (event.data?.type !== "decline") return;
      this.#declined = event.data.session;
      this.onDecline();
    });
  }

  /** Once somebody has signed in: the address of this page is where a notification leads to. */
  async start() {
    this.#declined = new URLSearchParams(location.hash.slice(1)).get("decline") ?? "";
    if (!navigator.serviceWorker || !isSecureContext) return;
    const page = `${location.pathname}${location.search}`;
    this.#registration = await navigator.serviceWorker.register(`/service-worker.js?${new URLSearchParams({ page })}`).catch(() => null); // private windows have none
  }

  /** What `hello` says of pushes: the subscription that is there already. @returns {Promise<PushEndpoint[]>} */
  async endpoints() {
    if (!navigator.serviceWorker || !isSecureContext) return [];
    const registration = this.#registration ?? await navigator.serviceWorker.getRegistration();
    const subscription = await registration?.pushManager?.getSubscription();
    return subscription ? [described(subscription)] : [];
  }

  /** The server's view is here. @param {import("./triortc-client.js").TriortcClient} client */
  opened(client) {
    this.#available = client.caps.has("push.web");
    const ring = client.rings.values().next().value;
    if (ring && ring.session === this.#declined) this.onDecline();
    this.#declined = "";
    if (globalThis.Notification?.permission === "granted") void this.#subscribe();
    this.#render();
  }

  /** Somebody wants to be reachable: the moment to ask. */
  async offer() {
    this.#render();
    if (globalThis.Notification?.permission === "granted") await this.#subscribe();
  }

  #render() {
    const ask = Boolean(this.#registration?.pushManager && this.#available && globalThis.Notification?.permission === "default");
    show(this.host, ask || this.#prompt !== null);
    fill(this.host,
      ask && button("allow-push", "bell", "Ring me when this page is closed", () => { void this.#allow(); }, { class: "small" }),
      this.#prompt && button("install-app", "device", "Install as an app", () => { void this.#prompt.prompt(); }, { class: "small" }),
      globalThis.Notification?.permission === "denied" && h("p", { class: "hint", text: "Notifications are blocked: a closed page cannot ring." }));
  }

  async #allow() {
    if (await Notification.requestPermission() === "granted") await this.#subscribe();
    this.#render();
  }

  async #subscribe() {
    const manager = this.#registration?.pushManager;
    if (!manager || !this.#available) return;
    try {
      const { public_key: key } = await (await fetch("/v1/push-key")).json();
      const subscription = await manager.getSubscription() ?? await manager.subscribe({ userVisibleOnly: true, applicationServerKey: decoded(key) });
      await this.told([described(subscription)]);
      this.subscriptions = 1;
    } catch { // no push service can be reached: an open page rings all the same
    }
  }
}

/** @param {PushSubscription} subscription @returns {PushEndpoint} */
function described(subscription) {
  const { endpoint = "", keys = {} } = subscription.toJSON();
  return { kind: "webpush", endpoint, p256dh: keys.p256dh ?? "", auth: keys.auth ?? "" };
}

/** @param {string} base64url */
function decoded(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
