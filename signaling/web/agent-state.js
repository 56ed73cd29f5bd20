// What is open on the agent's screen. What is true of calls and conversations is the client's, which has it from the server.

/**
 * @typedef {import("./triortc-client.js").TriortcClient} TriortcClient
 * @typedef {import("./triortc-client.js").Call} Call
 * @typedef {{conversation: string, talkMs: number, outcome: string, reminder: boolean}} After
 */

export function newState() {
  return {
    /** @type {Map<string, number>} by conversation */ unread: new Map(),
    /** @type {Map<string, number>} by session */ talkMs: new Map(),
    /** @type {string|null} */ selected: null,
    /** A ring whose "Go" is on its way. */ deciding: false,
    /** @type {After|null} */ after: null,
    /** @type {string|null} the session whose move to another device has been read */ movedSeen: null,
    chatOpen: false,
  };
}

/** @typedef {ReturnType<typeof newState>} State */

/** The ring that is on the screen. @param {TriortcClient} client */
export function ringOf(client) { return client.rings.values().next().value ?? null; }

/** The video of this device: joined, running, or being brought here. @param {TriortcClient} client @returns {Call|null} */
export function liveOf(client) {
  return [...client.calls.values()].find((call) => !call.ended && (call.pulling || (call.here && (call.inCall || call.state === "waiting")))) ?? null;
}

/** The conversation whose video runs on another of my devices. @param {TriortcClient} client */
export function liveElsewhere(client) {
  return [...client.conversations.values()].find((view) => view.live_session?.can_pull && !client.calls.get(view.live_session.session)?.here) ?? null;
}

/** @param {TriortcClient} client @param {string} conversation */
export function visitorName(client, conversation) {
  const ring = ringOf(client);
  return client.conversations.get(conversation)?.visitor?.name || (ring?.conversation === conversation && ring.visitor?.name) || "Visitor";
}
