/**
 * Reads tar archives: ustar, GNU long names, and the pax records that matter for contents (path, linkpath, size).
 *
 * Works on a ByteSource and asks only for what it visits, so a caller that stops at the file it wants leaves the rest
 * packed. Source: POSIX.1-2017 pax; GNU tar manual, "Basic Tar Format".
 */
import { corrupt, tooLarge, truncated } from '../compress/errors.ts';
import type { ByteSource } from '../compress/source.ts';

const WHAT = 'tar archive';
const BLOCK_BYTES = 512;
/** Names and pax records longer than this are nobody's. */
const LONG_LIMIT_BYTES = 1 << 20;

export type TarType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'other';

export interface TarEntry {
  /** As the archive has it, less a leading `./`. Not made safe: a user of it must not join it to a host path as it is. */
  readonly name: string;
  readonly type: TarType;
  readonly mode: number;
  readonly link: string;
  readonly size: number;
  /** A copy of the contents; unpacks as far as needed. */
  read(): Uint8Array;
}

const TYPES: Readonly<Record<string, TarType>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '5': 'directory',
};

const decoder = new TextDecoder();

function field(block: Uint8Array, offset: number, length: number): string {
  let end = offset;
  while (end < offset + length && block[end] !== 0) end++;
  return decoder.decode(block.subarray(offset, end));
}

function number(block: Uint8Array, offset: number, length: number): number {
  if (block[offset]! & 0x80) {
    // GNU: big-endian binary for what octal digits cannot hold.
    let value = block[offset]! & 0x7f;
    for (let i = 1; i < length; i++) value = value * 256 + block[offset + i]!;
    if (!Number.isSafeInteger(value)) throw corrupt(WHAT, 'number out of range');
    return value;
  }
  const digits = field(block, offset, length).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw corrupt(WHAT, 'bad number in a header');
  return Number.parseInt(digits, 8);
}

function checksumIsRight(block: Uint8Array): boolean {
  let sum = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? 0x20 : block[i]!;
  return sum === number(block, 148, 8);
}

/** Records of a pax header: `LENGTH KEY=VALUE\n` each. */
function paxRecords(data: Uint8Array): Map<string, string> {
  const records = new Map<string, string>();
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(decoder.decode(data.subarray(at, space)));
    if (!Number.isInteger(length) || length < space - at + 4 || at + length > data.length) {
      throw corrupt(WHAT, 'bad pax record');
    }
    const record = decoder.decode(data.subarray(space + 1, at + length - 1));
    const equals = record.indexOf('=');
    if (equals < 1) throw corrupt(WHAT, 'bad pax record');
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return records;
}

/** The entries of an archive, in order. */
export function* readTar(source: ByteSource): Generator<TarEntry> {
  let at = 0;
  let longName: string | undefined;
  let longLink: string | undefined;
  let pax = new Map<string, string>();
  const copy = (start: number, size: number): Uint8Array => {
    if (!source.ensure(start + size)) throw truncated(WHAT);
    return source.bytes.slice(start, start + size);
  };
  for (;;) {
    // An archive ends with two zero blocks, or, from some writers, just so.
    if (!source.ensure(at + 1)) return;
    const block = copy(at, BLOCK_BYTES);
    if (block.every(byte => byte === 0)) return;
    if (!checksumIsRight(block)) throw corrupt(WHAT, 'header checksum is wrong');
    at += BLOCK_BYTES;
    const type = String.fromCharCode(block[156]!);
    const paxSize = pax.get('size');
    const size =
      paxSize === undefined || type === 'x' || type === 'g' ? number(block, 124, 12) : Number(paxSize);
    if (!Number.isSafeInteger(size) || size < 0) throw corrupt(WHAT, 'bad size');
    const start = at;
    at += Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;

    if (type === 'x' || type === 'L' || type === 'K' || type === 'g') {
      if (size > LONG_LIMIT_BYTES) throw tooLarge(`${WHAT} header`, LONG_LIMIT_BYTES);
      const data = copy(start, size);
      if (type === 'x') pax = paxRecords(data);
      else if (type === 'L') longName = field(data, 0, size);
      else if (type === 'K') longLink = field(data, 0, size);
      continue;
    }
    const prefix = field(block, 257, 6) === 'ustar' ? field(block, 345, 155) : '';
    const shortName = field(block, 0, 100);
    const name = pax.get('path') ?? longName ?? (prefix === '' ? shortName : `${prefix}/${shortName}`);
    yield {
      name: name.replace(/^(\.\/)+/, ''),
      type: TYPES[type] ?? 'other',
      mode: number(block, 100, 8) & 0o7777,
      link: pax.get('linkpath') ?? longLink ?? field(block, 157, 100),
      size,
      read: () => copy(start, size),
    };
    longName = undefined;
    longLink = undefined;
    pax = new Map();
  }
}
