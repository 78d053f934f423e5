/**
 * The door to folders that guests share: every operation starts from an *anchor*, a file or folder that is held open, and names at
 * most one entry below it. So no path of several names is ever resolved by the host, no symbolic link is followed, and what an anchor
 * stands for cannot be exchanged in between.
 *
 * Names are bytes: text in which each character is one byte (Latin-1), because that is what Linux has. Callers check that a name has
 * no slash and no NUL and is neither `.` nor `..`.
 *
 * What fails throws a `FileError`.
 */

import type { Awaitable } from './block-files.ts';

/** A system call that failed. */
export class FileError extends Error {
  override readonly name = 'FileError';
  /** As Linux counts them: 2 is ENOENT. */
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = errno;
  }
}

/** What `stat` says. */
export interface FileFacts {
  readonly dev: bigint;
  readonly ino: bigint;
  /** Type and permissions. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: bigint;
  readonly size: number;
  readonly blockBytes: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** When it was made; 0 where the file system does not know. */
  readonly bornNs: bigint;
}

/** What `statfs` says, in blocks. */
export interface SpaceFacts {
  readonly blockBytes: number;
  readonly blocks: bigint;
  readonly free: bigint;
  readonly available: bigint;
  readonly files: bigint;
  readonly filesFree: bigint;
}

declare const brand: unique symbol;
/** A file, folder or link that is held, but not opened for anything. */
export type Anchor = number & { readonly [brand]: 'anchor' };

export interface OpenFile {
  facts(): Awaitable<FileFacts>;
  /** Fill `into` from `position`. Returns how many bytes there were: fewer only at the end of the file. */
  read(position: number, into: Uint8Array): Awaitable<number>;
  /** Write all of `from`; at the end of the file, whatever the position, if it was opened for appending. */
  write(position: number, from: Uint8Array): Awaitable<void>;
  chmod(mode: number): Awaitable<void>;
  resize(sizeBytes: number): Awaitable<void>;
  /** Everything written so far is durable when this settles; without `isDataOnly` the file's attributes too. */
  flush(isDataOnly: boolean): Promise<void>;
  close(): void;
}

export interface OpenMode {
  readonly reads: boolean;
  readonly writes: boolean;
  readonly appends?: boolean;
  readonly truncates?: boolean;
  /** Every write is durable when it returns. */
  readonly isDurable?: boolean;
}

export interface FolderFiles {
  /** Whose rights count on this host. */
  readonly userId: number;
  readonly groupId: number;
  /** @throws DomusError E_FOLDER_NOT_FOUND, E_FOLDER_ACCESS, E_FOLDER_HOST */
  openRoot(path: string): Promise<Anchor>;
  /** Hold what has this name, a symbolic link itself if it is one. */
  anchor(folder: Anchor, name: string): Awaitable<Anchor>;
  release(anchor: Anchor): void;
  facts(anchor: Anchor): Awaitable<FileFacts>;
  /** Undefined if there is nothing of this name. */
  factsAt(folder: Anchor, name: string): Awaitable<FileFacts | undefined>;
  /** Open a regular file: the caller has looked that it is one. */
  open(file: Anchor, mode: OpenMode): Awaitable<OpenFile>;
  /** A new regular file. EEXIST if there is anything of this name. */
  create(folder: Anchor, name: string, permissions: number, mode: OpenMode): Awaitable<OpenFile>;
  makeFolder(folder: Anchor, name: string, permissions: number): Awaitable<void>;
  makeLink(folder: Anchor, name: string, target: string): Awaitable<void>;
  readLink(folder: Anchor, name: string): Awaitable<string>;
  /** Another name for a file; symbolic links are not followed. */
  link(from: Anchor, name: string, to: Anchor, newName: string): Awaitable<void>;
  rename(from: Anchor, name: string, to: Anchor, newName: string): Awaitable<void>;
  unlink(folder: Anchor, name: string): Awaitable<void>;
  removeFolder(folder: Anchor, name: string): Awaitable<void>;
  /** Names in a folder, without `.` and `..`. `sizeBytes` is the folder's own size, which says how long it may take. */
  list(folder: Anchor, sizeBytes: number): Awaitable<string[]>;
  chmod(anchor: Anchor, permissions: number): Awaitable<void>;
  /** Set to about a microsecond, whole seconds exactly: more cannot be said to the host. */
  setTimes(anchor: Anchor, atimeNs: bigint, mtimeNs: bigint): Awaitable<void>;
  resize(file: Anchor, sizeBytes: number): Awaitable<void>;
  /** What was done in a folder is durable when this settles. */
  flushFolder(folder: Anchor): Promise<void>;
  space(anchor: Anchor): Awaitable<SpaceFacts>;
}
