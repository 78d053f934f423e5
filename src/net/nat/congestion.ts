/**
 * How much may be under way: slow start, congestion avoidance and NewReno's recovery (RFC 5681, RFC 6582).
 *
 * The cable to the guest is memory, so the window begins large and does not shrink in idle times; it is loss injected on
 * purpose, or a guest with full buffers, that makes it small.
 */
const WINDOW_INITIAL_BYTES = 65_536;
/** A guest and its router share a processor's cache: more under way would only leave it before it is read. */
const WINDOW_MAX_BYTES = 512 << 10;

export class Congestion {
  readonly #mss: number;
  #window: number;
  #threshold = WINDOW_MAX_BYTES;
  #inRecovery = false;

  constructor(mss: number) {
    this.#mss = mss;
    this.#window = Math.max(WINDOW_INITIAL_BYTES, 2 * mss);
  }

  get windowBytes(): number {
    return this.#window;
  }
  get inRecovery(): boolean {
    return this.#inRecovery;
  }

  acknowledged(bytes: number): void {
    if (this.#inRecovery) return;
    const growth = this.#window < this.#threshold ? bytes : Math.max(1, (this.#mss * bytes) / this.#window);
    this.#window = Math.min(WINDOW_MAX_BYTES, this.#window + growth);
  }

  /** Three duplicates: one segment is lost, what follows arrives. */
  enterRecovery(flightBytes: number): void {
    this.#threshold = Math.max(flightBytes / 2, 2 * this.#mss);
    this.#window = this.#threshold + 3 * this.#mss;
    this.#inRecovery = true;
  }

  /** A further duplicate: another segment has left the network. */
  duplicate(): void {
    if (this.#inRecovery) this.#window = Math.min(WINDOW_MAX_BYTES, this.#window + this.#mss);
  }

  partial(bytes: number): void {
    this.#window = Math.max(this.#mss, this.#window - bytes + this.#mss);
  }

  leaveRecovery(): void {
    this.#inRecovery = false;
    this.#window = Math.max(2 * this.#mss, this.#threshold);
  }

  timedOut(flightBytes: number): void {
    this.#threshold = Math.max(flightBytes / 2, 2 * this.#mss);
    this.#window = this.#mss;
    this.#inRecovery = false;
  }
}
