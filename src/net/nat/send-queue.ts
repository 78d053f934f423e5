/**
 * Bytes that were given to a connection and not acknowledged yet, copied into blocks: a peer that sends single bytes does not
 * fill memory with objects, and whoever gave them may use his memory again.
 */
import type { BlockPool } from '../block-pool.ts';

export class SendQueue {
  readonly #pool: BlockPool;
  #blocks: Uint8Array[] = [];
  /** Of the first block, what is acknowledged already. */
  #skip = 0;
  #length = 0;

  constructor(pool: BlockPool) {
    this.#pool = pool;
  }

  get length(): number {
    return this.#length;
  }

  push(chunk: Uint8Array): void {
    const { blockBytes } = this.#pool;
    for (let done = 0; done < chunk.length; ) {
      const end = this.#skip + this.#length;
      if (end === this.#blocks.length * blockBytes) this.#blocks.push(this.#pool.take());
      const at = end % blockBytes;
      const part = chunk.subarray(done, done + blockBytes - at);
      this.#blocks.at(-1)!.set(part, at);
      done += part.length;
      this.#length += part.length;
    }
  }

  /** The first `count` bytes are acknowledged. */
  drop(count: number): void {
    if (count >= this.#length) {
      this.clear();
      return;
    }
    const { blockBytes } = this.#pool;
    this.#length -= count;
    this.#skip += count;
    const nrDone = Math.floor(this.#skip / blockBytes);
    this.#skip -= nrDone * blockBytes;
    for (const block of this.#blocks.splice(0, nrDone)) this.#pool.give(block);
  }

  /** Copy `count` bytes that begin `offset` behind the first unacknowledged one. They must be there. */
  copyTo(target: Uint8Array, at: number, offset: number, count: number): void {
    const { blockBytes } = this.#pool;
    const start = this.#skip + offset;
    for (let done = 0; done < count; ) {
      const block = this.#blocks[Math.floor((start + done) / blockBytes)]!;
      const from = (start + done) % blockBytes;
      const part = block.subarray(from, Math.min(blockBytes, from + count - done));
      target.set(part, at + done);
      done += part.length;
    }
  }

  clear(): void {
    for (const block of this.#blocks) this.#pool.give(block);
    this.#blocks = [];
    this.#skip = 0;
    this.#length = 0;
  }
}
