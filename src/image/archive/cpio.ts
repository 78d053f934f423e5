/**
 * cpio archives in the "newc" format, which is what a Linux kernel unpacks as its initramfs.
 *
 * Archives may follow one another, padded with zeros to four bytes; later entries replace earlier ones. That is how the parts that
 * differ from run to run are put behind the part that is always the same.
 * Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
 */
import { invariant } from '../../base/errors.ts';
import { corrupt, truncated } from '../compress/errors.ts';

const WHAT = 'cpio archive';
const MAGIC = '070701';
const HEADER_BYTES = 110;
const TRAILER = 'TRAILER!!!';
const NAME_LIMIT_BYTES = 4096;

// File types in `mode`.
const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

export type CpioEntry =
  | { readonly type: 'file'; readonly name: string; readonly mode: number; readonly data: Uint8Array }
  | { readonly type: 'directory'; readonly name: string; readonly mode: number }
  | { readonly type: 'symlink'; readonly name: string; readonly target: string }
  | {
      readonly type: 'char-device';
      readonly name: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const pad4 = (n: number): number => (n + 3) & ~3;

interface Encoded {
  name: Uint8Array;
  data: Uint8Array;
  mode: number;
  major: number;
  minor: number;
}

function encode(entry: CpioEntry): Encoded {
  const name = encoder.encode(entry.name);
  invariant(name.length < NAME_LIMIT_BYTES && !name.includes(0), `name of a cpio entry: ${entry.name}`);
  const plain = { name, data: new Uint8Array(0), major: 0, minor: 0 };
  switch (entry.type) {
    case 'file':
      return { ...plain, mode: S_IFREG | entry.mode, data: entry.data };
    case 'directory':
      return { ...plain, mode: S_IFDIR | entry.mode };
    case 'symlink':
      return { ...plain, mode: S_IFLNK | 0o777, data: encoder.encode(entry.target) };
    case 'char-device':
      return { ...plain, mode: S_IFCHR | entry.mode, major: entry.major, minor: entry.minor };
  }
}

/** Write an archive. Owner is root and time is zero, so that equal entries give equal bytes. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const trailer: Encoded = {
    name: encoder.encode(TRAILER),
    data: new Uint8Array(0),
    mode: 0,
    major: 0,
    minor: 0,
  };
  const all = [...entries.map(encode), trailer];
  let size = 0;
  for (const { name, data } of all) size = pad4(size + HEADER_BYTES + name.length + 1) + pad4(data.length);
  const archive = new Uint8Array(size);
  let at = 0;
  all.forEach(({ name, data, mode, major, minor }, index) => {
    const isTrailer = index === all.length - 1;
    const links = (mode & S_IFMT) === S_IFDIR ? 2 : 1;
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    const fields = [
      isTrailer ? 0 : index + 1,
      mode,
      0,
      0,
      links,
      0,
      data.length,
      0,
      0,
      major,
      minor,
      name.length + 1,
      0,
    ];
    const header = MAGIC + fields.map(value => value.toString(16).padStart(8, '0')).join('');
    encoder.encodeInto(header, archive.subarray(at));
    archive.set(name, at + HEADER_BYTES);
    at = pad4(at + HEADER_BYTES + name.length + 1);
    archive.set(data, at);
    at += pad4(data.length);
  });
  return archive;
}

/** Put archives behind one another. */
export function joinCpio(...archives: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(archives.reduce((sum, archive) => pad4(sum) + archive.length, 0));
  let at = 0;
  for (const archive of archives) {
    at = pad4(at);
    joined.set(archive, at);
    at += archive.length;
  }
  return joined;
}

/** The entries of one archive or of several behind one another. Entries of kinds that have no use here are left out. */
export function* readCpio(archive: Uint8Array): Generator<CpioEntry> {
  let at = 0;
  while (at < archive.length) {
    if (archive[at] === 0) {
      at++;
      continue;
    }
    if (archive.length - at < HEADER_BYTES) throw truncated(WHAT);
    const header = decoder.decode(archive.subarray(at, at + HEADER_BYTES));
    if (!header.startsWith(MAGIC)) throw corrupt(WHAT, 'bad magic number');
    const hex = header.slice(MAGIC.length);
    if (!/^[0-9a-fA-F]{104}$/.test(hex)) throw corrupt(WHAT, 'bad header');
    const value = (index: number): number => Number.parseInt(hex.slice(index * 8, index * 8 + 8), 16);
    const nameBytes = value(11);
    const dataBytes = value(6);
    if (nameBytes < 2 || nameBytes > NAME_LIMIT_BYTES) throw corrupt(WHAT, 'bad name length');
    const dataStart = at + pad4(HEADER_BYTES + nameBytes);
    if (dataStart > archive.length || dataBytes > archive.length - dataStart) throw truncated(WHAT);
    const name = decoder.decode(archive.subarray(at + HEADER_BYTES, at + HEADER_BYTES + nameBytes - 1));
    const data = archive.subarray(dataStart, dataStart + dataBytes);
    const alignment = at & 3;
    at = dataStart + pad4(dataBytes);
    if (alignment !== 0) throw corrupt(WHAT, 'entry at an odd place');
    if (name === TRAILER) continue;
    const mode = value(1) & 0o7777;
    const kind = value(1) & S_IFMT;
    if (kind === S_IFREG) yield { type: 'file', name, mode, data };
    else if (kind === S_IFDIR) yield { type: 'directory', name, mode };
    else if (kind === S_IFLNK) yield { type: 'symlink', name, target: decoder.decode(data) };
    else if (kind === S_IFCHR) yield { type: 'char-device', name, mode, major: value(9), minor: value(10) };
  }
}
