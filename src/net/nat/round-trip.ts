/**
 * The retransmission time-out from measured round trips (RFC 6298): those of one segment at a time, and of none that was sent again, whose
 * acknowledgement may be for either. All times in milliseconds.
 */
import { sequenceDistance } from '../packet/tcp.ts';

const RTO_INITIAL_MS = 1000;
/** A guest that another one keeps from running answers late: less than this is no sign of loss. */
const RTO_MIN_MS = 300;
const RTO_MAX_MS = 60_000;

export class RoundTrip {
  #smoothedMs = -1;
  #variationMs = 0;
  #backoff = 1;
  /** Of the segment that is measured; -1: none is. */
  #sequence = -1;
  #sentAtMs = 0;

  get timeoutMs(): number {
    const base =
      this.#smoothedMs < 0 ? RTO_INITIAL_MS : this.#smoothedMs + Math.max(10, 4 * this.#variationMs);
    return Math.min(RTO_MAX_MS, Math.max(RTO_MIN_MS, base) * this.#backoff);
  }

  get isMeasuring(): boolean {
    return this.#sequence >= 0;
  }

  /** A segment leaves for the first time. */
  begin(sequence: number, nowMs: number): void {
    this.#sequence = sequence;
    this.#sentAtMs = nowMs;
  }

  /** Something new was acknowledged: the guest answers, measured or not. */
  acknowledged(acknowledgement: number, nowMs: number): void {
    if (this.isMeasuring && sequenceDistance(acknowledgement, this.#sequence) > 0) {
      this.#measured(nowMs - this.#sentAtMs);
      this.#sequence = -1;
    }
    this.#backoff = 1;
  }

  #measured(tripMs: number): void {
    if (this.#smoothedMs < 0) {
      this.#smoothedMs = tripMs;
      this.#variationMs = tripMs / 2;
    } else {
      this.#variationMs += (Math.abs(this.#smoothedMs - tripMs) - this.#variationMs) / 4;
      this.#smoothedMs += (tripMs - this.#smoothedMs) / 8;
    }
  }

  /** What is under way is sent again. */
  forget(): void {
    this.#sequence = -1;
  }

  timedOut(): void {
    this.#backoff = Math.min(256, this.#backoff * 2);
    this.forget();
  }
}
