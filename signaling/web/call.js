// This device's part in one video: camera, leg, mute. The server says what the video's state is; this only follows.

import { Leg } from "./leg.js";
import { explainRefusal } from "./camera.js";
import { CommandError } from "./channel.js";

/** @typedef {import("./channel.js").Channel} Channel */

export class Call {
  /**
   * @param {Channel} channel @param {import("./camera.js").Camera} camera @param {import("./stage.js").Stage} stage
   * @param {() => void} changed render again
   */
  constructor(channel, camera, stage, changed) {
    this.channel = channel;
    this.camera = camera;
    this.stage = stage;
    this.changed = changed;
    /** @type {string|null} */
    this.session = null;
    /** @type {Leg|null} */
    this.leg = null;
    this.warning = "";
    this.connection = /** @type {RTCPeerConnectionState} */ ("new");
    this.number = Date.now(); // media.set numbers grow, over reloads too
    this.landscape = false;
    camera.onVideoTrack = async (track) => { await this.leg?.setVideoTrack(track); };
    camera.onLost = (kind) => this.#lost(kind);
  }

  /**
   * Ask for camera and microphone, show the preview, and tell the server what the browser said.
   * @returns {Promise<boolean>} whether both are there
   */
  async prepare() {
    const before = this.camera.stream;
    try {
      const stream = await this.camera.open();
      this.stage.setSelf(stream);
      this.warning = "";
      this.changed();
      if (before !== stream) await this.channel.command("device.update", { perms: { camera: "granted", mic: "granted" } });
      return true;
    } catch (error) {
      if (error instanceof CommandError) return true; // the devices are there; the server will say what it misses
      this.warning = explainRefusal(error);
      this.changed();
      this.channel.command("device.update", { perms: { camera: "denied", mic: "denied" } }).catch(() => {});
      return false;
    }
  }

  /** Bring a leg up; needs `prepare`. Does nothing where it is up already. @param {string} id */
  async warm(id) {
    if (this.leg?.id === id || !this.camera.stream) return;
    this.leg?.close();
    const leg = new Leg(this.camera.stream, {
      leg: id,
      command: (t, p) => this.channel.command(t, p),
      iceServers: this.channel.welcome?.ice_servers,
      onRemote: (stream) => this.stage.setRemote(stream),
      onState: (state) => { this.connection = state; this.changed(); },
    });
    this.leg = leg;
    await leg.negotiate();
  }

  /** After the server let us in: it learns what is muted already. @param {string} session */
  enter(session) {
    this.session = session;
    if (!this.camera.micOn || !this.camera.cameraOn) this.set({ mic: this.camera.micOn, camera: this.camera.cameraOn });
  }

  toggleMic() {
    this.camera.setMic(!this.camera.micOn);
    this.set({ mic: this.camera.micOn });
    this.changed();
  }

  async toggleCamera() {
    const on = !this.camera.cameraOn;
    if (!on) this.set({ camera: false }); // first the server's valve, then the device
    try {
      await this.camera.setCamera(on);
      if (on) this.set({ camera: true });
      this.warning = "";
    } catch (error) {
      this.camera.cameraOn = false;
      this.warning = explainRefusal(error);
    }
    this.changed();
  }

  async flip() {
    try {
      await this.camera.switch();
      this.set({ facing: this.camera.facingName });
    } catch (error) {
      this.warning = explainRefusal(error);
    }
    this.changed();
  }

  async toggleLandscape() {
    this.landscape = !this.landscape;
    try {
      if (this.landscape) {
        await document.documentElement.requestFullscreen?.();
        await /** @type {any} */ (screen.orientation).lock?.("landscape");
      } else {
        screen.orientation.unlock?.();
        if (document.fullscreenElement) await document.exitFullscreen();
      }
    } catch { // desktops and some phones cannot lock: the picture follows the device then
      this.landscape = false;
    }
    this.set({ orientation: screen.orientation?.angle ?? 0 });
    this.changed();
  }

  /** @param {object} what part of media.set */
  set(what) {
    if (!this.session) return;
    this.number += 1;
    this.channel.command("media.set", { session: this.session, n: this.number, ...what }).catch(() => {}); // a call that ended meanwhile
  }

  /** @param {{t: string, p: any}} event @returns {boolean} whether it was about the leg */
  handle(event) {
    if (!this.leg || event.p.leg !== this.leg.id) return false;
    if (event.t === "sdp.offer") this.leg.offered(event.p).catch(() => {});
    else if (event.t === "ice.candidates") this.leg.candidates(event.p).catch(() => {});
    else if (event.t === "ice.restart") this.leg.restart();
    else return false;
    return true;
  }

  /** Close leg and devices. */
  end() {
    this.session = null;
    this.leg?.close();
    this.leg = null;
    this.connection = "new";
    this.camera.close();
    this.warning = "";
    this.stage.setRemote(null);
    this.stage.setSelf(null);
    if (this.landscape) void this.toggleLandscape();
  }

  /** @param {string} kind */
  #lost(kind) {
    this.warning = `Your ${kind === "audio" ? "microphone" : "camera"} has stopped. Check the device, then switch it off and on here.`;
    if (kind === "video") this.set({ camera_state: "interrupted" });
    this.changed();
  }
}
