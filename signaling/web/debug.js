// window.triortc: what tests and the curious may read. It changes nothing.

/** @typedef {{at: number, mediaTime: number, width: number, height: number, presented: number, pixels?: number[][]}} Frame */

const SAMPLE = { width: 8, height: 6 };
const MAX_FRAMES = 20000;

/** Milliseconds since 1970 on the page's steady clock: comparable between browsers of one machine. */
const now = () => performance.timeOrigin + performance.now();

/**
 * @param {string} role @param {() => object} state
 * @param {() => import("./leg.js").Leg|null} leg @param {import("./stage.js").Stage} stage
 */
export function exposeForTests(role, state, leg, stage) {
  const hook = {
    role,
    /** Instants by name, unix ms. @type {Record<string, number>} */
    marks: {},
    /** @type {Record<string, Frame[]>} */
    frames: { remote: [], self: [] },
    now,
    /** @param {string} name */
    mark(name) { hook.marks[name] = now(); },
    state: () => JSON.parse(JSON.stringify(state())),
    stats: () => summary(leg()?.pc ?? null),
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

/** @param {RTCPeerConnection|null} pc */
async function summary(pc) {
  if (!pc) return null;
  /** @type {Record<string, any>} */
  const result = { at: now(), connection: pc.connectionState, ice: pc.iceConnectionState, in: {}, out: {} };
  for (const report of (await pc.getStats()).values()) {
    if (report.type === "inbound-rtp") {
      result.in[report.kind] = pick(report, ["packetsReceived", "packetsLost", "bytesReceived", "framesDecoded", "framesPerSecond", "frameWidth",
        "frameHeight", "keyFramesDecoded", "freezeCount", "totalFreezesDuration", "jitter", "pliCount", "nackCount", "audioLevel", "totalAudioEnergy", "totalSamplesReceived",
        "concealedSamples"]);
    } else if (report.type === "outbound-rtp") {
      result.out[report.kind] = pick(report, ["packetsSent", "bytesSent", "framesEncoded", "framesPerSecond", "targetBitrate", "qualityLimitationReason", "totalEncodeTime", "keyFramesEncoded", "frameWidth", "frameHeight", "pliCount", "nackCount"]);
    } else if (report.type === "candidate-pair" && report.nominated) {
      result.rtt_s = report.currentRoundTripTime;
      result.available_bps = report.availableOutgoingBitrate;
    }
  }
  return result;
}

/** @param {Record<string, any>} from @param {string[]} names */
function pick(from, names) {
  return Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]));
}
