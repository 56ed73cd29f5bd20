// What calls attention while it rings: a sound made here (no file), a blinking title and a different tab icon.

const BLINK_MS = 1000;
const PATTERN_MS = 2400;

export class Alert {
  constructor() {
    /** @type {AudioContext|null} */
    this.audio = null;
    this.silent = false;
    this.title = document.title;
    this.blinkTimer = 0;
    this.soundTimer = 0;
  }

  /** @param {string} title shown in turn with the page's own */
  start(title) {
    this.stop();
    this.silent = false;
    this.title = document.title;
    let odd = false;
    const blink = () => {
      odd = !odd;
      document.title = odd || !document.hidden ? title : this.title;
      this.#favicon(odd);
    };
    blink();
    this.blinkTimer = window.setInterval(blink, BLINK_MS);
    this.audio ??= new AudioContext();
    this.#pattern();
    this.soundTimer = window.setInterval(() => this.#pattern(), PATTERN_MS);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) navigator.vibrate?.([200, 100, 200]);
  }

  silence() {
    this.silent = true;
  }

  stop() {
    if (!this.blinkTimer) return;
    clearInterval(this.blinkTimer);
    clearInterval(this.soundTimer);
    this.blinkTimer = 0;
    document.title = this.title;
    this.#favicon(false);
    void this.audio?.suspend();
  }

  /** @param {boolean} ringing */
  #favicon(ringing) {
    document.querySelector("link[rel=icon]")?.setAttribute("href", ringing ? "icon-ring.svg" : "icon.svg");
  }

  #pattern() {
    const audio = this.audio;
    if (!audio || this.silent) return;
    void audio.resume();
    for (const [index, hertz] of [659, 784, 988].entries()) {
      const start = audio.currentTime + 0.05 + index * 0.18;
      const gain = audio.createGain();
      gain.gain.setValueAtTime(0, start);
      gain.gain.linearRampToValueAtTime(0.16, start + 0.02);
      gain.gain.exponentialRampToValueAtTime(0.001, start + 0.5);
      const tone = new OscillatorNode(audio, { type: "sine", frequency: hertz });
      tone.connect(gain).connect(audio.destination);
      tone.start(start);
      tone.stop(start + 0.55);
    }
  }
}
