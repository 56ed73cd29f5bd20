// The own camera and microphone: asked for once, switched off for real (the light goes out), exchanged without a new call.

/** @typedef {"granted"|"denied"|"denied_permanent"|"prompt"} Permission */

const WIDTH = 640;
const HEIGHT = 480;
const FRAMES_PER_SECOND = 30;

/** @returns {Promise<{camera: Permission, mic: Permission}>} what the browser would say now, without asking anybody */
export async function permissions() {
  /** @param {string} name @returns {Promise<Permission>} */
  const query = async (name) => {
    try {
      const { state } = await navigator.permissions.query({ name: /** @type {PermissionName} */ (name) });
      return state === "denied" ? "denied_permanent" : state; // the browser does not ask again: its settings must be opened
    } catch { // browsers that do not know the name
      return "prompt";
    }
  };
  return { camera: await query("camera"), mic: await query("microphone") };
}

/**
 * @typedef {object} MediaOptions what is asked of the camera
 * @property {number} [width] @property {number} [height] @property {number} [framesPerSecond]
 */

export class LocalMedia {
  /** @param {MediaOptions} [options] */
  constructor({ width = WIDTH, height = HEIGHT, framesPerSecond = FRAMES_PER_SECOND } = {}) {
    this.picture = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: framesPerSecond } };
    /** @type {MediaStream|null} */
    this.stream = null;
    /** @type {Promise<MediaStream>|undefined} */
    this.opening = undefined;
    this.micOn = true;
    this.cameraOn = true;
    /** @type {"user"|"environment"} */
    this.facing = "user";
    /** Called when a device disappears: unplugged, or taken by the system. @type {(kind: string) => void} */
    this.onLost = () => {};
    /** @type {(track: MediaStreamTrack|null) => Promise<void>|void} */
    this.onVideoTrack = () => {};
  }

  /** Ask for both devices; a second call returns the same stream. @returns {Promise<MediaStream>} */
  async open() {
    if (this.stream) return this.stream;
    this.opening ??= navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      video: this.picture,
    }).finally(() => { this.opening = undefined; });
    const stream = await this.opening;
    if (this.stream !== stream) {
      this.stream = stream;
      this.micOn = true;
      this.cameraOn = true;
      this.facing = "user";
      for (const track of stream.getTracks()) this.#watch(track);
    }
    return stream;
  }

  /** What to tell the server after a refusal. @param {unknown} error what `open` rejected with */
  async refusal(error) {
    if (!(error instanceof DOMException) || error.name !== "NotAllowedError") return { camera: "denied", mic: "denied" };
    const { camera, mic } = await permissions();
    return { camera: camera === "prompt" ? "denied" : camera, mic: mic === "prompt" ? "denied" : mic };
  }

  /** @returns {"front"|"back"} */
  get facingName() { return this.facing === "environment" ? "back" : "front"; }

  /** @param {boolean} on */
  setMic(on) {
    this.micOn = on;
    for (const track of this.stream?.getAudioTracks() ?? []) track.enabled = on;
  }

  /** Off stops the device; on asks for it again. @param {boolean} on */
  async setCamera(on) {
    if (!this.stream || on === this.cameraOn) return;
    this.cameraOn = on;
    if (!on) {
      this.#dropVideo();
      return;
    }
    try {
      await this.#exchange({ ...this.picture, facingMode: this.facing });
    } catch (error) {
      this.cameraOn = false;
      throw error;
    }
  }

  /** The other camera of a phone, the next one of a desktop. */
  async switch() {
    if (!this.stream || !this.cameraOn) return;
    const current = this.stream.getVideoTracks()[0]?.getSettings().deviceId;
    this.facing = this.facing === "user" ? "environment" : "user";
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
    const index = cameras.findIndex((device) => device.deviceId === current);
    const next = cameras[(index + 1) % cameras.length];
    const phone = matchMedia("(pointer: coarse)").matches;
    const choice = phone || !next ? { ...this.picture, facingMode: this.facing } : { ...this.picture, deviceId: { exact: next.deviceId } };
    this.#dropVideo(); // phones have one camera at a time
    await this.#exchange(choice);
  }

  close() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
  }

  /** @param {MediaTrackConstraints} video */
  async #exchange(video) {
    const fresh = (await navigator.mediaDevices.getUserMedia({ video })).getVideoTracks()[0];
    if (!this.stream || !this.cameraOn) {
      fresh.stop();
      return;
    }
    this.stream.addTrack(fresh);
    this.#watch(fresh);
    await this.onVideoTrack(fresh);
  }

  #dropVideo() {
    for (const track of this.stream?.getVideoTracks() ?? []) {
      this.stream?.removeTrack(track);
      track.onended = null;
      track.stop();
    }
    void this.onVideoTrack(null);
  }

  /** @param {MediaStreamTrack} track */
  #watch(track) {
    track.onended = () => this.onLost(track.kind);
  }
}
