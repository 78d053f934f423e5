/**
 * The headers of tar archives: ustar, GNU long names, and the pax records that say what a file is (path, linkpath, size, uid,
 * gid, mtime, extended attributes). No input or output: who has the blocks hands them in, from memory or from a stream.
 *
 * Source: POSIX.1-2017 pax; GNU tar manual, "Basic Tar Format"; SCHILY.xattr as star and libarchive write it.
 */
import { corrupt, tooLarge, unsupported } from '../compress/errors.ts';

export const WHAT = 'tar archive';
export const BLOCK_BYTES = 512;
/** Names and pax records longer than this are nobody's. */
const LONG_LIMIT_BYTES = 1 << 20;
const XATTR_PREFIX = 'SCHILY.xattr.';

export type TarType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hardlink'
  | 'char-device'
  | 'block-device'
  | 'fifo'
  | 'other';

export interface TarHeader {
  /** As the archive has it, less a leading `./`. Not made safe: a user of it must not join it to a host path as it is. */
  readonly name: string;
  readonly type: TarType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, with their fraction. */
  readonly mtime: number;
  readonly link: string;
  readonly size: number;
  /** Of a device. */
  readonly major: number;
  readonly minor: number;
  /** Extended attributes by their full name: `security.capability`. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

const TYPES: Readonly<Record<string, TarType>> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
};

/** Names are bytes to Linux. Those that are no text are refused rather than changed. */
const strict = new TextDecoder('utf-8', { fatal: true });
function text(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    throw unsupported(WHAT, 'a name in it is not UTF-8');
  }
}

function field(block: Uint8Array, offset: number, length: number): Uint8Array {
  let end = offset;
  while (end < offset + length && block[end] !== 0) end++;
  return block.subarray(offset, end);
}

function number(block: Uint8Array, offset: number, length: number): number {
  if (block[offset]! & 0x80) {
    // GNU: big-endian binary for what octal digits cannot hold; two's complement, so that times before 1970 have a form.
    const isNegative = block[offset] === 0xff;
    let value = isNegative ? -1 : block[offset]! & 0x7f;
    for (let i = 1; i < length; i++) value = value * 256 + block[offset + i]!;
    if (!Number.isSafeInteger(value)) throw corrupt(WHAT, 'number out of range');
    return value;
  }
  const digits = String.fromCharCode(...field(block, offset, length)).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw corrupt(WHAT, 'bad number in a header');
  return Number.parseInt(digits, 8);
}

function checksumIsRight(block: Uint8Array): boolean {
  let sum = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? 0x20 : block[i]!;
  return sum === number(block, 148, 8);
}

/** Records of a pax header: `LENGTH KEY=VALUE\n` each. Values are bytes: those of extended attributes are no text. */
function paxRecords(data: Uint8Array): Map<string, Uint8Array> {
  const records = new Map<string, Uint8Array>();
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(text(data.subarray(at, space)));
    if (!Number.isInteger(length) || length < space - at + 4 || at + length > data.length) {
      throw corrupt(WHAT, 'bad pax record');
    }
    const record = data.subarray(space + 1, at + length - 1);
    const equals = record.indexOf(0x3d);
    if (equals < 1) throw corrupt(WHAT, 'bad pax record');
    records.set(text(record.subarray(0, equals)), record.slice(equals + 1));
    at += length;
  }
  return records;
}

/** What a header block asks for next. */
export type TarStep =
  | { readonly kind: 'end' }
  /** So many bytes follow that belong to the next header: hand them to `extension`. */
  | { readonly kind: 'extension'; readonly size: number }
  /** `header.size` bytes of contents follow. */
  | { readonly kind: 'entry'; readonly header: TarHeader };

/** Contents fill whole blocks. */
export const paddedSize = (size: number): number => Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;

export class TarHeaders {
  #pending = '';
  #longName: string | undefined;
  #longLink: string | undefined;
  #pax = new Map<string, Uint8Array>();

  /** @throws DomusError E_IMAGE_CORRUPT, E_IMAGE_TOO_LARGE, E_IMAGE_UNSUPPORTED */
  next(block: Uint8Array): TarStep {
    if (block.every(byte => byte === 0)) return { kind: 'end' };
    if (!checksumIsRight(block)) throw corrupt(WHAT, 'header checksum is wrong');
    const type = String.fromCharCode(block[156]!);
    if (type === 'x' || type === 'L' || type === 'K' || type === 'g') {
      const size = number(block, 124, 12);
      if (size < 0) throw corrupt(WHAT, 'bad size');
      if (size > LONG_LIMIT_BYTES) throw tooLarge(`${WHAT} header`, LONG_LIMIT_BYTES);
      this.#pending = type;
      return { kind: 'extension', size };
    }
    if (type === 'S' || this.#pax.has('GNU.sparse.major')) {
      throw unsupported(WHAT, 'it has sparse files');
    }
    const header = this.#header(block, type);
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#pax = new Map();
    return { kind: 'entry', header };
  }

  extension(data: Uint8Array): void {
    if (this.#pending === 'x') this.#pax = paxRecords(data);
    else if (this.#pending === 'L') this.#longName = text(field(data, 0, data.length));
    else if (this.#pending === 'K') this.#longLink = text(field(data, 0, data.length));
  }

  #header(block: Uint8Array, type: string): TarHeader {
    const paxText = (key: string): string | undefined => {
      const value = this.#pax.get(key);
      return value && text(value);
    };
    const paxNumber = (key: string): number | undefined => {
      const value = paxText(key);
      if (value === undefined) return undefined;
      if (!/^-?\d+(\.\d*)?$/.test(value)) throw corrupt(WHAT, `bad ${key}`);
      return Number(value);
    };
    const whole = (key: string, offset: number, length: number): number => {
      const value = paxNumber(key) ?? number(block, offset, length);
      if (!Number.isSafeInteger(value) || value < 0) throw corrupt(WHAT, `bad ${key}`);
      return value;
    };
    const isUstar = String.fromCharCode(...field(block, 257, 5)) === 'ustar';
    const isPosix = isUstar && block[262] === 0;
    const prefix = isPosix ? text(field(block, 345, 155)) : '';
    const shortName = text(field(block, 0, 100));
    const name = paxText('path') ?? this.#longName ?? (prefix === '' ? shortName : `${prefix}/${shortName}`);
    const xattrs = new Map<string, Uint8Array>();
    for (const [key, value] of this.#pax) {
      if (key.startsWith(XATTR_PREFIX)) xattrs.set(key.slice(XATTR_PREFIX.length), value);
    }
    return {
      name: name.replace(/^(\.\/)+/, ''),
      type: TYPES[type] ?? 'other',
      mode: number(block, 100, 8) & 0o7777,
      uid: whole('uid', 108, 8),
      gid: whole('gid', 116, 8),
      mtime: paxNumber('mtime') ?? number(block, 136, 12),
      link: paxText('linkpath') ?? this.#longLink ?? text(field(block, 157, 100)),
      size: whole('size', 124, 12),
      major: isUstar ? number(block, 329, 8) : 0,
      minor: isUstar ? number(block, 337, 8) : 0,
      xattrs,
    };
  }
}
