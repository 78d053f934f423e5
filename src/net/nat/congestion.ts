/**
 * How much may be under way: slow start, congestion avoidance and NewReno's recovery (RFC 5681, RFC 6582).
 *
 * The cable to the guest is memory, so the window begins large and does not shrink in idle times; it is loss injected on
 * purpose, or a guest with full buffers, that makes it small.
 */
import { sequenceDistance } from '../packet/tcp.ts';

const WINDOW_INITIAL_BYTES = 65_536;
/** A guest and its router share a processor's cache: more under way would only leave it before it is read. */
const WINDOW_MAX_BYTES = 512 << 10;
const DUPLICATES_FOR_LOSS = 3;

export class Congestion {
  readonly #mss: number;
  #window: number;
  #threshold = WINDOW_MAX_BYTES;
  /** Acknowledgements of the same, one after the other. */
  #duplicates = 0;
  #inRecovery = false;
  /** It is over when all is acknowledged that was under way at its beginning. */
  #recoverUntil = 0;

  constructor(mss: number) {
    this.#mss = mss;
    this.#window = Math.max(WINDOW_INITIAL_BYTES, 2 * mss);
  }

  get windowBytes(): number {
    return this.#window;
  }

  /** Something new is acknowledged. Returns whether what lies behind it is lost as well. */
  acknowledged(bytes: number, acknowledgement: number): boolean {
    this.#duplicates = 0;
    if (!this.#inRecovery) {
      const growth = this.#window < this.#threshold ? bytes : Math.max(1, (this.#mss * bytes) / this.#window);
      this.#window = Math.min(WINDOW_MAX_BYTES, this.#window + growth);
      return false;
    }
    if (sequenceDistance(acknowledgement, this.#recoverUntil) < 0) {
      this.#window = Math.max(this.#mss, this.#window - bytes + this.#mss);
      return true;
    }
    this.#inRecovery = false;
    this.#window = Math.max(2 * this.#mss, this.#threshold);
    return false;
  }

  /**
   * The same is acknowledged again: another segment has left the network. After three of them the first one is lost, and what follows
   * arrives. Returns whether that is so now.
   */
  duplicate(flightBytes: number, sentUntil: number): boolean {
    this.#duplicates += 1;
    if (this.#inRecovery) {
      this.#window = Math.min(WINDOW_MAX_BYTES, this.#window + this.#mss);
      return false;
    }
    if (this.#duplicates !== DUPLICATES_FOR_LOSS) return false;
    this.#threshold = Math.max(flightBytes / 2, 2 * this.#mss);
    this.#window = this.#threshold + 3 * this.#mss;
    this.#inRecovery = true;
    this.#recoverUntil = sentUntil;
    return true;
  }

  timedOut(flightBytes: number): void {
    this.#threshold = Math.max(flightBytes / 2, 2 * this.#mss);
    this.#window = this.#mss;
    this.#duplicates = 0;
    this.#inRecovery = false;
  }
}
