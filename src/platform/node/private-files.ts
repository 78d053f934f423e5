/**
 * Files of the user alone, read and written at once: for threads whose event loop does not turn. What is not there, or cannot be
 * had, is undefined: these files only save time.
 */
import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { randomHex } from './entropy.ts';
import type { RandomFile } from './random-files.ts';

const OTHERS_MAY_WRITE = 0o022;

interface Facts {
  readonly uid: number;
  readonly mode: number;
}
const isOwn = ({ uid, mode }: Facts): boolean =>
  process.getuid === undefined || (uid === process.getuid() && (mode & OTHERS_MAY_WRITE) === 0);

/** Read from a file's beginning, `length` bytes at most; undefined as well when others could have written it. */
export function readOwnFile(path: string, length = Number.POSITIVE_INFINITY): Uint8Array | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const facts = fstatSync(fd);
    if (!facts.isFile() || !isOwn(facts)) return undefined;
    const bytes = new Uint8Array(Math.min(length, facts.size));
    const count = readSync(fd, bytes, 0, bytes.length, 0);
    return bytes.subarray(0, count);
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

/** The same file, to be read here and there. */
export function openOwnFile(path: string): RandomFile | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  const facts = fstatSync(fd);
  if (facts.isFile() && isOwn(facts)) return { fd, sizeBytes: facts.size };
  closeSync(fd);
  return undefined;
}
export const closeOwnFile = ({ fd }: RandomFile): void => closeSync(fd);

/**
 * Readers see the old contents or the new ones, never a part. Returns whether it worked.
 * @param isDurable that is so even when the host's power fails
 */
export function writeOwnFile(path: string, contents: Uint8Array, isDurable = false): boolean {
  const temporary = `${path}.tmp-${process.pid}-${randomHex(6)}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(temporary, contents, { mode: 0o600, flush: isDurable });
    renameSync(temporary, path);
    return true;
  } catch {
    rmSync(temporary, { force: true });
    return false;
  }
}

export function removeOwnFile(path: string): void {
  rmSync(path, { force: true, recursive: true });
}

/** It was of use just now. */
export function touchFile(path: string): void {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch {
    // It is gone, or cannot be written: then its age says nothing.
  }
}

export interface FileAge {
  readonly name: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}
/** The files and folders in a folder, those not used for longest first; none if it is not the user's own. */
export function listOwnFolder(folder: string): FileAge[] {
  try {
    if (!isOwn(lstatSync(folder))) return [];
    return readdirSync(folder)
      .map(name => {
        const { size, mtimeMs } = lstatSync(join(folder, name));
        return { name, sizeBytes: size, modifiedMs: mtimeMs };
      })
      .sort((a, b) => a.modifiedMs - b.modifiedMs);
  } catch {
    return [];
  }
}
