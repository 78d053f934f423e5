/**
 * Blocks of memory for bytes that wait: those that are given back are used again, so that a stream of data makes no garbage.
 */
/** Kept for later; what is given back beyond that is let go. */
const FREE_BYTES_MAX = 2 << 20;

export class BlockPool {
  readonly blockBytes: number;
  readonly #free: Uint8Array[] = [];

  constructor(blockBytes: number) {
    this.blockBytes = blockBytes;
  }

  /** A block with anything in it. */
  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(this.blockBytes);
  }

  /** The giver uses it no more. */
  give(block: Uint8Array): void {
    if ((this.#free.length + 1) * this.blockBytes <= FREE_BYTES_MAX) this.#free.push(block);
  }
}
