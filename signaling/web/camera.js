// The own camera and microphone: asked for once, switched off for real (the light goes out), exchanged without a new call.

/** @typedef {"granted"|"denied"|"prompt"} Permission */

const WIDTH = 640;
const HEIGHT = 480;
const FRAMES_PER_SECOND = 30;

/** @param {"user"|"environment"} [facing] @returns {MediaTrackConstraints} */
function videoConstraints(facing) {
  const size = new URLSearchParams(location.search).get("video")?.split("x").map(Number);
  return {
    width: { ideal: size?.[0] || WIDTH },
    height: { ideal: size?.[1] || HEIGHT },
    frameRate: { ideal: FRAMES_PER_SECOND },
    ...(facing ? { facingMode: facing } : {}),
  };
}

/** What to tell somebody whose camera does not come. @param {unknown} error @returns {string} */
export function explainRefusal(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError")
    return "Camera and microphone are not allowed. Allow them with the camera sign in the address bar, then try again.";
  if (name === "NotFoundError") return "No camera or microphone was found. Connect one, then try again.";
  if (name === "NotReadableError") return "Another program is using the camera or microphone. Close it, then try again.";
  if (!navigator.mediaDevices) return "This page has no camera here: open it by https or on this machine.";
  return "Camera and microphone could not be started. Try again.";
}

/** @returns {Promise<{camera: Permission, mic: Permission}>} what the browser would say now, without asking anybody */
export async function permissions() {
  /** @param {string} name @returns {Promise<Permission>} */
  const query = async (name) => {
    try {
      return (await navigator.permissions.query({ name: /** @type {PermissionName} */ (name) })).state;
    } catch { // browsers that do not know the name
      return "prompt";
    }
  };
  return { camera: await query("camera"), mic: await query("microphone") };
}

export class Camera {
  constructor() {
    /** @type {MediaStream|null} */
    this.stream = null;
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
      video: videoConstraints(),
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
    if (on) await this.#exchange(videoConstraints(this.facing));
    else this.#dropVideo();
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
    const choice = phone || !next ? videoConstraints(this.facing) : { ...videoConstraints(), deviceId: { exact: next.deviceId } };
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
