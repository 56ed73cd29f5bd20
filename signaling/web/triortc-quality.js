// How good a device's own way is, by its own figures: a hint, where the server gives no score.

/** When a way counts as weak where the server does not say it: older ones did not. */
export const QUALITY_LIMITS = { weak_score: 40, good_score: 55 };

/** Looks at one session at a time: another one begins anew. */
export class OwnQuality {
  /** @type {Map<string, {at: number, received: number, lost: number}>} by session */ #last = new Map();

  /**
   * What is lost on the way here since the last look, and how far the server is.
   * @param {string} session @param {import("./triortc-leg.js").LegStatistics} stats
   * @returns {number|null} 0 to 100; null where nothing has come that could be judged
   */
  score(session, stats) {
    const sum = (/** @type {string} */ name) => Object.values(stats.in).reduce((total, kind) => total + (kind[name] ?? 0), 0);
    const now = { at: stats.at, received: sum("packetsReceived"), lost: sum("packetsLost") };
    const before = this.#last.get(session);
    this.#last.clear();
    this.#last.set(session, now);
    if (!before || now.received <= before.received) return null;
    const lost = Math.max(0, now.lost - before.lost) / (now.received - before.received + Math.max(0, now.lost - before.lost));
    return Math.max(0, Math.round(100 - lost * 500 - Math.max(0, (stats.rtt_s ?? 0) - 0.15) * 150));
  }
}
