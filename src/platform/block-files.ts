/**
 * The door to disk images: files that are read and written at positions, and the few operations on names that
 * snapshots need.
 *
 * What the implementations promise, and what src/disk builds on: a write may reach the medium at any time and in any
 * order until `flush` returns, after which everything written before the call is durable; one 512-byte sector is
 * written whole or not at all. `replace` and `link` are atomic and, unless told that it does not matter, durable when they return.
 */

export type Awaitable<T> = T | Promise<T>;

export interface BlockFile {
  /** As it was named when it was opened, until somebody who has renamed it says what it is called since. */
  path: string;
  readonly isReadOnly: boolean;
  size(): Awaitable<number>;
  /** Fill `into` from `position`. Returns how many bytes there were: fewer only at the end of the file. */
  read(position: number, into: Uint8Array): Awaitable<number>;
  /** Write all of `from`; the file grows as needed, what lies between reads as zeros. */
  write(position: number, from: Uint8Array): Awaitable<void>;
  /**
   * Fill pieces of memory, `sizeBytes` in all, from `position`, before it returns. False when that had better not be waited for, or
   * there are not so many bytes: then nothing, or a part, has been done, and the caller goes by way of `read`.
   */
  readNow(position: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean;
  /** Write pieces of memory one behind the other; else as `readNow`, and the caller goes by way of `write`. */
  writeNow(position: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean;
  resize(sizeBytes: number): Awaitable<void>;
  /** Everything written so far is durable when this settles. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface FileLock {
  release(): Promise<void>;
}

export interface BlockFiles {
  /** @throws DomusError E_DISK_NOT_FOUND, E_DISK_ACCESS, E_DISK_IO */
  open(path: string, mode: 'read' | 'write'): Promise<BlockFile>;
  /** A new file. @throws DomusError E_DISK_EXISTS when there is one of that name */
  create(path: string): Promise<BlockFile>;
  exists(path: string): Promise<boolean>;
  /** Whether its owner may write to it: parents of other disks may not be written. */
  isWritable(path: string): Promise<boolean>;
  protect(path: string): Promise<void>;
  /** The path without symbolic links and `..`. */
  realPath(path: string): Promise<string>;
  /** Names in a folder; none if it cannot be read. */
  list(folder: string): Promise<string[]>;
  link(from: string, to: string, isDurable?: boolean): Promise<void>;
  /** Give the file `from` the name `to`, in place of a file that has that name. */
  replace(from: string, to: string, isDurable?: boolean): Promise<void>;
  remove(path: string): Promise<void>;
  /** Are these two names of one file? False where there is none. */
  isSame(path: string, other: string): Promise<boolean>;
  /** Bytes that the file takes on its host, for people. */
  allocatedBytes(path: string): Promise<number>;
  /**
   * Claim an image: any number may read it, or one may write it.
   * @throws DomusError E_DISK_IN_USE
   */
  lock(path: string, kind: 'shared' | 'exclusive'): Promise<FileLock>;
}
