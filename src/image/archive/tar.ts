/**
 * Reads tar archives that lie in memory, or are on their way there.
 *
 * Works on a ByteSource and asks only for what it visits, so a caller that stops at the file it wants leaves the rest
 * packed.
 */
import { truncated } from '../compress/errors.ts';
import type { ByteSource } from '../compress/source.ts';
import { BLOCK_BYTES, paddedSize, type TarHeader, TarHeaders, WHAT } from './tar-headers.ts';

export interface TarEntry extends TarHeader {
  /** A copy of the contents; unpacks as far as needed. */
  read(): Uint8Array;
}

/** The entries of an archive, in order. */
export function* readTar(source: ByteSource): Generator<TarEntry> {
  const headers = new TarHeaders();
  let at = 0;
  const copy = (start: number, size: number): Uint8Array => {
    if (!source.ensure(start + size)) throw truncated(WHAT);
    return source.bytes.slice(start, start + size);
  };
  for (;;) {
    // An archive ends with two zero blocks, or, from some writers, just so.
    if (!source.ensure(at + 1)) return;
    const step = headers.next(copy(at, BLOCK_BYTES));
    const start = at + BLOCK_BYTES;
    if (step.kind === 'end') return;
    if (step.kind === 'extension') {
      headers.extension(copy(start, step.size));
      at = start + paddedSize(step.size);
      continue;
    }
    const { header } = step;
    yield { ...header, read: () => copy(start, header.size) };
    at = start + paddedSize(header.size);
  }
}
