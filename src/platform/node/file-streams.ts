/** Files, packed data and HTTP answers as streams: for what may be larger than memory. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, statSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';

async function* plain(stream: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    const { buffer, byteOffset, byteLength } = chunk as Buffer;
    yield new Uint8Array(buffer, byteOffset, byteLength);
  }
}

/** A part of a file, or all of it. Fails as the system does. */
export function readStream(path: string, part?: { readonly start: number; readonly size: number }) {
  if (part?.size === 0) return plain(Readable.from([]));
  const range = part && { start: part.start, end: part.start + part.size - 1 };
  return plain(createReadStream(path, { highWaterMark: 1 << 18, ...range }));
}

export type Packing = 'gzip' | 'zstd' | 'none';

/** Unpack while it comes. Errors of the runtime's library come out as they are. */
export function unpackStream(chunks: AsyncIterable<Uint8Array>, packing: Packing): AsyncIterable<Uint8Array> {
  if (packing === 'none') return chunks;
  const unpacker: Transform = packing === 'gzip' ? createGunzip() : createZstdDecompress();
  const source = Readable.from(chunks, { objectMode: false });
  source.on('error', error => unpacker.destroy(error));
  unpacker.on('close', () => source.destroy());
  return plain(source.pipe(unpacker));
}

/** Write everything that comes to a new file, durably. */
export async function writeStream(path: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  await pipeline(chunks, createWriteStream(path, { flags: 'wx', flush: true }));
}

export const fileSize = async (path: string): Promise<number> => statSync(path).size;

/** SHA-256 of a file, as hexadecimal digits. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of readStream(path)) hash.update(chunk);
  return hash.digest('hex');
}

export interface RunningHash {
  update(bytes: Uint8Array): void;
  hex(): string;
}

export function runningSha256(): RunningHash {
  const hash = createHash('sha256');
  return { update: bytes => void hash.update(bytes), hex: () => hash.digest('hex') };
}

/** Give a complete file its name for good. */
export async function settleFile(from: string, to: string): Promise<void> {
  const handle = await open(from, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(from, to);
}
