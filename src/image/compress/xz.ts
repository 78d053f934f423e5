/**
 * XZ: container, LZMA2 and the x86 branch filter. Unpacks on demand (see ByteSource): a caller that needs only the head of
 * a package pays for the head. Every checksum of what was unpacked is verified, and the index once the end is reached.
 *
 * A block with a branch filter is made known as a whole, since its checksum covers the filtered bytes and its dictionary the
 * unfiltered ones. Source: "The .xz File Format" 1.2.1.
 */
import { crc32, sha256 } from '../../platform/node/native-codecs.ts';
import { undoX86Filter } from './bcj-x86.ts';
import { crc64 } from './crc64.ts';
import { corrupt, truncated, unsupported } from './errors.ts';
import { type Growing, growing, reserve } from './growing.ts';
import { decodeLzma, lzmaState, resetState, setProperties } from './lzma.ts';
import { type ByteSource, readAll } from './source.ts';

const WHAT = 'XZ data';
const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const FOOTER_MAGIC = [0x59, 0x5a];
const CHECK_NONE = 0;
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;
const CHECK_SHA256 = 10;
/** Size of the check field by its kind. */
const CHECK_BYTES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;

export const isXz = (input: Uint8Array): boolean =>
  input.length >= 6 && HEADER_MAGIC.every((byte, i) => input[i] === byte);

/** Unpack all of `input`. */
export const decodeXz = (input: Uint8Array, limitBytes: number, expectedBytes?: number): Uint8Array =>
  readAll(openXz(input, limitBytes, expectedBytes));

/** A source over the unpacked contents of `input`, which unpacks as it is asked. */
export function openXz(input: Uint8Array, limitBytes: number, expectedBytes?: number): ByteSource {
  const out = growing(WHAT, limitBytes, expectedBytes ?? Math.min(input.length * 2, 1 << 24));
  const steps = streams(input, out);
  // Bytes of a filtered block are final only at its end.
  let known = 0;
  return {
    get bytes() {
      return out.bytes;
    },
    get length() {
      return known;
    },
    ensure(length) {
      while (known < length) {
        const step = steps.next();
        if (step.done) return false;
        known = step.value;
      }
      return true;
    },
  };
}

/** Unpacks stream after stream to `out`; yields, after each piece, how much of `out` is final. */
function* streams(input: Uint8Array, out: Growing): Generator<number> {
  let at = 0;
  let count = 0;
  while (at < input.length) {
    // Padding between streams is zeros in fours.
    if (count > 0 && input[at] === 0) {
      if (input.length - at < 4) throw truncated(WHAT);
      if (input[at + 1] || input[at + 2] || input[at + 3]) throw corrupt(WHAT, 'padding is not zero');
      at += 4;
      continue;
    }
    at = yield* stream(input, at, out);
    count++;
  }
  if (count === 0) throw truncated(WHAT);
}

const crcField = (input: Uint8Array, at: number): number =>
  (input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16) | (input[at + 3]! << 24)) >>> 0;

function* stream(input: Uint8Array, start: number, out: Growing): Generator<number, number> {
  if (input.length - start < 12) throw truncated(WHAT);
  if (!HEADER_MAGIC.every((byte, i) => input[start + i] === byte))
    throw corrupt(WHAT, 'no XZ stream where one should be');
  if (crcField(input, start + 8) !== crc32(input.subarray(start + 6, start + 8))) {
    throw corrupt(WHAT, 'stream header checksum is wrong');
  }
  const check = input[start + 7]!;
  if (input[start + 6] !== 0 || check > 15) throw unsupported(WHAT, 'unknown stream flags');
  let at = start + 12;
  const blocks: { unpadded: number; uncompressed: number }[] = [];
  for (;;) {
    if (at >= input.length) throw truncated(WHAT);
    if (input[at] === 0) break;
    const headerBytes = (input[at]! + 1) * 4;
    const header = blockHeader(input, at, headerBytes);
    const outStart = out.length;
    const dataEnd = yield* lzma2(input, at + headerBytes, out, header.dictionarySize, !header.x86Filter);
    const paddedEnd = (dataEnd + 3) & ~3;
    const checkEnd = paddedEnd + CHECK_BYTES[check]!;
    if (checkEnd > input.length) throw truncated(WHAT);
    for (let i = dataEnd; i < paddedEnd; i++) if (input[i] !== 0) throw corrupt(WHAT, 'padding is not zero');
    if (header.x86Filter) undoX86Filter(out.bytes, outStart, out.length, header.x86Start);
    verify(input, paddedEnd, check, out, outStart);
    const compressed = dataEnd - at - headerBytes;
    const uncompressed = out.length - outStart;
    if (
      (header.compressed !== -1 && header.compressed !== compressed) ||
      (header.uncompressed !== -1 && header.uncompressed !== uncompressed)
    ) {
      throw corrupt(WHAT, 'a block is not of its stated size');
    }
    blocks.push({ unpadded: dataEnd - at + CHECK_BYTES[check]!, uncompressed });
    at = checkEnd;
    yield out.length;
  }
  return indexAndFooter(input, at, start, blocks);
}

function verify(input: Uint8Array, at: number, check: number, out: Growing, outStart: number): void {
  let good = true;
  const content = out.bytes.subarray(outStart, out.length);
  if (check === CHECK_CRC32) good = crcField(input, at) === crc32(content);
  else if (check === CHECK_CRC64) {
    const [low, high] = crc64(out.bytes, outStart, out.length);
    good = crcField(input, at) === low && crcField(input, at + 4) === high;
  } else if (check === CHECK_SHA256) {
    good = sha256(content).every((byte, i) => input[at + i] === byte);
  } else if (check !== CHECK_NONE) throw unsupported(WHAT, `unknown kind of checksum (${check})`);
  if (!good) throw corrupt(WHAT, 'checksum of the contents is wrong');
}

/** A variable-length integer as [value, next position]. Larger ones than 2^53 cannot occur in valid data of our size. */
function varint(input: Uint8Array, start: number, end: number): [number, number] {
  let value = 0;
  for (let at = start, scale = 1; at < start + 9; at++, scale *= 128) {
    if (at >= end) throw truncated(WHAT);
    const byte = input[at]!;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      if (byte === 0 && at > start) throw corrupt(WHAT, 'overlong number');
      return [value, at + 1];
    }
  }
  throw corrupt(WHAT, 'overlong number');
}

interface BlockHeader {
  compressed: number;
  uncompressed: number;
  dictionarySize: number;
  x86Filter: boolean;
  x86Start: number;
}

function blockHeader(input: Uint8Array, start: number, headerBytes: number): BlockHeader {
  const end = start + headerBytes - 4;
  if (end + 4 > input.length) throw truncated(WHAT);
  if (crcField(input, end) !== crc32(input.subarray(start, end)))
    throw corrupt(WHAT, 'block header checksum is wrong');
  const flags = input[start + 1]!;
  if (flags & 0x3c) throw unsupported(WHAT, 'unknown block flags');
  const header: BlockHeader = {
    compressed: -1,
    uncompressed: -1,
    dictionarySize: 0,
    x86Filter: false,
    x86Start: 0,
  };
  let at = start + 2;
  if (flags & 0x40) [header.compressed, at] = varint(input, at, end);
  if (flags & 0x80) [header.uncompressed, at] = varint(input, at, end);
  const filters = (flags & 3) + 1;
  for (let i = 0; i < filters; i++) {
    let id: number;
    let size: number;
    [id, at] = varint(input, at, end);
    [size, at] = varint(input, at, end);
    if (size > end - at) throw truncated(WHAT);
    if (id === FILTER_LZMA2 && i === filters - 1 && size === 1) {
      const bits = input[at]!;
      if (bits > 40) throw corrupt(WHAT, 'dictionary size out of range');
      header.dictionarySize = bits === 40 ? 0xffff_ffff : (2 | (bits & 1)) * 2 ** ((bits >>> 1) + 11);
    } else if (id === FILTER_X86 && i === 0 && filters === 2 && (size === 0 || size === 4)) {
      header.x86Filter = true;
      if (size === 4) header.x86Start = crcField(input, at);
    } else {
      throw unsupported(WHAT, `filter 0x${id.toString(16)} in this place`);
    }
    at += size;
  }
  if (header.dictionarySize === 0) throw corrupt(WHAT, 'no LZMA2 filter');
  for (; at < end; at++) if (input[at] !== 0) throw unsupported(WHAT, 'unknown block header fields');
  return header;
}

/** LZMA2: chunks, each stored or LZMA, until a zero byte. Yields after each chunk if `progress`; returns the end. */
function* lzma2(
  input: Uint8Array,
  start: number,
  out: Growing,
  dictionarySize: number,
  progress: boolean,
): Generator<number, number> {
  const lzma = lzmaState();
  let at = start;
  let dictionaryStart = out.length;
  let needDictionary = true;
  let needProperties = true;
  let needState = true;
  const need = (count: number): void => {
    if (count > input.length - at) throw truncated(WHAT);
  };
  for (;;) {
    need(1);
    const control = input[at]!;
    if (control === 0) return at + 1;
    if (control === 1 || control >= 0xe0) {
      dictionaryStart = out.length;
      needDictionary = false;
      needProperties = true;
    }
    if (needDictionary) throw corrupt(WHAT, 'LZMA2 does not start with a new dictionary');
    if (control < 0x80) {
      if (control > 2) throw corrupt(WHAT, 'unknown LZMA2 chunk');
      need(3);
      const size = ((input[at + 1]! << 8) | input[at + 2]!) + 1;
      at += 3;
      need(size);
      reserve(out, size);
      out.bytes.set(input.subarray(at, at + size), out.length);
      out.length += size;
      at += size;
    } else {
      need(6);
      const size = (((control & 0x1f) << 16) | (input[at + 1]! << 8) | input[at + 2]!) + 1;
      const compressed = ((input[at + 3]! << 8) | input[at + 4]!) + 1;
      if (control >= 0xc0) {
        setProperties(lzma, input[at + 5]!, WHAT);
        if ((input[at + 5]! % 9) + (Math.floor(input[at + 5]! / 9) % 5) > 4) {
          throw corrupt(WHAT, 'LZMA properties out of range');
        }
        needProperties = false;
        needState = false;
        at += 6;
      } else {
        if (needProperties) throw corrupt(WHAT, 'LZMA2 chunk without properties');
        if (control >= 0xa0) {
          resetState(lzma);
          needState = false;
        } else if (needState) throw corrupt(WHAT, 'LZMA2 chunk without a state');
        at += 5;
      }
      need(compressed);
      reserve(out, size);
      decodeLzma(
        lzma,
        WHAT,
        input,
        at,
        at + compressed,
        out.bytes,
        out.length,
        out.length + size,
        dictionaryStart,
        dictionarySize,
        true,
      );
      out.length += size;
      at += compressed;
    }
    if (progress) yield out.length;
  }
}

/** Check that index and footer say what the blocks were; return the stream's end. */
function indexAndFooter(
  input: Uint8Array,
  start: number,
  streamStart: number,
  blocks: readonly { unpadded: number; uncompressed: number }[],
): number {
  const [count, recordsStart] = varint(input, start + 1, input.length);
  let at = recordsStart;
  if (count !== blocks.length) throw corrupt(WHAT, 'index has another number of blocks');
  for (const block of blocks) {
    let unpadded: number;
    let uncompressed: number;
    [unpadded, at] = varint(input, at, input.length);
    [uncompressed, at] = varint(input, at, input.length);
    if (unpadded !== block.unpadded || uncompressed !== block.uncompressed) {
      throw corrupt(WHAT, 'index does not fit the blocks');
    }
  }
  for (; (at - start) & 3; at++) if (input[at] !== 0) throw corrupt(WHAT, 'padding is not zero');
  if (input.length - at < 16) throw truncated(WHAT);
  if (crcField(input, at) !== crc32(input.subarray(start, at)))
    throw corrupt(WHAT, 'index checksum is wrong');
  at += 4;
  const backwardBytes = (crcField(input, at + 4) + 1) * 4;
  if (
    crcField(input, at) !== crc32(input.subarray(at + 4, at + 10)) ||
    backwardBytes !== at - start ||
    input[at + 8] !== input[streamStart + 6] ||
    input[at + 9] !== input[streamStart + 7] ||
    input[at + 10] !== FOOTER_MAGIC[0] ||
    input[at + 11] !== FOOTER_MAGIC[1]
  ) {
    throw corrupt(WHAT, 'stream footer is wrong');
  }
  return at + 12;
}
