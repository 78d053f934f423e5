/**
 * The last bytes of a console's output, for `domus console` that attaches late and for crash reports.
 */
export const HISTORY_BYTES = 64 * 1024;

export class History {
  readonly #ring: Uint8Array;
  /** Bytes ever added. */
  #total = 0;

  constructor(sizeBytes = HISTORY_BYTES) {
    this.#ring = new Uint8Array(sizeBytes);
  }

  add(bytes: Uint8Array): void {
    const size = this.#ring.length;
    const kept = bytes.subarray(Math.max(0, bytes.length - size));
    const start = (this.#total + bytes.length - kept.length) % size;
    const first = Math.min(kept.length, size - start);
    this.#ring.set(kept.subarray(0, first), start);
    this.#ring.set(kept.subarray(first), 0);
    this.#total += bytes.length;
  }

  /** Bytes ever added, also those no longer kept. */
  get totalBytes(): number {
    return this.#total;
  }

  /** What is kept, oldest first. */
  bytes(): Uint8Array {
    const size = this.#ring.length;
    if (this.#total <= size) return this.#ring.slice(0, this.#total);
    const start = this.#total % size;
    const result = new Uint8Array(size);
    result.set(this.#ring.subarray(start), 0);
    result.set(this.#ring.subarray(0, start), size - start);
    return result;
  }
}
