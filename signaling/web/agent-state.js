// What the agent's page knows. It is a copy of what the server said, plus what is open on the screen.

/**
 * @typedef {{ring: string, session: string, conversation: string, visitor: any, deadline: number, totalMs: number, leg: string|null,
 *   silent: boolean, deciding: boolean}} Ring
 * @typedef {{session: string, conversation: string, phase: "connecting"|"active"|"pulling", since: number, peerLost: boolean,
 *   remoteCamera: boolean, live: boolean, movingTo: string, recorded: boolean}} Live
 */

export function newState() {
  return {
    link: "connecting",
    /** @type {Map<string, any>} */ presence: new Map(),
    /** @type {Map<string, any>} */ conversations: new Map(),
    /** @type {Map<string, number>} */ unread: new Map(),
    /** @type {Map<string, number>} */ talkMs: new Map(),
    /** @type {string|null} */ selected: null,
    /** @type {Ring|null} */ ring: null,
    /** @type {Live|null} */ live: null,
    /** @type {{session: string, device: any, canPull: boolean}|null} */ moved: null,
    /** @type {{conversation: string, talkMs: number, outcome: string, reminder: boolean}|null} */ after: null,
    chatOpen: false,
    quality: "",
  };
}

/** @typedef {ReturnType<typeof newState>} State */

/** @param {string} session @param {string} conversation @param {"connecting"|"active"|"pulling"} phase @returns {Live} */
export function newLive(session, conversation, phase) {
  return { session, conversation, phase, since: 0, peerLost: false, remoteCamera: true, live: false, movingTo: "", recorded: false };
}

/** @param {State} state @param {string} conversation */
export function visitorName(state, conversation) {
  return state.conversations.get(conversation)?.visitor?.name || state.ring?.visitor?.name || "Visitor";
}

/** The conversation whose video runs on another of my devices. @param {State} state */
export function liveElsewhere(state) {
  return [...state.conversations.values()].find((view) => view.live_session?.can_pull && view.live_session.session !== state.live?.session);
}
