/**
 * Shared folders in the host's files.
 *
 * Node has no openat(2). On Linux `/proc/self/fd/N/NAME` does the same: the kernel goes from the open file N on, wherever it may have
 * been moved, and `/proc/self/fd/N` itself stands for the file, whatever has its name by now. Anchors are opened with O_PATH, which
 * needs no right to read and runs no driver.
 *
 * Calls run inline: from the kernel's caches they take 3 to 15 microseconds, the way through the thread pool and the event loop 40
 * and more. When one was slow, because a medium or a server had to be asked, the next ones go through the pool, where they do not
 * hold up the guests.
 */
import * as fs from 'node:fs';
import { DomusError } from '../../base/errors.ts';
import type { Awaitable } from '../block-files.ts';
import {
  type Anchor,
  FileError,
  type FileFacts,
  type FolderFiles,
  type OpenFile,
  type OpenMode,
} from '../folder-files.ts';
import { nowMs } from './clock.ts';

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DSYNC } = fs.constants;
const { O_NOFOLLOW, O_NONBLOCK, O_NOCTTY, O_DIRECTORY } = fs.constants;
/** Not among Node's constants (asm-generic/fcntl.h). */
const O_PATH = 0o10000000;
/** A call that takes longer has met the medium. */
const SLOW_MS = 2;
/** So many calls after a slow one go through the pool. */
const POOLED_AFTER_SLOW = 64;
/** A folder of this size may have thousands of names: it is read in the pool. */
const LONG_FOLDER_BYTES = 128 * 1024;
const EIO = 5;

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void;

function fileError(error: unknown): unknown {
  const { errno, message } = error as NodeJS.ErrnoException;
  // What is no system error is ours.
  if (errno === undefined) return error;
  return new FileError(errno < 0 ? -errno : EIO, message);
}

let pooled = 0;

function inPool<T>(call: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(fileError(error)) : resolve(value)));
  });
}

/** The same call in both ways. */
function either<T>(inline: () => T, call: (done: Done<T>) => void): Awaitable<T> {
  if (pooled > 0) {
    pooled -= 1;
    return inPool(call);
  }
  const startMs = nowMs();
  try {
    return inline();
  } catch (error) {
    throw fileError(error);
  } finally {
    if (nowMs() - startMs > SLOW_MS) pooled = POOLED_AFTER_SLOW;
  }
}

const then = <T, U>(value: Awaitable<T>, next: (value: T) => U): Awaitable<U> =>
  value instanceof Promise ? value.then(next) : next(value);

const isPlain = (name: string): boolean => {
  for (let i = 0; i < name.length; i++) if (name.charCodeAt(i) > 0x7f) return false;
  return true;
};
/** Node encodes text as UTF-8; these are bytes. */
const bytesOf = (text: string): string | Buffer => (isPlain(text) ? text : Buffer.from(text, 'latin1'));
const pathOf = (anchor: number): string => `/proc/self/fd/${anchor}`;
const pathAt = (anchor: number, name: string): string | Buffer => bytesOf(`/proc/self/fd/${anchor}/${name}`);

function factsOf(stats: fs.BigIntStats): FileFacts {
  return {
    dev: stats.dev,
    ino: stats.ino,
    mode: Number(stats.mode),
    nlink: Number(stats.nlink),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    rdev: stats.rdev,
    size: Number(stats.size),
    blockBytes: Number(stats.blksize),
    blocks: Number(stats.blocks),
    atimeNs: stats.atimeNs,
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
    bornNs: stats.birthtimeNs,
  };
}

const BIG = { bigint: true } as const;

const factsOfFile = (fd: number): Awaitable<FileFacts> =>
  then(
    either(
      () => fs.fstatSync(fd, BIG),
      done => fs.fstat(fd, BIG, done),
    ),
    factsOf,
  );

class NodeOpenFile implements OpenFile {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  facts(): Awaitable<FileFacts> {
    return factsOfFile(this.#fd);
  }

  read(position: number, into: Uint8Array): Awaitable<number> {
    const readOn = (done: number): Awaitable<number> => {
      const count = either(
        () => fs.readSync(this.#fd, into, done, into.length - done, position + done),
        finished => fs.read(this.#fd, into, done, into.length - done, position + done, finished),
      );
      const next = (n: number) => (n === 0 || done + n === into.length ? done + n : readOn(done + n));
      return count instanceof Promise ? count.then(next) : next(count);
    };
    return into.length === 0 ? 0 : readOn(0);
  }

  write(position: number, from: Uint8Array): Awaitable<void> {
    const writeOn = (done: number): Awaitable<void> => {
      const count = either(
        () => fs.writeSync(this.#fd, from, done, from.length - done, position + done),
        finished => fs.write(this.#fd, from, done, from.length - done, position + done, finished),
      );
      const next = (n: number) => (done + n < from.length ? writeOn(done + n) : undefined);
      return count instanceof Promise ? count.then(next) : next(count);
    };
    return from.length === 0 ? undefined : writeOn(0);
  }

  chmod(mode: number): Awaitable<void> {
    return either(
      () => fs.fchmodSync(this.#fd, mode),
      done => fs.fchmod(this.#fd, mode, error => done(error, undefined)),
    );
  }

  resize(sizeBytes: number): Awaitable<void> {
    return either(
      () => fs.ftruncateSync(this.#fd, sizeBytes),
      done => fs.ftruncate(this.#fd, sizeBytes, error => done(error, undefined)),
    );
  }

  flush(isDataOnly: boolean): Promise<void> {
    return inPool(done => (isDataOnly ? fs.fdatasync : fs.fsync)(this.#fd, error => done(error, undefined)));
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

function flagsOf({ reads, writes, appends, truncates, isDurable }: OpenMode): number {
  const access = reads ? (writes ? O_RDWR : O_RDONLY) : O_WRONLY;
  // Without waiting, if it should be something else than a file after all.
  const always = O_NONBLOCK | O_NOCTTY;
  return access | always | (appends ? O_APPEND : 0) | (truncates ? O_TRUNC : 0) | (isDurable ? O_DSYNC : 0);
}

const openFd = (path: string | Buffer, flags: number, mode = 0): Awaitable<number> =>
  either(
    () => fs.openSync(path, flags, mode),
    done => fs.open(path, flags, mode, done),
  );

/** Calls without a result on one path. */
const change = (inline: () => void, call: (done: fs.NoParamCallback) => void): Awaitable<void> =>
  either(inline, done => call(error => done(error, undefined)));

/** Seconds as Node wants them: a double has no room for nanoseconds in our time. */
const seconds = (ns: bigint): number => Number(ns) / 1e9;

export const nodeFolderFiles: FolderFiles = {
  userId: process.getuid?.() ?? 0,
  groupId: process.getgid?.() ?? 0,

  async openRoot(path) {
    if (process.platform !== 'linux' || !fs.existsSync('/proc/self/fd')) {
      throw new DomusError(
        'E_FOLDER_HOST',
        'folders can be shared on Linux with /proc only, which is what keeps a guest inside of them',
        'use --disk, or pass files through standard input',
      );
    }
    try {
      return fs.openSync(path, O_PATH | O_DIRECTORY) as Anchor;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') {
        throw new DomusError(
          'E_FOLDER_NOT_FOUND',
          `there is no folder ${path}`,
          'check its name, or make it',
        );
      }
      throw new DomusError(
        'E_FOLDER_ACCESS',
        `cannot open the folder ${path}: ${message}`,
        'check its rights',
      );
    }
  },

  anchor: (folder, name) => openFd(pathAt(folder, name), O_PATH | O_NOFOLLOW) as Awaitable<Anchor>,
  release: anchor => fs.closeSync(anchor),
  facts: factsOfFile,

  factsAt(folder, name) {
    const path = pathAt(folder, name);
    const stats = either<fs.BigIntStats | undefined>(
      () => fs.lstatSync(path, { bigint: true, throwIfNoEntry: false }),
      done =>
        fs.lstat(path, BIG, (error, found) =>
          error?.code === 'ENOENT' ? done(null, undefined) : done(error, found),
        ),
    );
    return then(stats, found => found && factsOf(found));
  },

  open: (file, mode) => then(openFd(pathOf(file), flagsOf(mode)), fd => new NodeOpenFile(fd)),
  create: (folder, name, permissions, mode) =>
    then(
      openFd(pathAt(folder, name), flagsOf(mode) | O_CREAT | O_EXCL | O_NOFOLLOW, permissions),
      fd => new NodeOpenFile(fd),
    ),

  makeFolder(folder, name, permissions) {
    const path = pathAt(folder, name);
    return change(
      () => fs.mkdirSync(path, permissions),
      done => fs.mkdir(path, permissions, done),
    );
  },
  makeLink(folder, name, target) {
    const path = pathAt(folder, name);
    return change(
      () => fs.symlinkSync(bytesOf(target), path),
      done => fs.symlink(bytesOf(target), path, done),
    );
  },
  readLink(folder, name) {
    const path = pathAt(folder, name);
    // Node knows the encoding and its types do not.
    const options = { encoding: 'latin1' } as const;
    return either(
      () => fs.readlinkSync(path, options),
      done => fs.readlink(path, options, done),
    );
  },
  link(from, name, to, newName) {
    const [path, newPath] = [pathAt(from, name), pathAt(to, newName)];
    return change(
      () => fs.linkSync(path, newPath),
      done => fs.link(path, newPath, done),
    );
  },
  rename(from, name, to, newName) {
    const [path, newPath] = [pathAt(from, name), pathAt(to, newName)];
    return change(
      () => fs.renameSync(path, newPath),
      done => fs.rename(path, newPath, done),
    );
  },
  unlink(folder, name) {
    const path = pathAt(folder, name);
    return change(
      () => fs.unlinkSync(path),
      done => fs.unlink(path, done),
    );
  },
  removeFolder(folder, name) {
    const path = pathAt(folder, name);
    return change(
      () => fs.rmdirSync(path),
      done => fs.rmdir(path, done),
    );
  },
  list(folder, sizeBytes) {
    const path = pathOf(folder);
    const options = { encoding: 'latin1' } as const;
    const call = (done: Done<string[]>) => fs.readdir(path, options, done);
    return sizeBytes >= LONG_FOLDER_BYTES ? inPool(call) : either(() => fs.readdirSync(path, options), call);
  },

  chmod(anchor, permissions) {
    const path = pathOf(anchor);
    return change(
      () => fs.chmodSync(path, permissions),
      done => fs.chmod(path, permissions, done),
    );
  },
  setTimes(anchor, atimeNs, mtimeNs) {
    const path = pathOf(anchor);
    const [atime, mtime] = [seconds(atimeNs), seconds(mtimeNs)];
    return change(
      () => fs.utimesSync(path, atime, mtime),
      done => fs.utimes(path, atime, mtime, done),
    );
  },
  resize(file, sizeBytes) {
    const path = pathOf(file);
    return change(
      () => fs.truncateSync(path, sizeBytes),
      done => fs.truncate(path, sizeBytes, done),
    );
  },
  async flushFolder(folder) {
    const fd = await openFd(pathOf(folder), O_RDONLY | O_DIRECTORY);
    try {
      await inPool<void>(done => fs.fsync(fd, error => done(error, undefined)));
    } finally {
      fs.closeSync(fd);
    }
  },
  space(anchor) {
    const path = pathOf(anchor);
    const stats = either(
      () => fs.statfsSync(path, BIG),
      done => fs.statfs(path, BIG, done),
    );
    return then(stats, ({ bsize, blocks, bfree, bavail, files, ffree }) => ({
      blockBytes: Number(bsize),
      blocks,
      free: bfree,
      available: bavail,
      files,
      filesFree: ffree,
    }));
  },
};
