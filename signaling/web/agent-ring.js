// The time in which an agent decides: alert, preview, a leg that warms up, Go or Decline.

import { ringOf } from "./agent-state.js";
import { Alert } from "./alert.js";
import { announce } from "./dom.js";
import { toast } from "./toast.js";
import { CommandError } from "./triortc-client.js";
import { errorWords, ringEndWords } from "./words.js";

const ANNOUNCE_EVERY_S = 10;

/**
 * @typedef {object} RingHooks
 * @property {() => void} render
 * @property {(name: string) => void} mark
 */

export class Ringing {
  /**
   * @param {import("./agent-state.js").State} state @param {import("./triortc-client.js").TriortcClient} client
   * @param {import("./call-controls.js").CallControls} controls @param {import("./stage.js").Stage} stage @param {RingHooks} hooks
   */
  constructor(state, client, controls, stage, hooks) {
    this.state = state;
    this.client = client;
    this.controls = controls;
    this.stage = stage;
    this.hooks = hooks;
    this.alert = new Alert();
    this.saidSeconds = -1;
    client.on("ring", (ring) => { void this.#start(ring); });
    client.on("ringEnded", (ring, { reason, by }) => {
      this.alert.stop();
      if (reason !== "won" && reason !== "over" && !this.state.deciding) toast(ringEndWords(reason, by));
    });
    setInterval(() => this.#tick(), 100);
  }

  /** @param {import("./triortc-client.js").Ring} ring */
  async #start(ring) {
    const { client, controls } = this;
    this.state.after = null;
    const name = ring.visitor.name || "A visitor";
    this.alert.start(`● ${name} ${ring.kind === "join" ? "is waiting" : "is calling"}`);
    announce(`${name} ${ring.kind === "join" ? "has accepted your invitation" : "is calling"}. Press G for Go, D to decline.`, true);
    this.hooks.mark("ring");
    client.acknowledge(ring).catch(() => {}); // over already: ring.ended says so
    await Promise.all([client.openRing(ring).catch(() => {}), controls.prepare()]);
    await this.warm();
  }

  /** Bring the leg up while it rings; nothing of it is forwarded before Go. */
  async warm() {
    const ring = ringOf(this.client);
    if (ring?.call.legId && this.client.media.stream) await ring.call.warm().catch(() => {}); // Go tries again and says what is wrong
    else if (!ring) this.controls.settle();
  }

  async go() {
    const { state, client, controls } = this;
    const ring = ringOf(client);
    if (!ring || state.deciding) return;
    this.hooks.mark("go");
    this.stage.play();
    if (!client.media.stream && !(await controls.prepare())) return;
    if (ringOf(client) !== ring || state.deciding) return; // declined, over, or pressed twice while the browser asked
    state.deciding = true;
    this.hooks.render();
    try {
      const accepted = client.accept(ring);
      state.chatOpen = false;
      await accepted;
    } catch (error) {
      this.#refused(ring, /** @type {CommandError} */ (error));
    } finally {
      state.deciding = false;
      if (!client.rings.has(ring.ring)) this.alert.stop();
      this.hooks.render();
    }
  }

  decline() {
    const ring = ringOf(this.client);
    if (!ring || this.state.deciding) return;
    this.client.decline(ring).catch(() => {}); // over already
    this.alert.stop();
    this.controls.settle();
    toast(ringEndWords("declined_here"));
    this.hooks.render();
  }

  silence() {
    const ring = ringOf(this.client);
    if (!ring) return;
    this.alert.silence();
    this.client.silence(ring).catch(() => {}); // the sound has stopped anyway
  }

  /** @param {import("./triortc-client.js").Ring} ring @param {CommandError} error */
  #refused(ring, error) {
    if (error.code === "permission.required" || ring.call.here) this.controls.warn(errorWords(error));
    else toast(errorWords(error));
  }

  #tick() {
    const ring = ringOf(this.client);
    if (!ring) return;
    const left = ring.deadline - performance.now();
    this.stage.setCountdown(left, ring.fullMs);
    const seconds = Math.ceil(left / 1000);
    if (seconds > 0 && seconds < Math.floor(ring.fullMs / 1000) && seconds % ANNOUNCE_EVERY_S === 0 && seconds !== this.saidSeconds) {
      this.saidSeconds = seconds;
      announce(`${seconds} seconds left`);
    }
  }
}
