/** The retransmission time-out from measured round trips (RFC 6298). All times in milliseconds. */
const RTO_INITIAL_MS = 1000;
/** A guest that another one keeps from running answers late: less than this is no sign of loss. */
const RTO_MIN_MS = 300;
const RTO_MAX_MS = 60_000;

export class RoundTrip {
  #smoothedMs = -1;
  #variationMs = 0;
  #backoff = 1;

  get timeoutMs(): number {
    const base =
      this.#smoothedMs < 0 ? RTO_INITIAL_MS : this.#smoothedMs + Math.max(10, 4 * this.#variationMs);
    return Math.min(RTO_MAX_MS, Math.max(RTO_MIN_MS, base) * this.#backoff);
  }

  measured(tripMs: number): void {
    if (this.#smoothedMs < 0) {
      this.#smoothedMs = tripMs;
      this.#variationMs = tripMs / 2;
    } else {
      this.#variationMs += (Math.abs(this.#smoothedMs - tripMs) - this.#variationMs) / 4;
      this.#smoothedMs += (tripMs - this.#smoothedMs) / 8;
    }
    this.#backoff = 1;
  }

  /** Something new was acknowledged, without a measurement. */
  progressed(): void {
    this.#backoff = 1;
  }

  backOff(): void {
    this.#backoff = Math.min(256, this.#backoff * 2);
  }
}
