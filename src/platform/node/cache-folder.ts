/**
 * The user's cache folder and the few file operations that a cache needs: whole files written so that nobody ever sees half of
 * one, scratch folders that do not outlive their use, and locks between processes.
 *
 * What a command does before its guest runs is done at once: a way through Node's pool of threads is ten times as long.
 */
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { access, copyFile, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultCacheFolder } from '../../../bin/cache-folder.js';
import { isAlive } from './alive.ts';
import { randomHex } from './entropy.ts';

export { defaultCacheFolder, join as joinPath, resolve as absolutePath };

const isMissing = (error: unknown): boolean => {
  const code = (error as { code?: string } | undefined)?.code;
  return code === 'ENOENT' || code === 'ENOTDIR';
};

/** The contents of a file; undefined if there is none. */
export async function readIfPresent(path: string): Promise<Uint8Array | undefined> {
  try {
    const buffer = await readFile(path);
    // A Buffer's `slice` shares memory: hand out what it stands for.
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The same for a small file, at once. */
export function readSmallIfPresent(path: string): Uint8Array | undefined {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The first bytes of a file, as many of `length` as there are, and how long it is; undefined if there is none. */
export async function readPart(
  path: string,
  length: number,
): Promise<{ bytes: Uint8Array; fileBytes: number } | undefined> {
  try {
    await using file = await open(path);
    const { bytesRead, buffer } = await file.read(new Uint8Array(length), 0, length, 0);
    return { bytes: buffer.subarray(0, bytesRead), fileBytes: (await file.stat()).size };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Fill `target`, which may be shared memory, from `at` of a file on. @throws when the file is not that long */
export function readPartNow(path: string, at: number, target: Uint8Array): void {
  const fd = openSync(path, 'r');
  try {
    for (let done = 0; done < target.length; ) {
      const count = readSync(fd, target, done, target.length - done, at + done);
      if (count === 0) throw new Error(`${path} ends early`);
      done += count;
    }
  } finally {
    closeSync(fd);
  }
}

export async function makeFolder(path: string): Promise<void> {
  mkdirSync(path, { recursive: true });
}

/** Names of the files in a folder; none if there is no folder. */
export async function listFolder(path: string): Promise<string[]> {
  try {
    return readdirSync(path).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Age of a file by its modification time; undefined if there is none. */
export async function fileAgeMs(path: string): Promise<number | undefined> {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Make a file as young as can be. One that cannot be changed stays as it is. */
export async function touch(path: string): Promise<void> {
  const now = Date.now() / 1000;
  try {
    utimesSync(path, now, now);
  } catch {
    // Then its age says nothing.
  }
}

export async function isWritable(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const unique = (): string => `${process.pid}-${randomHex(6)}`;

/** Write a file so that readers see the old contents or the new ones, never a part. */
export async function writeWhole(path: string, contents: Uint8Array | string, mode = 0o666): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.tmp-${unique()}`;
  try {
    await writeFile(temporary, contents, { flush: true, mode });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A second name for a file. False where that cannot be: it is on another file system. */
export async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (CANNOT_LINK.has((error as { code?: string }).code ?? '')) return false;
    throw error;
  }
}
const CANNOT_LINK: ReadonlySet<string> = new Set(['EXDEV', 'EPERM', 'EMLINK']);

/** A second name for a file that nobody writes to any more, or a copy of it. `to` must not exist. */
export async function linkOrCopy(from: string, to: string, isDurable: boolean): Promise<void> {
  if (!(await tryLink(from, to)))
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  if (!isDurable) return;
  const file = await open(to, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true, recursive: true });
}

/** Folders that this process has swept. */
const swept = new Set<string>();

/** A new folder in `parent`, for as long as this process lives at most. */
export async function makeScratchFolder(parent: string): Promise<string> {
  if (!swept.has(parent)) await sweep(parent);
  swept.add(parent);
  const folder = join(parent, `scratch-${unique()}`);
  // With the parent, should that be missing.
  mkdirSync(folder, { recursive: true });
  // A package client started by root fetches as a user of its own, who must get in.
  chmodSync(folder, 0o755);
  return folder;
}

/** Run `use` with a new folder in `parent`, which is gone afterwards. */
export async function withScratchFolder<T>(parent: string, use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await makeScratchFolder(parent);
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Remove what processes left behind that were killed in the middle of something. */
export async function sweep(parent: string): Promise<void> {
  for (const name of await listFolder(parent)) {
    const owner = /^scratch-(\d+)-|\.tmp-(\d+)-/.exec(name);
    if (owner && !isAlive(Number(owner[1] ?? owner[2])))
      await rm(join(parent, name), { recursive: true, force: true });
  }
}

const LOCK_POLL_MS = 50;
/** A lock older than this is from another boot or machine, whatever its process number says. */
const LOCK_STALE_MS = 30 * 60_000;

/**
 * Run `use` while holding the lock file at `path`. Two processes that find the same dead owner might both go on; what is guarded is
 * therefore to be safe anyway (whole files under their contents' hash), the lock only spares the double work.
 */
export async function withLock<T>(path: string, use: () => Promise<T>, onWait?: () => void): Promise<T> {
  mkdirSync(dirname(path), { recursive: true });
  let waited = false;
  for (;;) {
    try {
      writeFileSync(path, `${process.pid}\n`, { flag: 'wx' });
      break;
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST') throw error;
    }
    const owner = Number(new TextDecoder().decode(readSmallIfPresent(path)) || Number.NaN);
    const age = await fileAgeMs(path);
    const isDead = owner > 0 && !isAlive(owner);
    if (age !== undefined && (age > LOCK_STALE_MS || isDead)) {
      // Renaming lets only one of several finders take it away.
      const grave = `${path}.tmp-${unique()}`;
      try {
        renameSync(path, grave);
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
      rmSync(grave, { force: true });
      continue;
    }
    if (!waited) onWait?.();
    waited = true;
    await sleep(LOCK_POLL_MS);
  }
  try {
    return await use();
  } finally {
    rmSync(path, { force: true });
  }
}

export const fileExists = (path: string): boolean => existsSync(path);
