/**
 * LZ4: the block format and both frames around it, the legacy one that kernels use and the modern one.
 *
 * The output array is the window, so blocks that refer to earlier ones need nothing special.
 * Source: lz4_Block_format.md and lz4_Frame_format.md (1.6.x).
 */
import { corrupt, truncated, unsupported } from './errors.ts';
import { finished, type Growing, growing, reserve } from './growing.ts';
import { xxh32 } from './xxh32.ts';

export const LZ4_LEGACY_MAGIC = 0x184c_2102;
export const LZ4_FRAME_MAGIC = 0x184d_2204;
const WHAT = 'LZ4 data';
/** Legacy blocks unpack to at most this much. */
const LEGACY_BLOCK_BYTES = 8 << 20;
const MIN_MATCH = 4;

/**
 * Unpack one block, `input[from, end)`, to `out` at `to`; return where the output ends. `limit` is the furthest that
 * output may reach, `windowStart` the oldest byte that a match may refer to.
 */
export function decodeLz4Block(
  input: Uint8Array,
  from: number,
  end: number,
  out: Uint8Array,
  to: number,
  limit: number,
  windowStart: number,
): number {
  for (;;) {
    if (from >= end) throw truncated(WHAT);
    const token = input[from++]!;
    let literals = token >>> 4;
    if (literals === 15) {
      let more = 255;
      while (more === 255) {
        if (from >= end) throw truncated(WHAT);
        more = input[from++]!;
        literals += more;
      }
    }
    if (literals > end - from) throw truncated(WHAT);
    if (literals > limit - to) throw corrupt(WHAT, 'a block unpacks to more than it may');
    if (literals > 24) {
      out.set(input.subarray(from, from + literals), to);
      from += literals;
      to += literals;
    } else {
      for (const stop = from + literals; from < stop; ) out[to++] = input[from++]!;
    }
    if (from === end) return to;
    if (end - from < 2) throw truncated(WHAT);
    const distance = input[from]! | (input[from + 1]! << 8);
    from += 2;
    if (distance === 0 || distance > to - windowStart) throw corrupt(WHAT, 'match reaches before the data');
    let length = token & 15;
    if (length === 15) {
      let more = 255;
      while (more === 255) {
        if (from >= end) throw truncated(WHAT);
        more = input[from++]!;
        length += more;
      }
    }
    length += MIN_MATCH;
    if (length > limit - to) throw corrupt(WHAT, 'a block unpacks to more than it may');
    const source = to - distance;
    if (length >= 32 && distance >= length) {
      out.copyWithin(to, source, source + length);
      to += length;
    } else {
      for (let i = source, stop = to + length; to < stop; ) out[to++] = out[i++]!;
    }
  }
}

/** Unpack frames of either kind, one after the other, until the input ends. */
export function decodeLz4(input: Uint8Array, limitBytes: number, expectedBytes?: number): Uint8Array {
  // A legacy block may turn out to be of full size: with room for one more the output is never moved.
  const out = growing(WHAT, limitBytes, (expectedBytes ?? input.length * 3) + LEGACY_BLOCK_BYTES);
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  let at = 0;
  while (at < input.length) {
    if (input.length - at < 4) throw truncated(WHAT);
    const magic = view.getUint32(at, true);
    if (magic === LZ4_LEGACY_MAGIC) at = decodeLegacyFrame(input, view, at + 4, out);
    else if (magic === LZ4_FRAME_MAGIC) at = decodeFrame(input, view, at + 4, out);
    else if (magic >>> 4 === 0x184_d2a5) at = skipFrame(view, at + 4);
    else throw corrupt(WHAT, 'no LZ4 frame where one should be');
  }
  return finished(out);
}

function skipFrame(view: DataView, at: number): number {
  if (view.byteLength - at < 4) throw truncated(WHAT);
  const end = at + 4 + view.getUint32(at, true);
  if (end > view.byteLength) throw truncated(WHAT);
  return end;
}

function decodeLegacyFrame(input: Uint8Array, view: DataView, start: number, out: Growing): number {
  let at = start;
  while (at < input.length) {
    if (input.length - at < 4) throw truncated(WHAT);
    const size = view.getUint32(at, true);
    if (size === LZ4_LEGACY_MAGIC || size === LZ4_FRAME_MAGIC) return at;
    at += 4;
    if (size === 0) throw corrupt(WHAT, 'empty block');
    if (size > input.length - at) throw truncated(WHAT);
    // A byte of input makes at most 255 of output, so a small block needs no large reserve.
    reserve(out, Math.min(LEGACY_BLOCK_BYTES, size * 255, Math.max(0, out.limitBytes - out.length)));
    const limit = Math.min(out.bytes.length, out.length + LEGACY_BLOCK_BYTES);
    out.length = decodeLz4Block(input, at, at + size, out.bytes, out.length, limit, out.length);
    at += size;
  }
  return at;
}

function decodeFrame(input: Uint8Array, view: DataView, start: number, out: Growing): number {
  let at = start;
  const need = (count: number): void => {
    if (count > input.length - at) throw truncated(WHAT);
  };
  need(3);
  const flags = input[at]!;
  const sizes = input[at + 1]!;
  if (flags >>> 6 !== 1) throw unsupported(WHAT, `frame version ${flags >>> 6}`);
  if (flags & 0b10 || sizes & 0x8f) throw corrupt(WHAT, 'reserved bits are set');
  if (flags & 1) throw unsupported(WHAT, 'it needs a dictionary');
  const independent = (flags & 0x20) !== 0;
  const blockChecksums = (flags & 0x10) !== 0;
  const hasSize = (flags & 0x08) !== 0;
  const contentChecksum = (flags & 0x04) !== 0;
  const blockBytes = 1 << (8 + 2 * ((sizes >>> 4) & 7));
  if (blockBytes < 1 << 16) throw corrupt(WHAT, 'block size out of range');
  const headerBytes = 2 + (hasSize ? 8 : 0);
  need(headerBytes + 1);
  const check = (xxh32(input, at, at + headerBytes) >>> 8) & 0xff;
  if (input[at + headerBytes] !== check) throw corrupt(WHAT, 'frame header checksum is wrong');
  const contentSize = hasSize ? view.getUint32(at + 2, true) + view.getUint32(at + 6, true) * 2 ** 32 : -1;
  at += headerBytes + 1;
  const contentStart = out.length;
  for (;;) {
    need(4);
    const word = view.getUint32(at, true);
    at += 4;
    if (word === 0) break;
    const size = word & 0x7fff_ffff;
    if (size > blockBytes) throw corrupt(WHAT, 'block larger than the frame allows');
    need(size + (blockChecksums ? 4 : 0));
    if (blockChecksums && view.getUint32(at + size, true) !== xxh32(input, at, at + size)) {
      throw corrupt(WHAT, 'block checksum is wrong');
    }
    if (word & 0x8000_0000) {
      reserve(out, size);
      out.bytes.set(input.subarray(at, at + size), out.length);
      out.length += size;
    } else {
      reserve(out, Math.min(blockBytes, size * 255, Math.max(0, out.limitBytes - out.length)));
      const limit = Math.min(out.bytes.length, out.length + blockBytes);
      const windowStart = independent ? out.length : contentStart;
      out.length = decodeLz4Block(input, at, at + size, out.bytes, out.length, limit, windowStart);
    }
    at += size + (blockChecksums ? 4 : 0);
  }
  if (contentChecksum) {
    need(4);
    if (view.getUint32(at, true) !== xxh32(out.bytes, contentStart, out.length)) {
      throw corrupt(WHAT, 'content checksum is wrong');
    }
    at += 4;
  }
  if (hasSize && out.length - contentStart !== contentSize) throw corrupt(WHAT, 'content size is wrong');
  return at;
}
