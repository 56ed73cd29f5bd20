// The buttons under a picture: microphone, camera, switch, landscape. What went wrong with a device is said here, in words.

import { explainRefusal, helpSteps } from "./words.js";

export class CallControls {
  /** @param {import("./triortc-client.js").TriortcClient} client @param {import("./stage.js").Stage} stage @param {() => void} changed render again */
  constructor(client, stage, changed) {
    this.client = client;
    this.stage = stage;
    this.changed = changed;
    this.warning = "";
    /** What to do about the warning, step by step. @type {string[]} */
    this.help = [];
    this.landscape = false;
    client.on("deviceLost", (kind) => {
      this.#warn(`Your ${kind === "audio" ? "microphone" : "camera"} has stopped. Check the device, then switch it off and on here.`);
    });
    client.on("remote", (call, stream) => { if (call === client.here) stage.setRemote(stream); });
    client.on("callEnded", () => this.settle());
    client.on("ringEnded", () => this.settle());
    client.on("moved", () => this.settle());
    client.on("handoffFailed", () => this.settle());
  }

  /** Ask for camera and microphone and show the preview. @returns {Promise<boolean>} whether both are there */
  async prepare() {
    try {
      this.stage.setSelf(await this.client.prepare());
      this.warning = "";
      this.help = [];
      this.changed();
      return true;
    } catch (error) {
      this.#warn(explainRefusal(error), helpSteps(error));
      return false;
    }
  }

  /** @param {string} words @param {string[]} [help] */
  #warn(words, help = []) {
    this.warning = words;
    this.help = help;
    this.changed();
  }

  /** Say what the server refused. @param {string} words */
  warn(words) { this.#warn(words); }

  toggleMic() {
    this.stage.play();
    const { media, here } = this.client;
    if (here) here.setMic(!media.micOn);
    else media.setMic(!media.micOn);
    this.changed();
  }

  async toggleCamera() {
    const { media, here } = this.client;
    const on = !media.cameraOn;
    try {
      await (here ? here.setCamera(on) : media.setCamera(on));
      this.warning = "";
    } catch (error) {
      this.#warn(explainRefusal(error), helpSteps(error));
    }
    this.changed();
  }

  async flip() {
    const { media, here } = this.client;
    try {
      await (here ? here.switchCamera() : media.switch());
    } catch (error) {
      this.#warn(explainRefusal(error), helpSteps(error));
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
    this.client.here?.set({ orientation: screen.orientation?.angle ?? 0 });
    this.changed();
  }

  /** @param {boolean} needed whether something is about to need the devices */
  settleUnless(needed) { if (!needed) this.settle(); }

  /** Where nothing needs the devices any more, they are off and their pictures gone. */
  settle() {
    this.client.release();
    if (this.client.here || this.client.rings.size > 0) return;
    this.warning = "";
    this.help = [];
    this.stage.setRemote(null);
    this.stage.setSelf(null);
    if (this.landscape) void this.toggleLandscape();
  }
}
