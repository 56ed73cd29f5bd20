// Rings an agent whose page is closed or out of sight: a notification that leads to the Incoming screen. It keeps no pages
// and no calls; what it shows it has from the push, and takes away when the push says so or the ring's time is over.

/** @typedef {{type: string, session?: string, withdraw?: string, ring?: string, conversation?: string, kind?: string, timeout_ms?: number, outcome?: string, log_missed?: boolean, visitor_name?: string}} PushMessage */

const worker = /** @type {any} */ (self);
const PAGE = new URL(worker.location.href).searchParams.get("page") ?? "/agent";
const ICON = "/icon-192.png";
/** How long a silent remark stays that only says that there is nothing to do. */
const REMARK_MS = 4000;

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("push", (/** @type {any} */ event) => {
  /** @type {PushMessage} */
  let message;
  try {
    message = event.data.json();
  } catch {
    return; // nothing that this server sends
  }
  message.session ??= message.withdraw;
  event.waitUntil(message.type === "ring" ? ring(message) : message.type === "withdraw" ? withdraw(message) : notice(message));
});

worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
  const { data } = event.notification;
  event.notification.close();
  event.waitUntil(open(event.action === "decline" ? data.session : ""));
});

/** @param {PushMessage} message */
async function ring(message) {
  const left = message.timeout_ms ?? 0;
  if (left <= 0) return missed(message);
  if (await visiblePage()) return; // it rings by itself
  const name = message.visitor_name || "A visitor";
  await show(message.kind === "join" ? `${name} is waiting for you` : `${name} is calling by video`, {
    tag: message.session, body: "Tap to see the call. Nobody sees you before you press Go.", icon: ICON, badge: ICON,
    requireInteraction: true, renotify: true, vibrate: [300, 150, 300, 150, 300],
    actions: [{ action: "open", title: "Open" }, { action: "decline", title: "Decline" }],
    data: message,
  });
  await after(left); // the withdrawal may be lost: the ring ends here all the same
  await close(message.session, (shown) => shown.data?.ring === message.ring);
}

/** @param {PushMessage} message */
async function withdraw(message) {
  const rang = await close(message.session);
  if (message.log_missed) return missed(message);
  if (!rang || await visiblePage()) return;
  await remark(message, message.outcome === "answered_elsewhere" ? "You answered on another device" : "The call is over");
  await after(REMARK_MS);
  await close(message.session);
}

/** @param {PushMessage} message */
function missed(message) { return remark(message, `You missed a video${message.visitor_name ? ` with ${message.visitor_name}` : ""}`); }

/** @param {PushMessage} message @param {string} title */
function remark(message, title) {
  return show(title, { tag: message.session, icon: ICON, badge: ICON, silent: true, data: { ...message, session: "" } });
}

/** @param {PushMessage} message */
async function notice(message) {
  if (await visiblePage()) return;
  const words = { message: "wrote to you", availability_off: "You were set to unavailable" }[message.type] ?? "has news for you";
  const title = message.type === "availability_off" ? words : `${message.visitor_name || "A visitor"} ${words}`;
  await show(title, { tag: message.conversation ?? message.type, icon: ICON, badge: ICON, data: message });
}

/** What was done last with notifications. Chromium forgets one that is read while it is being shown, so each waits for the one before. */
let turn = Promise.resolve();

/** @template T @param {() => Promise<T>} work @returns {Promise<T>} */
function inTurn(work) {
  const done = turn.then(work);
  turn = done.then(() => {}, () => {});
  return done;
}

/** @param {string} title @param {object} options @returns {Promise<void>} */
function show(title, options) { return inTurn(() => worker.registration.showNotification(title, options)); }

/** @param {string|undefined} tag @param {(shown: any) => boolean} [which] @returns {Promise<boolean>} whether there was one */
async function close(tag, which = () => true) {
  const shown = (await inTurn(() => worker.registration.getNotifications({ tag }))).filter(which);
  for (const notification of shown) notification.close();
  return shown.length > 0;
}

/** @returns {Promise<any[]>} */
async function pages() {
  const windows = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  return windows.filter((/** @type {any} */ client) => new URL(client.url).pathname === new URL(PAGE, worker.location.href).pathname);
}

async function visiblePage() { return (await pages()).some((client) => client.visibilityState === "visible"); }

/** @param {string} declined a session, or nothing */
async function open(declined) {
  const [page] = await pages();
  if (page) {
    if (declined) page.postMessage({ type: "decline", session: declined });
    return declined ? undefined : page.focus();
  }
  return worker.clients.openWindow(declined ? `${PAGE}#${new URLSearchParams({ decline: declined })}` : PAGE);
}

/** @param {number} ms @returns {Promise<void>} */
function after(ms) { return new Promise((resolve) => { setTimeout(resolve, ms); }); }
