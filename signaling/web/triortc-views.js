// What a client shows of the server's view and tells of it, as types: this module has no code, and a page does not load it.

/**
 * @typedef {import("./triortc-call.js").Call} Call
 * @typedef {import("./triortc-call.js").DeviceReference} DeviceReference
 * @typedef {import("./triortc-channel.js").LinkState} LinkState
 *
 * @typedef {object} Ring a ring on this device
 * @property {string} ring
 * @property {string} session
 * @property {string} conversation
 * @property {"call"|"join"} kind
 * @property {{name?: string|null, avatar?: string|null, page?: string|null, locale?: string|null}} visitor
 * @property {{camera: string, mic: string, action: "none"|"prompt"|"open_settings"}} permission
 * @property {number} deadline on `performance.now()`: the server's remaining time, counted on this device's own clock
 * @property {number} fullMs how long a whole ring lasts
 * @property {boolean} silent
 * @property {Call} call
 *
 * @typedef {object} Invitation
 * @property {string} invitation
 * @property {string} conversation
 * @property {"pending"|"agent_joined"|"visitor_accepted"|"in_session"|"completed"|"cancelled"|"declined"|"missed"|"failed"} state
 * @property {string} [session]
 * @property {string} [reason]
 * @property {number} version
 *
 * @typedef {object} ConversationView
 * @property {string} conversation
 * @property {"open"|"snoozed"|"closed"} state
 * @property {string|null} assignee
 * @property {string|null} group
 * @property {boolean} video_icon
 * @property {{session: string, outcome: string}} [last_video]
 * @property {{session: string, state: string, device?: DeviceReference, can_pull?: boolean}} [live_session]
 * @property {number} unread
 * @property {string[]} tags
 * @property {{name?: string|null, page?: string|null, online?: boolean}} visitor
 * @property {number} version
 *
 * @typedef {object} ChannelStatus an agent's availability on one channel
 * @property {string} channel
 * @property {"available"|"unavailable"} declared
 * @property {"available"|"busy"|"unavailable"} effective
 * @property {"green"|"orange"|"red"} color
 * @property {string[]} reasons
 * @property {number} version
 *
 * @typedef {object} Events by name, what `TriortcClient.on` tells of
 * @property {[]} change something has changed
 * @property {[LinkState, string]} link
 * @property {[]} snapshot the server's whole view has been taken in
 * @property {[Ring]} ring
 * @property {[Ring, {reason: string, by?: DeviceReference, logMissed: boolean}]} ringEnded
 * @property {[Call]} call it has changed
 * @property {[Call]} callEnded
 * @property {[Call]} moved it goes on on another device
 * @property {[Call]} handoffFailed
 * @property {[Call]} deviceChanged the other side is on another device now
 * @property {[Call, DeviceReference]} suggested another device suggests to go on here
 * @property {[Call, MediaStream]} remote the other side's pictures and sound
 * @property {[Invitation]} invitation
 * @property {[any]} message of a conversation
 * @property {[any]} reminder to close a conversation
 * @property {[ConversationView]} conversation
 * @property {[{conversation: string, why: string}]} conversationRemoved
 * @property {[{deadline_ms: number, reconnect?: string}]} draining
 * @property {[string]} deviceLost camera or microphone has gone: "video" or "audio"
 */

export {};
