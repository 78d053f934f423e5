/** Reads tar archives as they come: layers of images may be larger than memory. */
import { truncated } from '../compress/errors.ts';
import { BLOCK_BYTES, paddedSize, type TarHeader, TarHeaders, WHAT } from './tar-headers.ts';

export interface StreamedEntry extends TarHeader {
  /** The contents, once, and before the next entry is asked for; what is left then is skipped. */
  contents(): AsyncIterable<Uint8Array>;
}

/** Hands out a stream in pieces of the reader's choice. */
class Pieces {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Between 1 and `limit` bytes; undefined at the end. They are the reader's until the next call. */
  async some(limit: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done) return undefined;
      this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }

  /** Exactly `size` bytes, or none at the end. @throws DomusError E_IMAGE_TRUNCATED when there are fewer */
  async exactly(size: number): Promise<Uint8Array | undefined> {
    const whole = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      const piece = await this.some(size - at);
      if (!piece && at === 0) return undefined;
      if (!piece) throw truncated(WHAT);
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }

  async skip(size: number): Promise<void> {
    for (let left = size; left > 0; ) {
      const piece = await this.some(left);
      if (!piece) throw truncated(WHAT);
      left -= piece.length;
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** The entries of an archive, in order. */
export async function* readTarStream(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<StreamedEntry> {
  const headers = new TarHeaders();
  const pieces = new Pieces(chunks);
  try {
    for (;;) {
      const block = await pieces.exactly(BLOCK_BYTES);
      if (!block) return;
      const step = headers.next(block);
      if (step.kind === 'end') return;
      if (step.kind === 'extension') {
        const data = step.size > 0 ? await pieces.exactly(step.size) : new Uint8Array(0);
        if (!data) throw truncated(WHAT);
        headers.extension(data);
        await pieces.skip(paddedSize(step.size) - step.size);
        continue;
      }
      const { header } = step;
      let left = header.size;
      const contents = async function* (): AsyncGenerator<Uint8Array> {
        while (left > 0) {
          const piece = await pieces.some(left);
          if (!piece) throw truncated(WHAT);
          left -= piece.length;
          yield piece;
        }
      };
      yield { ...header, contents };
      await pieces.skip(left + paddedSize(header.size) - header.size);
    }
  } finally {
    await pieces.close();
  }
}
