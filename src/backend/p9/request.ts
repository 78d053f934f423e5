/**
 * Reads one 9P2000.L request out of its copy: what remains is typed, complete and of bounded size. Names are checked here, once:
 * whatever has one as a `name` can use it as the name of an entry of a folder.
 * Sources: the manual of 9P2000; Linux net/9p/client.c for the formats of 9P2000.L.
 */
import { MalformedMessage, MessageReader } from './codec.ts';
import { Errno, HEADER_BYTES, NAME_MAX, T, WALK_MAX } from './protocol.ts';

/** A request that is understood and refused. */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly errno: number;

  constructor(errno: number, message = '') {
    super(message);
    this.errno = errno;
  }
}

export interface SetattrFields {
  /** Bits of `Setattr`. */
  readonly valid: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: bigint;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
}

export interface LockRange {
  readonly type: number;
  readonly start: bigint;
  /** 0: to the end of the file, wherever that will be. */
  readonly length: bigint;
  readonly processId: number;
  readonly clientId: string;
}

/** `folder` is the fid of a folder, `fid` of anything. */
export type Request =
  | { kind: 'version'; messageBytes: number; version: string }
  | { kind: 'auth' }
  | { kind: 'attach'; fid: number; authFid: number; uid: number }
  | { kind: 'flush'; oldTag: number }
  | { kind: 'walk'; fid: number; newFid: number; names: readonly string[] }
  | { kind: 'clunk' | 'remove' | 'statfs' | 'readlink'; fid: number }
  | { kind: 'lopen'; fid: number; flags: number }
  | { kind: 'lcreate'; folder: number; name: string; flags: number; mode: number; gid: number }
  | { kind: 'symlink'; folder: number; name: string; target: string; gid: number }
  | {
      kind: 'mknod';
      folder: number;
      name: string;
      mode: number;
      major: number;
      minor: number;
      gid: number;
    }
  | { kind: 'mkdir'; folder: number; name: string; mode: number; gid: number }
  | { kind: 'rename'; fid: number; folder: number; name: string }
  | { kind: 'renameat'; from: number; name: string; to: number; newName: string }
  | { kind: 'unlinkat'; folder: number; name: string; flags: number }
  | { kind: 'link'; folder: number; fid: number; name: string }
  | { kind: 'getattr'; fid: number; mask: bigint }
  | ({ kind: 'setattr'; fid: number } & SetattrFields)
  | { kind: 'read' | 'readdir'; fid: number; offset: bigint; count: number }
  | { kind: 'write'; fid: number; offset: bigint; data: Uint8Array }
  | { kind: 'fsync'; fid: number; isDataOnly: boolean }
  | { kind: 'xattrwalk'; fid: number; newFid: number; name: string }
  | { kind: 'xattrcreate'; fid: number; name: string; size: bigint; flags: number }
  | ({ kind: 'lock'; fid: number; flags: number } & LockRange)
  | ({ kind: 'getlock'; fid: number } & LockRange);

/** The name of an entry: no path, no way up. */
function entryName(name: string): string {
  if (name === '' || name.includes('/') || name.includes('\0'))
    throw new RequestError(Errno.EINVAL, 'not a name');
  if (name.length > NAME_MAX) throw new RequestError(Errno.ENAMETOOLONG);
  if (name === '.' || name === '..') throw new RequestError(Errno.EINVAL, 'not a name');
  return name;
}

/** In a walk `..` means something. */
const walkName = (name: string): string => (name === '..' ? name : entryName(name));

const NS = 1_000_000_000n;
/** 30,000 years and more, in both directions: no file system has such times. */
const SECONDS_MAX = 1n << 40n;

/** A time as seconds and nanoseconds. Seconds before 1970 come as two's complement. */
function timeNs(read: MessageReader): bigint {
  const seconds = BigInt.asIntN(64, read.u64());
  const nanoseconds = read.u64();
  if (nanoseconds >= NS || seconds > SECONDS_MAX || seconds < -SECONDS_MAX)
    throw new RequestError(Errno.EINVAL, 'not a time');
  return seconds * NS + nanoseconds;
}

function lockRange(read: MessageReader, hasFlags: boolean): LockRange & { flags: number } {
  const type = read.u8();
  const flags = hasFlags ? read.u32() : 0;
  return {
    type,
    flags,
    start: read.u64(),
    length: read.u64(),
    processId: read.u32(),
    clientId: read.string(),
  };
}

function walkNames(read: MessageReader): string[] {
  const count = read.u16();
  if (count > WALK_MAX) throw new RequestError(Errno.EINVAL, 'too many names');
  return Array.from({ length: count }, () => walkName(read.string()));
}

type Parser = (read: MessageReader) => Request;

// The fields stand in the order of the message: object literals are evaluated in the order in which they are written.
const PARSERS: Readonly<Record<number, Parser>> = {
  [T.version]: read => ({ kind: 'version', messageBytes: read.u32(), version: read.string() }),
  [T.auth]: read => {
    read.u32();
    read.string();
    read.string();
    read.u32();
    return { kind: 'auth' };
  },
  [T.attach]: read => {
    const [fid, authFid] = [read.u32(), read.u32()];
    // The user's name and what is to be attached: there is only one folder, and users are numbers.
    read.string();
    read.string();
    return { kind: 'attach', fid, authFid, uid: read.u32() };
  },
  [T.flush]: read => ({ kind: 'flush', oldTag: read.u16() }),
  [T.walk]: read => ({ kind: 'walk', fid: read.u32(), newFid: read.u32(), names: walkNames(read) }),
  [T.clunk]: read => ({ kind: 'clunk', fid: read.u32() }),
  [T.remove]: read => ({ kind: 'remove', fid: read.u32() }),
  [T.statfs]: read => ({ kind: 'statfs', fid: read.u32() }),
  [T.readlink]: read => ({ kind: 'readlink', fid: read.u32() }),
  [T.lopen]: read => ({ kind: 'lopen', fid: read.u32(), flags: read.u32() }),
  [T.lcreate]: read => ({
    kind: 'lcreate',
    folder: read.u32(),
    name: entryName(read.string()),
    flags: read.u32(),
    mode: read.u32(),
    gid: read.u32(),
  }),
  [T.symlink]: read => {
    const folder = read.u32();
    const name = entryName(read.string());
    const target = read.string();
    if (target === '' || target.includes('\0')) throw new RequestError(Errno.ENOENT, 'not a target');
    return { kind: 'symlink', folder, name, target, gid: read.u32() };
  },
  [T.mknod]: read => ({
    kind: 'mknod',
    folder: read.u32(),
    name: entryName(read.string()),
    mode: read.u32(),
    major: read.u32(),
    minor: read.u32(),
    gid: read.u32(),
  }),
  [T.mkdir]: read => ({
    kind: 'mkdir',
    folder: read.u32(),
    name: entryName(read.string()),
    mode: read.u32(),
    gid: read.u32(),
  }),
  [T.rename]: read => ({
    kind: 'rename',
    fid: read.u32(),
    folder: read.u32(),
    name: entryName(read.string()),
  }),
  [T.renameat]: read => ({
    kind: 'renameat',
    from: read.u32(),
    name: entryName(read.string()),
    to: read.u32(),
    newName: entryName(read.string()),
  }),
  [T.unlinkat]: read => ({
    kind: 'unlinkat',
    folder: read.u32(),
    name: entryName(read.string()),
    flags: read.u32(),
  }),
  [T.link]: read => ({ kind: 'link', folder: read.u32(), fid: read.u32(), name: entryName(read.string()) }),
  [T.getattr]: read => ({ kind: 'getattr', fid: read.u32(), mask: read.u64() }),
  [T.setattr]: read => ({
    kind: 'setattr',
    fid: read.u32(),
    valid: read.u32(),
    mode: read.u32(),
    uid: read.u32(),
    gid: read.u32(),
    size: read.u64(),
    atimeNs: timeNs(read),
    mtimeNs: timeNs(read),
  }),
  [T.read]: read => ({ kind: 'read', fid: read.u32(), offset: read.u64(), count: read.u32() }),
  [T.readdir]: read => ({ kind: 'readdir', fid: read.u32(), offset: read.u64(), count: read.u32() }),
  [T.write]: read => ({
    kind: 'write',
    fid: read.u32(),
    offset: read.u64(),
    data: read.bytes(read.u32()),
  }),
  [T.fsync]: read => ({ kind: 'fsync', fid: read.u32(), isDataOnly: read.u32() !== 0 }),
  [T.xattrwalk]: read => ({ kind: 'xattrwalk', fid: read.u32(), newFid: read.u32(), name: read.string() }),
  [T.xattrcreate]: read => ({
    kind: 'xattrcreate',
    fid: read.u32(),
    name: read.string(),
    size: read.u64(),
    flags: read.u32(),
  }),
  [T.lock]: read => ({ kind: 'lock', fid: read.u32(), ...lockRange(read, true) }),
  [T.getlock]: read => ({ kind: 'getlock', fid: read.u32(), ...lockRange(read, false) }),
};

/**
 * `message` is a whole one, with its header, and nobody else's.
 * @throws RequestError for what cannot be done, MalformedMessage for what is no message
 */
export function parseRequest(message: Uint8Array): Request {
  const parser = PARSERS[message[4] as number];
  if (!parser) throw new RequestError(Errno.EOPNOTSUPP, 'no such request');
  const read = new MessageReader(message, HEADER_BYTES);
  const request = parser(read);
  read.end();
  return request;
}

/** The error of whatever went wrong with a request's text. */
export const errnoOfBadRequest = (error: unknown): number | undefined => {
  if (error instanceof RequestError) return error.errno;
  return error instanceof MalformedMessage ? Errno.EPROTO : undefined;
};
