// The thirty seconds in which an agent decides: alert, preview, a leg that warms up, Go or Decline.

import { newLive } from "./agent-state.js";
import { Alert } from "./alert.js";
import { CommandError } from "./channel.js";
import { announce } from "./dom.js";
import { errorWords, ringEndWords } from "./words.js";

const ANNOUNCE_EVERY_S = 10;
const FULL_RING_MS = 30000;

/**
 * @typedef {object} RingHooks
 * @property {() => void} render
 * @property {(text: string) => void} toast
 * @property {(conversation: string) => void} answered open its conversation
 * @property {(name: string) => void} mark
 */

export class Ringing {
  /**
   * @param {import("./agent-state.js").State} state @param {import("./channel.js").Channel} channel
   * @param {import("./call.js").Call} call @param {import("./stage.js").Stage} stage @param {RingHooks} hooks
   */
  constructor(state, channel, call, stage, hooks) {
    this.state = state;
    this.channel = channel;
    this.call = call;
    this.stage = stage;
    this.hooks = hooks;
    this.alert = new Alert();
    this.saidSeconds = -1;
    setInterval(() => this.#tick(), 100);
  }

  /** @param {any} offer a RingView */
  async start(offer) {
    const { state, channel, call } = this;
    if (state.ring?.ring === offer.ring) return;
    const ring = {
      ring: offer.ring, session: offer.session, conversation: offer.conversation, visitor: offer.visitor, leg: null, silent: false, deciding: false,
      deadline: performance.now() + offer.ttl_ms, totalMs: Math.max(offer.ttl_ms, FULL_RING_MS),
    };
    state.ring = ring;
    state.after = null;
    const name = offer.visitor?.name || "A visitor";
    this.alert.start(`● ${name} is calling`);
    announce(`${name} is calling. Press G for Go, D to decline.`, true);
    this.hooks.mark("ring");
    this.hooks.render();
    channel.command("ring.ack", { ring: ring.ring }).catch(() => {}); // over already: ring.ended says so
    const opened = channel.command("ring.opened", { ring: ring.ring }).then((reply) => {
      ring.leg = reply.leg ?? null;
      ring.deadline = performance.now() + reply.ttl_ms;
    }, () => {});
    await Promise.all([opened, call.prepare()]);
    await this.warm();
  }

  /** Bring the leg up while it rings; nothing of it is forwarded before Go. */
  async warm() {
    const { state, call } = this;
    if (state.ring?.leg && call.camera.stream) await call.warm(state.ring.leg).catch(() => {}); // Go tries again and says what is wrong
    else if (!state.ring && !state.live) call.end();
  }

  async go() {
    const { state, call } = this;
    const ring = state.ring;
    if (!ring || ring.deciding) return;
    this.hooks.mark("go");
    this.stage.play();
    if (!call.camera.stream && !(await call.prepare())) return;
    if (state.ring !== ring || ring.deciding) return; // declined, over, or pressed twice while the browser asked
    ring.deciding = true;
    this.hooks.render();
    try {
      const reply = await this.channel.command("call.accept", { session: ring.session });
      state.ring = null;
      this.alert.stop();
      state.moved = null;
      state.live = newLive(ring.session, ring.conversation, "connecting");
      call.enter(ring.session);
      state.chatOpen = false;
      this.hooks.answered(ring.conversation);
      await call.warm(reply.leg);
    } catch (error) {
      ring.deciding = false;
      this.#refused(ring, /** @type {CommandError} */ (error));
    }
  }

  decline() {
    const ring = this.state.ring;
    if (!ring || ring.deciding) return;
    this.channel.command("call.decline", { session: ring.session }).catch(() => {}); // over already
    this.over(ringEndWords("declined_here"));
  }

  silence() {
    const ring = this.state.ring;
    if (!ring) return;
    ring.silent = true;
    this.alert.silence();
    this.channel.command("ring.silence", { ring: ring.ring }).catch(() => {}); // the sound has stopped anyway
    this.hooks.render();
  }

  /** The ring is over, however. @param {string} words said if there are any */
  over(words) {
    this.state.ring = null;
    this.alert.stop();
    if (!this.state.live) this.call.end();
    if (words) this.hooks.toast(words);
    this.hooks.render();
  }

  /** @param {import("./agent-state.js").Ring} ring @param {CommandError} error */
  #refused(ring, error) {
    if (error instanceof CommandError && error.code === "permission.required") this.call.warning = errorWords(error);
    else if (this.state.live?.session === ring.session) this.call.warning = errorWords(error);
    else this.over(errorWords(error));
    this.hooks.render();
  }

  #tick() {
    const ring = this.state.ring;
    if (!ring) return;
    const left = ring.deadline - performance.now();
    this.stage.setCountdown(left, ring.totalMs);
    const seconds = Math.ceil(left / 1000);
    if (seconds > 0 && seconds < 30 && seconds % ANNOUNCE_EVERY_S === 0 && seconds !== this.saidSeconds) {
      this.saidSeconds = seconds;
      announce(`${seconds} seconds left`);
    }
  }
}
