// Shapes of 24 × 24, drawn with strokes. A slash through a shape means off.

const SLASH = "M4 4l16 16";
const MIC = "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM6 11a6 6 0 0 0 12 0M12 17v4";
const CAMERA = "M4 7h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2zM15 11l6-3.5v9L15 13";
const BELL = "M6 16V11a6 6 0 0 1 12 0v5l2 2H4l2-2zM10 21h4";
const HANDSET = "M5 4h4l2 5-2.5 1.5a11 11 0 0 0 5 5L15 13l5 2v4a2 2 0 0 1-2 2A16 16 0 0 1 3 6a2 2 0 0 1 2-2z";

/** @type {Record<string, string>} */
const PATHS = {
  mic: MIC,
  "mic-off": `${MIC}${SLASH}`,
  camera: CAMERA,
  "camera-off": `${CAMERA}${SLASH}`,
  bell: BELL,
  "bell-off": `${BELL}${SLASH}`,
  phone: HANDSET,
  "hang-up": "M3 15c0-2 4-5 9-5s9 3 9 5l-.5 2.5-4.5-1V13a14 14 0 0 0-8 0v3.5l-4.5 1z",
  chat: "M4 5h16v11H10l-5 4v-4H4z",
  flip: "M4 8h3l2-3h6l2 3h3v11H4zM9 14a3 3 0 0 1 5-2.2M15 13a3 3 0 0 1-5 2.2M14 9.500v2.500h-2.500M10 17.500V15h2.500",
  rotate: "M8 3h8v10H8zM4 12v3a4 4 0 0 0 4 4h8M13 16l3 3-3 3",
  close: "M6 6l12 12M18 6L6 18",
  send: "M4 12l16-8-6 16-3-7z",
  check: "M5 13l4 4L19 7",
  tag: "M4 4h8l8 8-8 8-8-8zM8.500 8.500v.01",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3 2",
  person: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4 21a8 8 0 0 1 16 0",
  device: "M7 3h10v18H7zM11 18h2",
  back: "M14 6l-6 6 6 6",
  record: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  stop: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9 9h6v6H9z",
  transfer: "M4 8h14M14 4l4 4-4 4M20 16H6M10 12l-4 4 4 4",
  invite: "M4 7h8a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2zM19 8v8M23 12h-8",
  expand: "M4 10V4h6M20 14v6h-6M4 4l6 6M20 20l-6-6",
};

/** @param {string} name @returns {string} the path's data */
export function iconPath(name) {
  const path = PATHS[name];
  if (path === undefined) throw new Error(`there is no icon ${name}`);
  return path;
}
