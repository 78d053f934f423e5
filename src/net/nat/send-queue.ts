/**
 * Bytes that were given to a connection and not acknowledged yet, as the chunks they came in. Only small ones are copied,
 * behind one another: a peer that sends single bytes must not fill memory with objects.
 */
const SMALL_BYTES = 1024;
const GATHERED_BYTES = 16_384;

export class SendQueue {
  #chunks: Uint8Array[] = [];
  /** Where small chunks are gathered; the last chunk is the part of it that is filled. */
  #gather: Uint8Array | undefined;
  #gatherEnd = 0;
  /** Of the first chunk, what is acknowledged already. */
  #skip = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#length += chunk.length;
    if (chunk.length >= SMALL_BYTES) {
      this.#chunks.push(chunk);
      this.#gather = undefined;
      return;
    }
    const fits = this.#gather && this.#chunks.length > 0 && this.#gatherEnd + chunk.length <= GATHERED_BYTES;
    if (!this.#gather || !fits) {
      this.#gather = new Uint8Array(GATHERED_BYTES);
      this.#gatherEnd = 0;
      this.#chunks.push(this.#gather.subarray(0, 0));
    }
    this.#gather.set(chunk, this.#gatherEnd);
    this.#gatherEnd += chunk.length;
    this.#chunks[this.#chunks.length - 1] = this.#gather.subarray(0, this.#gatherEnd);
  }

  /** The first `count` bytes are acknowledged. */
  drop(count: number): void {
    let left = Math.min(count, this.#length);
    this.#length -= left;
    let nrDone = 0;
    while (left > 0) {
      const rest = this.#chunks[nrDone]!.length - this.#skip;
      if (left < rest) {
        this.#skip += left;
        break;
      }
      left -= rest;
      this.#skip = 0;
      nrDone += 1;
    }
    if (nrDone > 0) this.#chunks.splice(0, nrDone);
  }

  /** Copy `count` bytes that begin `offset` behind the first unacknowledged one. They must be there. */
  copyTo(target: Uint8Array, at: number, offset: number, count: number): void {
    let skip = offset + this.#skip;
    let done = 0;
    for (const chunk of this.#chunks) {
      if (done === count) return;
      if (skip >= chunk.length) {
        skip -= chunk.length;
        continue;
      }
      const part = chunk.subarray(skip, skip + count - done);
      target.set(part, at + done);
      done += part.length;
      skip = 0;
    }
  }

  clear(): void {
    this.#chunks = [];
    this.#gather = undefined;
    this.#skip = 0;
    this.#length = 0;
  }
}
