// What the server's values are called on the screen. Unknown values fall back to plain words.

/** @type {Record<string, string>} */
const BUSY_REASONS = {
  ringing: "a call is ringing",
  in_video: "in a video",
  ongoing_call: "in a phone call",
  wrap_up: "the video is over – close its conversation",
  invitation_live: "waiting for a video invitation",
  slots_full: "all chat places taken",
  no_permission: "camera or microphone not allowed",
  device_not_ready: "camera or microphone not allowed",
  missed_calls: "calls were missed",
};

/** @type {Record<string, string>} */
const OUTCOMES = {
  completed: "Video",
  no_answer: "Missed video",
  declined: "Declined video",
  cancelled: "Cancelled video",
  unavailable: "No video: nobody was free",
  failed: "Video lost",
};

/** @type {Record<string, string>} */
const RING_ENDS = {
  cancelled: "The visitor stopped calling.",
  timeout: "You did not answer. The chat is in your list.",
  declined_here: "You declined. The chat is in your list.",
};

/** @type {Record<string, string>} */
const ERRORS = {
  "call.expired": "Too late: the 30 seconds are over. The chat is in your list.",
  "call.cancelled": "The visitor has stopped calling.",
  "call.answered_elsewhere": "You answered on another device.",
  "call.declined_elsewhere": "You declined on another device.",
  "call.ended": "The video is over already.",
  "permission.required": "Camera and microphone are needed first.",
  "handoff.in_progress": "The video is moving already.",
  "handoff.not_allowed": "This video cannot be moved to this device.",
  "agent.busy": "You are in a video already.",
  "agent.unavailable": "Nobody can be reached right now.",
  "conversation.video_active": "Hang up first: this conversation has a running video.",
  "conversation.closed": "This conversation is closed.",
  "rate.limited": "Too many tries. Wait a moment.",
  "server.overloaded": "The server is busy. Try again.",
  "server.unavailable": "The server cannot be reached. Try again.",
  "server.draining": "The server is about to restart. Try again in a moment.",
  "sdp.unsupported": "The video could not be connected with this browser.",
  "invitation.already_pending": "You have an open invitation already. Cancel it first.",
  "invitation.not_live": "This invitation is over.",
  "invitation.session_open": "The last video is not over yet.",
  "handoff.same_device": "The video is on this device already.",
  "call.not_participant": "The video is on another device.",
  "conversation.not_open": "This conversation is not open.",
  "proto.not_implemented": "This server cannot do that yet.",
  "auth.forbidden": "You may not do that here.",
};

/** What to tell somebody whose camera does not come. @param {unknown} error @returns {string} */
export function explainRefusal(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError")
    return "Camera and microphone are not allowed. Allow them, then try again.";
  if (name === "NotFoundError") return "No camera or microphone was found. Connect one, then try again.";
  if (name === "NotReadableError") return "Another program is using the camera or microphone. Close it, then try again.";
  if (!navigator.mediaDevices) return "This page has no camera here: open it by https or on this machine.";
  return "Camera and microphone could not be started. Try again.";
}

/** The way to the browser's own settings, step by step; empty where that is not what is missing. @param {unknown} error @returns {string[]} */
export function helpSteps(error) {
  if (!(error instanceof DOMException) || error.name !== "NotAllowedError") return [];
  const agent = navigator.userAgent;
  if (/iPhone|iPad/.test(agent)) return ["Open Settings, then the name of your browser.", "Switch Camera and Microphone on.", "Come back here: the call goes on."];
  if (/Android/.test(agent)) return ["Tap the sign left of the address.", "Open Permissions; allow Camera and Microphone.", "Come back here."];
  if (/Firefox/.test(agent)) return ["Click the crossed-out camera left of the address.", "Remove “Blocked” for camera and microphone.", "Press “Try again”."];
  return ["Click the sign left of the address.", "Switch Camera and Microphone on.", "Press “Try again”."];
}

export const RECORDED = "This call is recorded";

/** @param {{code?: string, message?: string}} error @returns {string} */
export function errorWords(error) {
  return (error.code && ERRORS[error.code]) || error.message || "That did not work. Try again.";
}

/** @param {string[]} reasons @param {string|null} visitor name of the visitor of an open chat @returns {string} */
export function busyWords(reasons, visitor) {
  const chief = reasons.includes("wrap_up") ? reasons.filter((reason) => !reason.startsWith("ongoing_chat")) : reasons; // the same conversation
  const words = chief.map((reason) => {
    const kind = reason.split(":")[0];
    if (kind === "ongoing_chat") return `chat${visitor ? ` with ${visitor}` : ""} still open – close or snooze`;
    return BUSY_REASONS[kind] ?? kind.replaceAll("_", " ");
  });
  return words.join(", ");
}

/** @param {string} link @returns {string} */
export function linkWords(link) {
  return { idle: "", open: "", left: "", connecting: "Connecting…", lost: "Connection lost. Trying again…", superseded: "Open elsewhere as this device", refused: "Not signed in" }[link] ?? "";
}

/** Only when it is bad. @param {boolean} weak @returns {string} */
export function qualityWords(weak) { return weak ? "Weak connection" : ""; }

/** @param {string} outcome @param {number} [talkMs] */
export function outcomeWords(outcome, talkMs) {
  const words = OUTCOMES[outcome] ?? "Video";
  return outcome === "completed" && talkMs ? `${words} · ${duration(talkMs)}` : words;
}

/** @param {string} reason @param {{name?: string|null, platform?: string}} [by] */
export function ringEndWords(reason, by) {
  if (reason === "answered_elsewhere") return `You answered on ${deviceWords(by)}.`;
  if (reason === "declined_elsewhere") return `You declined on ${deviceWords(by)}.`;
  return RING_ENDS[reason] ?? "The call is over.";
}

/** @param {{name?: string|null, platform?: string}|string|null|undefined} device */
export function deviceWords(device) {
  if (typeof device === "string") return device;
  return device?.name || { ios: "your iPhone", android: "your phone", desktop: "your computer", web: "another browser" }[device?.platform ?? ""] || "another device";
}

/** What a visitor reads after a call. @param {{outcome: string, reason?: string}} end */
export function visitorEndWords(end) {
  switch (end.outcome) {
    case "completed": return { title: "The call has ended.", text: "You can go on writing." };
    case "no_answer": return { title: "Nobody could answer right now.", text: "Write here: your message will be read." };
    case "unavailable": return end.reason === "agent_busy"
      ? { title: "All our advisers are busy.", text: "You can write here." }
      : { title: "All our advisers are away.", text: "You can write here." };
    case "cancelled": return { title: "You stopped calling.", text: "You can write here, or call again." };
    case "declined": return { title: "The video was declined.", text: "You can go on writing." };
    default: return end.reason === "media_capture_failed"
      ? { title: "A camera or microphone stopped working.", text: "The chat is still open." }
      : { title: "The connection was lost.", text: "The chat is still open: write here, or call again." };
  }
}

/** What an agent is told about an invitation that did not become a video. @param {{state: string, reason?: string}} invitation @param {string} visitor */
export function invitationEndWords({ state, reason }, visitor) {
  if (state === "declined") return `${visitor} does not want a video now.`;
  if (state === "missed") return `${visitor} accepted, and nobody joined in time.`;
  if (reason === "visitor_left") return `${visitor} has left the page: the invitation is over.`;
  if (reason === "visitor_cancelled") return `${visitor} did not wait any longer.`;
  if (reason === "agent_cancelled") return "The invitation is taken back.";
  if (reason?.startsWith("conversation_")) return `The conversation was ${reason.slice(13)}: the invitation is over.`;
  return state === "failed" ? "The video could not be started." : "The invitation is over.";
}

/** What a visitor is told about it. @param {{state: string, reason?: string}} invitation @param {string} agent */
export function visitorInvitationWords({ state, reason }, agent) {
  if (state === "declined") return { title: "No video for now.", text: "You can go on writing." };
  if (state === "missed") return { title: `${agent} could not join in time.`, text: "You can go on writing." };
  if (state === "failed") return { title: "The video could not be started.", text: "You can go on writing." };
  if (reason === "visitor_cancelled" || reason === "visitor_left") return { title: "The invitation is over.", text: "You can go on writing." };
  return { title: `${agent} has taken the invitation back.`, text: "You can go on writing." };
}

/** @param {string[]} warnings of an invitation @returns {string} */
export function invitationWarnings(warnings) {
  const words = warnings.map((warning) => {
    const [kind, value] = warning.split(":");
    if (kind === "channel_available") return `${value === "third_party" ? "another channel" : value} is still switched on`;
    if (kind === "ongoing_conversations") return value === "1" ? "one other conversation is open" : `${value} other conversations are open`;
    return kind.replaceAll("_", " ");
  });
  return words.length ? `Invitation sent. Mind: ${words.join(", ")}.` : "Invitation sent.";
}

/** @param {number} ms @returns {string} 4:12 or 1:02:09 */
export function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const tail = String(seconds % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** @param {number} at unix ms @returns {string} */
export function age(at) {
  const minutes = Math.floor((Date.now() - at) / 60000);
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  return minutes < 1440 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} d`;
}
