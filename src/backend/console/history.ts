/**
 * The last bytes of a console's output, for `domus console` that attaches late and for crash reports.
 */
export const HISTORY_BYTES = 64 * 1024;
/** Of most consoles nothing is ever to be kept, and clones have many: room comes with what is. */
const ROOM_MIN_BYTES = 256;

export class History {
  readonly #sizeBytes: number;
  /** Becomes longer until it has `#sizeBytes`; only then does it begin again at its start. */
  #ring = new Uint8Array(0);
  /** Bytes ever added. */
  #total = 0;

  constructor(sizeBytes = HISTORY_BYTES) {
    this.#sizeBytes = sizeBytes;
  }

  add(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#makeRoom(Math.min(this.#total + bytes.length, this.#sizeBytes));
    const size = this.#ring.length;
    const kept = bytes.subarray(Math.max(0, bytes.length - size));
    const start = (this.#total + bytes.length - kept.length) % size;
    const first = Math.min(kept.length, size - start);
    this.#ring.set(kept.subarray(0, first), start);
    this.#ring.set(kept.subarray(first), 0);
    this.#total += bytes.length;
  }

  #makeRoom(sizeBytes: number): void {
    const old = this.#ring;
    if (sizeBytes <= old.length) return;
    this.#ring = new Uint8Array(
      Math.min(this.#sizeBytes, Math.max(ROOM_MIN_BYTES, sizeBytes, 2 * old.length)),
    );
    this.#ring.set(old);
  }

  /** Bytes ever added, also those no longer kept. */
  get totalBytes(): number {
    return this.#total;
  }

  /** Bytes of memory that it takes now. */
  get roomBytes(): number {
    return this.#ring.length;
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
