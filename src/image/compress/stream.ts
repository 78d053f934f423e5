/** Unpacks data of a kind that their first bytes tell, as they come. */

import { DomusError } from '../../base/errors.ts';
import { type Packing, unpackStream } from '../../platform/node/file-streams.ts';
import { isInputShort } from '../../platform/node/native-codecs.ts';
import { detectCompression } from './decompress.ts';
import { corrupt, truncated, unsupported } from './errors.ts';

/** Enough to tell every format by. */
const HEAD_BYTES = 16;

async function* startingWith(
  head: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* head;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

/** @throws DomusError E_IMAGE_CORRUPT, E_IMAGE_TRUNCATED, E_IMAGE_UNSUPPORTED, and what the chunks throw themselves */
export async function* unpacked(what: string, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  let length = 0;
  while (length < HEAD_BYTES) {
    const next = await iterator.next();
    if (next.done) break;
    head.push(next.value);
    length += next.value.length;
  }
  const start = new Uint8Array(length);
  let at = 0;
  for (const part of head) {
    start.set(part, at);
    at += part.length;
  }
  const compression = detectCompression(start);
  const packings: Readonly<Record<string, Packing>> = { gzip: 'gzip', zstd: 'zstd', none: 'none' };
  // A tar archive begins with a name, which may look like the head of the format that has no mark.
  const packing = compression === 'lzma' ? 'none' : packings[compression];
  if (packing === undefined) throw unsupported(what, `it is packed with ${compression}`);
  try {
    yield* unpackStream(startingWith(head, iterator), packing);
  } catch (error) {
    if (error instanceof DomusError) throw error;
    if (isInputShort(error)) throw truncated(what);
    throw corrupt(what, error instanceof Error ? error.message : String(error));
  }
}
