/**
 * One image file as a layer of a disk: it holds some sectors, and the layers below hold others.
 *
 * All offsets and lengths are multiples of 512 bytes and lie inside `sizeBytes`; who calls has checked that.
 */
import type { Awaitable } from '../platform/block-files.ts';

export const SECTOR_BYTES = 512;
/** In an array of owners: no layer holds the sector, so it reads as zeros. */
export const NO_OWNER = 255;
/** Layers that a disk can have. */
export const LAYERS_MAX = 250;

export type ImageFormat = 'vhd' | 'raw' | 'qcow2' | 'vhdx';

export interface Layer {
  readonly format: ImageFormat;
  readonly path: string;
  /** Size of the disk. */
  readonly sizeBytes: number;
  /** How many bytes `claim` looks at together; a power of two. */
  readonly unitBytes: number;
  /**
   * For each sector from `firstSector` whose entry is NO_OWNER and that this layer holds, set the entry to `id`. Returns how
   * many entries are NO_OWNER still. The range lies inside one unit.
   */
  claim(firstSector: number, owners: Uint8Array, id: number): Awaitable<number>;
  /** Sectors that the layer does not hold read as zeros. */
  read(offset: number, into: Uint8Array): Awaitable<void>;
  /** As `read`, for sectors that `claim` has said the layer holds. */
  readHeld(offset: number, into: Uint8Array): Awaitable<void>;
  /**
   * As `readHeld`, into pieces of memory and before it returns. False, or absent, when that cannot be: what has been done then is
   * to be done again by way of `readHeld`.
   */
  readHeldNow?(offset: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean;
  close(): Promise<void>;
}

/** A layer that takes changes: the top one of a disk. */
export interface WritableLayer extends Layer {
  /** `hasBacking`: below it lie layers, so that zeros must be written and nothing can be left out. */
  write(offset: number, from: Uint8Array, hasBacking: boolean): Awaitable<void>;
  /** Write pieces of memory before it returns, where nothing but the bytes changes; false: by way of `write`. */
  writeNow(offset: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean;
  /** Whether the whole range is held by this layer, so that `readHeldNow` may be asked; by what is known at once. */
  holdsNow(offset: number, sizeBytes: number): boolean;
  /** Give space back for whole units of the range where that can be done; what is there then reads as zeros. */
  discard(offset: number, sizeBytes: number): Awaitable<void>;
  /** Everything written so far is durable. */
  flush(): Promise<void>;
  resize(sizeBytes: number): Promise<void>;
}

export function isZero(bytes: Uint8Array): boolean {
  let at = 0;
  const { length } = bytes;
  // Most data that are not zero show it early.
  for (; at < length && (at < 64 || (bytes.byteOffset + at) % 8 !== 0); at++)
    if (bytes[at] !== 0) return false;
  if (at >= length) return true;
  const words = new Float64Array(bytes.buffer, bytes.byteOffset + at, (length - at) >> 3);
  // As a double, eight zero bytes are the only pattern besides the sign bit alone that equals zero.
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  for (let i = 0; i < words.length; i++) if (Object.is(words[i], -0)) return false;
  for (at += words.length * 8; at < length; at++) if (bytes[at] !== 0) return false;
  return true;
}
