/**
 * A trail (hypervisor/trail.ts) as a file of the user's own:
 *
 *     TrailHeader | looks, read ones first | code frames | pages | code
 *
 * The header names the saved machine and the version of Domus that it belongs to. Who can write the file could make a guest execute something else
 * than its memory holds. Pages and code have no checksum: on their way they are in no processor's cache but that of the thread that reads them, and
 * to look at all of them again takes as long as reading. What can be found under the file's name is what was written, as with any program.
 */
import { PAGE_SIZE } from '../base/brand.ts';
import { bytes, struct, u32, u64 } from '../base/struct.ts';
import { type KeptTrail, LOOKS_MAX, type Trail } from '../hypervisor/trail.ts';
import { crc32 } from '../platform/node/checksum.ts';
import { closeOwnFile, openOwnFile, writeOwnFile } from '../platform/node/private-files.ts';
import { readFully, readInPool } from '../platform/node/random-files.ts';
import type { SavedIdentity } from './file.ts';

/** "DOMT", and the version of what follows. */
const MAGIC = 0x544d_4f44;
const FORMAT = 2;
const PROGRAM_BYTES = 64;
/** Three numbers with at most 20 digits, and what is between them. */
const FILE_BYTES = 64;
/** More than a short command ever decodes. */
const CODE_BYTES_MAX = 32 << 20;
const WORDS = 2;

/** What a trail belongs to: a saved machine's identity (file.ts), and a version of the program. */
export const TrailKey = struct('trail_key', {
  /** Its digests (platform/node/files.ts), padded with zeros. */
  program: bytes(PROGRAM_BYTES),
  /** Text, padded with zeros. */
  file: bytes(FILE_BYTES),
  sizeBytes: u64,
  crc: u32,
  _pad: u32,
});

export function trailKey(program: Uint8Array, { file, sizeBytes, crc }: SavedIdentity): Uint8Array {
  const key = new Uint8Array(TrailKey.size);
  const fields = TrailKey.at(new DataView(key.buffer), 0);
  fields.program.set(program);
  fields.file.set(new TextEncoder().encode(file));
  fields.sizeBytes = BigInt(sizeBytes);
  fields.crc = crc;
  return key;
}

export const TrailHeader = struct('trail', {
  magic: u32,
  format: u32,
  key: bytes(TrailKey.size),
  nrRead: u32,
  nrExecuted: u32,
  nrFrames: u32,
  codeBase: u32,
  codeBytes: u32,
  /** Of looks and code frames. */
  tablesCrc: u32,
  /** Of the bytes before it. */
  crc: u32,
});

/** How long the tables of a trail are. */
const tableBytes = (nrLooks: number, nrFrames: number): number => (nrLooks + nrFrames) * WORDS * 4;

/**
 * Write a trail. Of a longer one the code is left out. Returns whether it worked.
 * @param key of what it belongs to, see `TrailKey`
 * @param readPage gives a page of the saved machine
 */
export function writeTrail(
  path: string,
  key: Uint8Array,
  { read, executed, code }: Trail,
  readPage: (page: number, into: Uint8Array) => void,
): boolean {
  const kept = code && code.bytes.length <= CODE_BYTES_MAX ? code : undefined;
  const frames = kept?.frames ?? new Uint32Array(0);
  const looks = [...read, ...executed];
  const tables = tableBytes(looks.length, frames.length / WORDS);
  const pagesFrom = TrailHeader.size + tables;
  const codeFrom = pagesFrom + read.length * PAGE_SIZE;
  const file = new Uint8Array(codeFrom + (kept?.bytes.length ?? 0));
  const words = new Uint32Array(file.buffer, TrailHeader.size, tables / 4);
  let at = 0;
  for (const { gfn, page } of looks) {
    words[at++] = gfn;
    words[at++] = page;
  }
  words.set(frames, at);
  for (const [i, { page }] of read.entries()) {
    const from = pagesFrom + i * PAGE_SIZE;
    readPage(page, file.subarray(from, from + PAGE_SIZE));
  }
  if (kept) file.set(kept.bytes, codeFrom);
  const header = TrailHeader.at(new DataView(file.buffer), 0);
  header.magic = MAGIC;
  header.format = FORMAT;
  header.key.set(key);
  header.nrRead = read.length;
  header.nrExecuted = executed.length;
  header.nrFrames = frames.length / WORDS;
  header.codeBase = kept?.base ?? 0;
  header.codeBytes = kept?.bytes.length ?? 0;
  header.tablesCrc = crc32(file.subarray(TrailHeader.size, pagesFrom));
  header.crc = crc32(file.subarray(0, TrailHeader.offsets.crc));
  return writeOwnFile(path, file, true);
}

export interface OpenTrail extends KeptTrail {
  close(): void;
}

/** The trail at `path`; undefined where there is none, it belongs to something else, or it is damaged. */
export function openTrail(path: string, key: Uint8Array): OpenTrail | undefined {
  const file = openOwnFile(path);
  if (!file) return undefined;
  let found: KeptTrail | undefined;
  try {
    found = readTrail(file.fd, file.sizeBytes, key);
  } catch {
    // What cannot be read saves no time.
  }
  if (found) return { ...found, close: () => closeOwnFile(file) };
  closeOwnFile(file);
  return undefined;
}

function readTrail(fd: number, sizeBytes: number, key: Uint8Array): KeptTrail | undefined {
  const head = new Uint8Array(TrailHeader.size);
  if (!readFully(fd, head, 0)) return undefined;
  const header = TrailHeader.at(new DataView(head.buffer), 0);
  const { magic, format, crc, nrRead, nrExecuted, nrFrames, codeBase, codeBytes, tablesCrc } = header;
  if (magic !== MAGIC || format !== FORMAT || crc !== crc32(head.subarray(0, TrailHeader.offsets.crc)))
    return undefined;
  if (key.length !== TrailKey.size || !key.every((byte, i) => byte === header.key[i])) return undefined;
  const nrLooks = nrRead + nrExecuted;
  if (nrLooks > LOOKS_MAX || nrFrames > nrLooks || codeBytes > CODE_BYTES_MAX) return undefined;
  const tables = new Uint8Array(tableBytes(nrLooks, nrFrames));
  const pagesFrom = TrailHeader.size + tables.length;
  const codeFrom = pagesFrom + nrRead * PAGE_SIZE;
  if (sizeBytes !== codeFrom + codeBytes || !readFully(fd, tables, TrailHeader.size)) return undefined;
  if (crc32(tables) !== tablesCrc) return undefined;
  const words = new Uint32Array(tables.buffer);
  const frames = words.subarray(nrLooks * WORDS);
  for (let i = 0; i < frames.length; i += WORDS) if ((frames[i] as number) >= nrLooks) return undefined;
  return {
    looks: words.subarray(0, nrLooks * WORDS),
    nrRead,
    readPagesTo: into => readInPool(fd, into, pagesFrom),
    code: {
      base: codeBase,
      sizeBytes: codeBytes,
      frames,
      readTo: into => readInPool(fd, into, codeFrom),
    },
  };
}
