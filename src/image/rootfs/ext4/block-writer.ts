/** Writes blocks in large pieces where they follow one another: thousands of small files become few requests. */
import type { Awaitable } from '../../../platform/block-files.ts';
import { BLOCK_BYTES } from './structures.ts';

/** Where a file system goes: a disk. */
export interface BlockTarget {
  write(offset: number, from: Uint8Array): Awaitable<void>;
}

const PIECE_BYTES = 1 << 20;

export class BlockWriter {
  readonly #target: BlockTarget;
  #piece = new Uint8Array(PIECE_BYTES);
  /** Byte offset of the piece on the disk, and how much of it is there. */
  #start = 0;
  #length = 0;

  constructor(target: BlockTarget) {
    this.#target = target;
  }

  /** Whole blocks, from `block` on; the last one is filled up with zeros. */
  async write(block: number, bytes: Uint8Array): Promise<void> {
    await this.seek(block);
    await this.append(bytes);
    await this.pad();
  }

  /** What is appended next goes to the beginning of this block. */
  async seek(block: number): Promise<void> {
    const offset = block * BLOCK_BYTES;
    if (this.#start + this.#length === offset) return;
    await this.flush();
    this.#start = offset;
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + PIECE_BYTES - this.#length);
      this.#piece.set(part, this.#length);
      this.#length += part.length;
      at += part.length;
      if (this.#length === PIECE_BYTES) await this.flush();
    }
  }

  /** Zeros to the end of the block. */
  async pad(): Promise<void> {
    const rest = this.#length % BLOCK_BYTES;
    if (rest > 0) await this.append(new Uint8Array(BLOCK_BYTES - rest));
  }

  async flush(): Promise<void> {
    const length = Math.ceil(this.#length / BLOCK_BYTES) * BLOCK_BYTES;
    if (length === 0) return;
    this.#piece.fill(0, this.#length, length);
    await this.#target.write(this.#start, this.#piece.subarray(0, length));
    this.#start += length;
    this.#length = 0;
  }
}
