// window.triortc: what tests and the curious may read. It changes nothing.

/** @typedef {{at: number, mediaTime: number, width: number, height: number, presented: number, pixels?: number[][]}} Frame */

const SAMPLE = { width: 8, height: 6 };
const MAX_FRAMES = 20000;

/** Milliseconds since 1970 on the page's steady clock: comparable between browsers of one machine. */
const now = () => performance.timeOrigin + performance.now();

/**
 * @param {string} role @param {() => object} state
 * @param {() => import("./triortc-client.js").Call|null} call @param {import("./stage.js").Stage} stage
 */
export function exposeForTests(role, state, call, stage) {
  /** @type {Set<string>} */
  const marked = new Set();
  const hook = {
    role,
    /** Instants by name, unix ms. @type {Record<string, number>} */
    marks: {},
    /** @type {Record<string, Frame[]>} */
    frames: { remote: [], self: [] },
    now,
    /** @param {string} name */
    mark(name) { hook.marks[name] = now(); },
    /** @param {string} key @param {string} name */
    markOnce(key, name) {
      if (!marked.has(key)) hook.mark(name);
      marked.add(key);
    },
    state: () => JSON.parse(JSON.stringify(state())),
    stats: async () => (await call()?.stats()) ?? null,
    /** Record every presented frame of one video, with a coarse grid of its pixels. @param {"remote"|"self"} which @param {boolean} [pixels] */
    watch(which, pixels = true) { watch(which === "self" ? stage.self : stage.remote, hook.frames[which], pixels); },
  };
  Object.assign(window, { triortc: hook });
  return hook;
}

/** @param {HTMLVideoElement} video @param {Frame[]} frames @param {boolean} pixels */
function watch(video, frames, pixels) {
  const canvas = new OffscreenCanvas(SAMPLE.width, SAMPLE.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  /** @param {number} _now @param {VideoFrameCallbackMetadata} metadata */
  const onFrame = (_now, metadata) => {
    /** @type {Frame} */
    const frame = {
      at: performance.timeOrigin + (metadata.presentationTime ?? performance.now()),
      mediaTime: metadata.mediaTime, width: metadata.width, height: metadata.height, presented: metadata.presentedFrames,
    };
    if (pixels && context) {
      context.drawImage(video, 0, 0, SAMPLE.width, SAMPLE.height);
      const { data } = context.getImageData(0, 0, SAMPLE.width, SAMPLE.height);
      frame.pixels = Array.from({ length: SAMPLE.width * SAMPLE.height }, (_, i) => [data[4 * i], data[4 * i + 1], data[4 * i + 2]]);
    }
    if (frames.length < MAX_FRAMES) frames.push(frame);
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
}
