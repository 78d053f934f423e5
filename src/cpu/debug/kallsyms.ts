/**
 * The symbol table that a Linux kernel carries with it (kallsyms), read from a running guest's memory.
 *
 * Nothing says where it is, so it is found by its shape: the token table has the strings "0" to "9" one after the
 * other, the token index behind it says where the table starts, markers before it count the bytes of every 256 names.
 * Every step is checked against the next, and whatever does not fit means that there is no table.
 * Layout: Linux scripts/kallsyms.c, as of 6.1 (addresses before the names) and 6.4 (addresses after the index).
 */
import type { CpuEngine } from '../engine.ts';

export type KernelSymbol = readonly [address: bigint, name: string];

const IMAGE_START = 0xffff_ffff_8000_0000n;
const IMAGE_END = 0xffff_ffff_c000_0000n;
const LARGE_PAGE = 2 << 20;
const PAGE = 4096;
const IMAGE_BYTES_MAX = 256 << 20;
const TOKENS = 256;
const DIGITS = Uint8Array.from('0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00', c => c.charCodeAt(0));
const DIGIT_ZERO = 0x30;
const NAMES_A_MARKER = 256;
const SYMBOLS_MAX = 1 << 20;
const SYMBOLS_MIN = 1000;
/** How far before the token table the names may begin. */
const TABLES_BYTES_MAX = 16 << 20;

/** Symbols of the kernel that the vCPU's address space has mapped; empty when there is none or it is not understood. */
export function readKallsyms(engine: CpuEngine, cpu: number): KernelSymbol[] {
  return findKallsyms(readKernelImage(engine, cpu));
}

/** The kernel's mapping, in one piece; pages that are not there are zero. */
function readKernelImage(engine: CpuEngine, cpu: number): Uint8Array {
  const isMapped = (address: bigint) => engine.runtime.translate(cpu, address, 0, 1) !== 0;
  const step = BigInt(LARGE_PAGE);
  let start = IMAGE_START;
  while (start < IMAGE_END && !isMapped(start)) start += step;
  let end = start;
  // A hole of one large page (freed memory) does not end it.
  while (end < IMAGE_END && (isMapped(end) || isMapped(end + step))) end += step;
  const sizeBytes = Math.min(Number(end - start), IMAGE_BYTES_MAX);
  const image = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += PAGE) {
    const address = engine.runtime.translate(cpu, start + BigInt(at), 0, 1) >>> 0;
    if (address !== 0) image.set(engine.memory.u8.subarray(address, address + PAGE), at);
  }
  return image;
}

/** Look for the tables in a kernel image. */
export function findKallsyms(image: Uint8Array): KernelSymbol[] {
  for (let at = indexOfBytes(image, DIGITS, 0); at >= 0; at = indexOfBytes(image, DIGITS, at + 1)) {
    const symbols = tablesAround(image, at);
    if (symbols !== undefined) return symbols;
  }
  return [];
}

function indexOfBytes(image: Uint8Array, wanted: Uint8Array, from: number): number {
  for (let at = image.indexOf(wanted[0]!, from); at >= 0; at = image.indexOf(wanted[0]!, at + 1)) {
    let same = 1;
    while (same < wanted.length && image[at + same] === wanted[same]) same++;
    if (same === wanted.length) return at;
  }
  return -1;
}

const align8 = (n: number): number => (n + 7) & ~7;

function tablesAround(image: Uint8Array, digits: number): KernelSymbol[] | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  let end = digits;
  for (let token = DIGIT_ZERO; token < TOKENS; token++) {
    end = image.indexOf(0, end) + 1;
    if (end === 0 || end - digits > 0x8000) return undefined;
  }
  const index = align8(end);
  if (index + 2 * TOKENS > image.length) return undefined;
  const tokenTable = digits - view.getUint16(index + 2 * DIGIT_ZERO, true);
  const tokens = readTokens(image, view, tokenTable, index);
  if (!tokens) return undefined;

  const names = namesBefore(image, view, tokenTable);
  if (!names) return undefined;
  const addresses = addressesOf(view, names.start, names.count, index + 2 * TOKENS);
  if (!addresses) return undefined;
  return expandNames(image, names.start, names.count, tokens).map((name, i) => [
    addresses[i] as bigint,
    name,
  ]);
}

function readTokens(image: Uint8Array, view: DataView, table: number, index: number): string[] | undefined {
  const tokens: string[] = [];
  let expected = 0;
  for (let i = 0; i < TOKENS; i++) {
    const offset = view.getUint16(index + 2 * i, true);
    if (offset !== expected) return undefined;
    const end = image.indexOf(0, table + offset);
    if (table < 0 || end < 0 || end >= index) return undefined;
    tokens.push(String.fromCharCode(...image.subarray(table + offset, end)));
    expected = end + 1 - table;
  }
  return tokens;
}

/**
 * The number of names, the names, markers, and in later kernels three bytes for each name to search by; then comes the
 * token table. The number is recognized by everything else fitting it.
 */
function namesBefore(
  image: Uint8Array,
  view: DataView,
  tokenTable: number,
): { start: number; count: number } | undefined {
  const limit = Math.max(8, tokenTable - TABLES_BYTES_MAX);
  for (let start = tokenTable & ~7; start >= limit; start -= 8) {
    const count = view.getUint32(start - 8, true);
    if (count < SYMBOLS_MIN || count > SYMBOLS_MAX || view.getUint32(start - 4, true) !== 0) continue;
    if (namesFit(image, view, start, count, tokenTable)) return { start, count };
  }
  return undefined;
}

/** Length of a name in tokens, and of the length itself: one byte, or two when the first has its top bit set. */
function nameLength(image: Uint8Array, at: number): { tokens: number; head: number } {
  const first = image[at] as number;
  return (first & 0x80) === 0
    ? { tokens: first, head: 1 }
    : { tokens: (first & 0x7f) | ((image[at + 1] as number) << 7), head: 2 };
}

function namesFit(image: Uint8Array, view: DataView, start: number, count: number, end: number): boolean {
  const places: number[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    if (at >= end) return false;
    if (i % NAMES_A_MARKER === 0) places.push(at - start);
    const { tokens, head } = nameLength(image, at);
    if (tokens === 0) return false;
    at += head + tokens;
  }
  const markers = align8(at);
  const behind = align8(markers + 4 * places.length);
  if (behind !== end && align8(behind + 3 * count) !== end) return false;
  return places.every((place, i) => view.getUint32(markers + 4 * i, true) === place);
}

function expandNames(image: Uint8Array, start: number, count: number, tokens: readonly string[]): string[] {
  const names: string[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    const { tokens: length, head } = nameLength(image, at);
    let name = '';
    for (let k = 0; k < length; k++) name += tokens[image[at + head + k] as number];
    // The first character is the kind of symbol, as nm prints it.
    names.push(name.slice(1));
    at += head + length;
  }
  return names;
}

function addressesOf(view: DataView, names: number, count: number, afterIndex: number): bigint[] | undefined {
  const size = align8(count * 4);
  // Before the names: addresses, their base, the number of names. Or all behind the token index.
  for (const [offsets, base] of [
    [names - 16 - size, names - 16],
    [align8(afterIndex), align8(afterIndex) + size],
  ] as const) {
    if (offsets < 0 || base + 8 > view.byteLength) continue;
    const relativeBase = view.getBigUint64(base, true);
    if (relativeBase < IMAGE_START || relativeBase >= IMAGE_END) continue;
    const values = Array.from({ length: count }, (_, i) => view.getInt32(offsets + 4 * i, true));
    // Negative offsets are relative, others absolute (per-CPU variables); or all are relative and unsigned.
    const isSigned = values.filter(value => value < 0).length > count / 2;
    return values.map(value => {
      if (!isSigned) return relativeBase + BigInt(value >>> 0);
      return value < 0 ? relativeBase - 1n - BigInt(value) : BigInt(value);
    });
  }
  return undefined;
}
