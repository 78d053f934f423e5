/** Bytes that were given to a connection and not acknowledged yet, as the chunks they came in. Nothing is copied here. */
export class SendQueue {
  #chunks: Uint8Array[] = [];
  /** Of the first chunk, what is acknowledged already. */
  #skip = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
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
    this.#skip = 0;
    this.#length = 0;
  }
}
