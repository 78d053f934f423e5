/**
 * Disk images in the host's files.
 *
 * Small transfers run inline: from the page cache the system call takes 1 to 6 microseconds, the way through the
 * thread pool and the event loop 34 (docs/design). When an inline transfer was slow, because the medium had to be
 * asked, the next ones go through the pool, where they do not hold up the guests. What is asked about names is always inline: opening a
 * chain of three images is a hundred such questions.
 *
 * Locks are files beside the image: `NAME.lock` for the writer, `NAME.lock-PID-N` for readers; they hold the owner's process
 * number and host name, and one whose owner is dead is taken away by who finds it.
 */
import * as fs from 'node:fs';
import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { DomusError } from '../../base/errors.ts';
import type { BlockFile, BlockFiles, FileLock } from '../block-files.ts';
import { isAlive, startOf } from './alive.ts';
import { nowMs } from './clock.ts';

/** Transfers up to this size run inline. */
const INLINE_MAX_BYTES = 1 << 20;
/** Inline transfers that take longer have met the medium; a single one may have met a host that is busy with something else. */
const SLOW_MS = 2;
const SLOW_IN_A_ROW = 2;
/** So many transfers after slow ones go through the pool. */
const POOLED_AFTER_SLOW = 64;

type SystemError = Error & { code?: string };
const codeOf = (error: unknown): string => (error as SystemError | undefined)?.code ?? '';

/** A system error about an image, in the words of this project. */
function explain(error: unknown, doing: string, path: string): DomusError {
  if (error instanceof DomusError) return error;
  const what = `cannot ${doing} ${path}`;
  switch (codeOf(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new DomusError('E_DISK_NOT_FOUND', `${what}: there is no such file`, 'check its name');
    case 'EEXIST':
      return new DomusError('E_DISK_EXISTS', `${what}: it exists already`, 'choose another name');
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new DomusError(
        'E_DISK_ACCESS',
        `${what}: permission denied`,
        'check the rights of file and folder',
      );
    case 'EISDIR':
      return new DomusError('E_DISK_ACCESS', `${what}: it is a folder`, 'name a file');
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new DomusError('E_DISK_FULL', `${what}: the host's disk is full`, 'make room and try again', {
        cause: error,
      });
    default: {
      const text = error instanceof Error ? error.message.replace(/, \w+( '.*)?$/, '') : String(error);
      return new DomusError('E_DISK_IO', `${what}: ${text}`, "check the host's disk", { cause: error });
    }
  }
}

async function explained<T>(doing: string, path: string, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    throw explain(error, doing, path);
  }
}

class NodeBlockFile implements BlockFile {
  path: string;
  readonly isReadOnly: boolean;
  readonly #fd: number;
  #pooled = 0;
  #nrSlow = 0;
  #isClosed = false;

  constructor(path: string, fd: number, isReadOnly: boolean) {
    this.path = path;
    this.#fd = fd;
    this.isReadOnly = isReadOnly;
  }

  size(): number {
    try {
      return fs.fstatSync(this.#fd).size;
    } catch (error) {
      throw explain(error, 'read', this.path);
    }
  }

  #mayInline(sizeBytes: number): boolean {
    return sizeBytes <= INLINE_MAX_BYTES && this.#pooled === 0;
  }
  #notePooled(): void {
    if (this.#pooled > 0) this.#pooled -= 1;
  }

  #noteTime(startMs: number): void {
    if (nowMs() - startMs <= SLOW_MS) this.#nrSlow = 0;
    // A medium that has been slow for long needs to be so only once more.
    else if (++this.#nrSlow >= SLOW_IN_A_ROW) this.#pooled = POOLED_AFTER_SLOW;
  }

  read(position: number, into: Uint8Array): number | Promise<number> {
    if (!this.#mayInline(into.length)) return this.#readPooled(position, into);
    const startMs = nowMs();
    try {
      let done = 0;
      while (done < into.length) {
        const count = fs.readSync(this.#fd, into, done, into.length - done, position + done);
        if (count === 0) break;
        done += count;
      }
      this.#noteTime(startMs);
      return done;
    } catch (error) {
      throw explain(error, 'read', this.path);
    }
  }

  async #readPooled(position: number, into: Uint8Array): Promise<number> {
    this.#notePooled();
    let done = 0;
    while (done < into.length) {
      const count = await new Promise<number>((resolve, reject) =>
        fs.read(this.#fd, into, done, into.length - done, position + done, (error, n) =>
          error ? reject(explain(error, 'read', this.path)) : resolve(n),
        ),
      );
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  write(position: number, from: Uint8Array): void | Promise<void> {
    if (!this.#mayInline(from.length)) return this.#writePooled(position, from);
    const startMs = nowMs();
    try {
      let done = 0;
      while (done < from.length) {
        done += fs.writeSync(this.#fd, from, done, from.length - done, position + done);
      }
      this.#noteTime(startMs);
    } catch (error) {
      throw explain(error, 'write', this.path);
    }
  }

  async #writePooled(position: number, from: Uint8Array): Promise<void> {
    this.#notePooled();
    let done = 0;
    while (done < from.length) {
      done += await new Promise<number>((resolve, reject) =>
        fs.write(this.#fd, from, done, from.length - done, position + done, (error, n) =>
          error ? reject(explain(error, 'write', this.path)) : resolve(n),
        ),
      );
    }
  }

  readNow(position: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean {
    return this.#now('read', sizeBytes, () => {
      const [first] = pieces;
      return pieces.length === 1 && first
        ? fs.readSync(this.#fd, first, 0, sizeBytes, position)
        : fs.readvSync(this.#fd, pieces, position);
    });
  }
  writeNow(position: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean {
    return this.#now('write', sizeBytes, () => {
      const [first] = pieces;
      return pieces.length === 1 && first
        ? fs.writeSync(this.#fd, first, 0, sizeBytes, position)
        : fs.writevSync(this.#fd, pieces, position);
    });
  }
  /** One system call; false when it may take long, or has not done all. */
  #now(what: 'read' | 'write', sizeBytes: number, transfer: () => number): boolean {
    if (!this.#mayInline(sizeBytes)) return false;
    const startMs = nowMs();
    try {
      const count = transfer();
      this.#noteTime(startMs);
      return count === sizeBytes;
    } catch (error) {
      throw explain(error, what, this.path);
    }
  }

  resize(sizeBytes: number): void {
    try {
      fs.ftruncateSync(this.#fd, sizeBytes);
    } catch (error) {
      throw explain(error, 'resize', this.path);
    }
  }

  flush(): Promise<void> {
    if (this.isReadOnly) return Promise.resolve();
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, error => (error ? reject(explain(error, 'flush', this.path)) : resolve()));
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    fs.closeSync(this.#fd);
  }
}

/** Names are durable when the folder that has them is. */
async function flushFolder(path: string): Promise<void> {
  try {
    const handle = await open(dirname(path), 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch {
    // Some file systems cannot flush a folder; then there is nothing that could be done.
  }
}

const openFile = (path: string, flags: string): number => fs.openSync(path, flags, 0o644);

function removeFile(path: string): void {
  try {
    fs.unlinkSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

/** A lock is written as soon as it is made, unless whoever does it is killed in between. */
const WRITING_MS_MAX = 2000;

function mayBeAlive(owner: string, ageMs: number): boolean {
  const [pidText, host, start] = owner.trim().split(' ');
  const pid = Number(pidText);
  if (!(pid > 0)) return ageMs < WRITING_MS_MAX;
  // Of another machine's process nothing can be known.
  return host !== hostname() || isAlive(pid, start);
}

const ownStart = startOf(process.pid);
/** Process, host and, where it is known, when the process was started. */
const owner = () => `${[process.pid, hostname(), ...(ownStart ? [ownStart] : [])].join(' ')}\n`;
let nrLocks = 0;

/** A lock file that keeps its image busy; undefined when it is gone or its owner is dead. */
function holderOf(path: string): string | undefined {
  let text: string;
  let ageMs: number;
  try {
    text = fs.readFileSync(path, 'utf8');
    ageMs = Date.now() - fs.statSync(path).mtimeMs;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  if (mayBeAlive(text, ageMs)) return text.trim().split(' ')[0];
  // Renaming lets only one of several finders take it away.
  const grave = `${path}.dead-${process.pid}-${++nrLocks}`;
  try {
    fs.renameSync(path, grave);
    removeFile(grave);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
  return undefined;
}

const inUse = (path: string, holder: string, lockPath: string) =>
  new DomusError(
    'E_DISK_IN_USE',
    `${path} is in use by process ${holder}`,
    `end that process first; if it is none of Domus, remove ${lockPath}`,
  );

const lockFile = (path: string): FileLock => ({ release: async () => removeFile(path) });

function lockShared(path: string): FileLock {
  const own = `${path}.lock-${process.pid}-${++nrLocks}`;
  try {
    fs.writeFileSync(own, owner(), { flag: 'wx' });
  } catch (error) {
    // Nobody can be writing where nothing can be written.
    if (['EACCES', 'EROFS', 'EPERM'].includes(codeOf(error))) return { release: async () => {} };
    throw error;
  }
  const writer = holderOf(`${path}.lock`);
  if (writer !== undefined) {
    removeFile(own);
    throw inUse(path, writer, `${path}.lock`);
  }
  return lockFile(own);
}

const READER_LOCK = /\.lock-\d+-\d+$/;

function lockExclusive(path: string): FileLock {
  const own = `${path}.lock`;
  for (let attempt = 0; ; attempt++) {
    try {
      fs.writeFileSync(own, owner(), { flag: 'wx' });
      break;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      const holder = holderOf(own);
      if (holder !== undefined || attempt > 8) throw inUse(path, holder ?? '?', own);
    }
  }
  const prefix = `${basename(path)}.lock-`;
  for (const name of fs.readdirSync(dirname(path))) {
    // Nobody else may ever look for those that dead readers have left of what this image builds on.
    if (!READER_LOCK.test(name)) continue;
    const reader = holderOf(join(dirname(path), name));
    if (reader === undefined || !name.startsWith(prefix)) continue;
    removeFile(own);
    throw inUse(path, reader, join(dirname(path), name));
  }
  return lockFile(own);
}

export const nodeBlockFiles: BlockFiles = {
  open: (path, mode) =>
    explained('open', path, async () => {
      const isReadOnly = mode === 'read';
      // Opening a pipe would wait for its other end.
      const facts = fs.statSync(path);
      if (!facts.isFile() && !facts.isBlockDevice()) {
        throw new DomusError(
          'E_DISK_ACCESS',
          `${path} is neither a file nor a block device`,
          'name an image file',
        );
      }
      return new NodeBlockFile(path, openFile(path, isReadOnly ? 'r' : 'r+'), isReadOnly);
    }),
  create: path =>
    explained('create', path, async () => new NodeBlockFile(path, openFile(path, 'wx+'), false)),
  exists: async path => fs.existsSync(path),
  isWritable: path => explained('look at', path, async () => (fs.statSync(path).mode & 0o222) !== 0),
  protect: path => explained('protect', path, async () => fs.chmodSync(path, fs.statSync(path).mode & 0o555)),
  realPath: path => explained('find', path, async () => fs.realpathSync.native(path)),
  list: async folder => {
    try {
      return fs.readdirSync(folder);
    } catch {
      return [];
    }
  },
  link: (from, to, isDurable = true) =>
    explained('create', to, async () => {
      fs.linkSync(from, to);
      if (isDurable) await flushFolder(to);
    }),
  replace: (from, to, isDurable = true) =>
    explained('replace', to, async () => {
      fs.renameSync(from, to);
      if (isDurable) await flushFolder(to);
    }),
  remove: path => explained('remove', path, async () => removeFile(path)),
  isSame: async (path, other) => {
    const [one, two] = [path, other].map(name => fs.statSync(name, { bigint: true, throwIfNoEntry: false }));
    return one !== undefined && one.dev === two?.dev && one.ino === two.ino;
  },
  allocatedBytes: path => explained('look at', path, async () => fs.statSync(path).blocks * 512),
  lock: (path, kind) =>
    explained('lock', path, async () => {
      const real = fs.realpathSync.native(path);
      return kind === 'shared' ? lockShared(real) : lockExclusive(real);
    }),
};
