/**
 * Writes tar archives in the form that every tar reads: ustar headers, GNU's long names, GNU's binary numbers for what octal
 * digits cannot hold.
 *
 * Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Extensions to the Archive Format".
 */
import { BLOCK_BYTES, paddedSize } from './tar-headers.ts';

export interface TarMember {
  /** As it is to stand in the archive; a folder's ends with a slash. */
  readonly name: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly mode: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Bytes of contents, which are to follow, filled up with `padding`. */
  readonly size: number;
  /** Of a symbolic link. */
  readonly link?: string;
}

const NAME_BYTES = 100;
const TYPE = { file: '0', directory: '5', symlink: '2' } as const;
const LONG_NAME = 'L';
const LONG_LINK = 'K';
const encoder = new TextEncoder();

/** `width` bytes: octal digits and a NUL, or, for what needs more, a big-endian number with the first bit set. */
function putNumber(block: Uint8Array, at: number, width: number, value: number): void {
  const digits = Math.max(0, Math.trunc(value)).toString(8);
  if (digits.length < width) {
    block.set(encoder.encode(digits.padStart(width - 1, '0')), at);
    return;
  }
  let rest = BigInt(Math.trunc(value));
  for (let i = width - 1; i > 0; i--, rest >>= 8n) block[at + i] = Number(rest & 0xffn);
  block[at] = 0x80;
}

function headerBlock(
  member: Omit<TarMember, 'name' | 'link' | 'type'>,
  type: string,
  name: Uint8Array,
  link: Uint8Array,
) {
  const block = new Uint8Array(BLOCK_BYTES);
  block.set(name.subarray(0, NAME_BYTES), 0);
  putNumber(block, 100, 8, member.mode);
  putNumber(block, 108, 8, 0);
  putNumber(block, 116, 8, 0);
  putNumber(block, 124, 12, member.size);
  putNumber(block, 136, 12, member.mtime);
  block.fill(0x20, 148, 156);
  block[156] = type.charCodeAt(0);
  block.set(link.subarray(0, NAME_BYTES), 157);
  block.set(encoder.encode('ustar  \0'), 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.set(encoder.encode(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
  return block;
}

/** An extension: what does not fit into the next header. */
function longText(type: string, text: Uint8Array): Uint8Array[] {
  if (text.length <= NAME_BYTES) return [];
  const size = text.length + 1;
  const contents = new Uint8Array(paddedSize(size));
  contents.set(text);
  const header = headerBlock(
    { mode: 0, mtime: 0, size },
    type,
    encoder.encode('././@LongLink'),
    new Uint8Array(0),
  );
  return [header, contents];
}

/** What stands before a member's contents. The owner is root. */
export function tarHeader(member: TarMember): Uint8Array {
  const name = encoder.encode(member.name);
  const link = encoder.encode(member.link ?? '');
  const blocks = [
    ...longText(LONG_LINK, link),
    ...longText(LONG_NAME, name),
    headerBlock(member, TYPE[member.type], name, link),
  ];
  const header = new Uint8Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    header.set(block, at);
    at += block.length;
  }
  return header;
}

/** What fills the last block of contents. */
export const padding = (size: number): Uint8Array => new Uint8Array(paddedSize(size) - size);
/** What ends an archive. */
export const TAR_END = new Uint8Array(2 * BLOCK_BYTES);
