/**
 * Files of the host that go to guests or come from them: read as they are, and made so that nothing that is there is followed or
 * written through.
 */
import {
  chmod,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  readdir,
  readlink,
  stat,
  symlink,
  unlink,
  utimes,
} from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';

export { basename, dirname };

export interface HostEntry {
  readonly type: 'file' | 'directory' | 'symlink' | 'other';
  /** Permission bits. */
  readonly mode: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly size: number;
}

/** What has this name, a symbolic link itself unless it is to be followed; undefined if nothing has. */
export async function lookAt(path: string, follow = false): Promise<HostEntry | undefined> {
  try {
    const facts = await (follow ? stat(path) : lstat(path));
    const type = facts.isFile()
      ? 'file'
      : facts.isDirectory()
        ? 'directory'
        : facts.isSymbolicLink()
          ? 'symlink'
          : 'other';
    return { type, mode: facts.mode & 0o7777, mtime: facts.mtimeMs / 1000, size: facts.size };
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Sorted. */
export const namesIn = async (folder: string): Promise<string[]> => (await readdir(folder)).sort();
export const linkTarget = (path: string): Promise<string> => readlink(path);
export const fullPath = (path: string): string => resolve(path);

const PIECE_BYTES = 256 << 10;

/** The first `size` bytes of a file; fewer if it has become shorter. */
export async function* readPieces(path: string, size: number): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r');
  try {
    for (let at = 0; at < size; ) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, size - at));
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield piece.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** A new file in place of a file or a link of that name. */
export async function writeNewFile(
  path: string,
  contents: AsyncIterable<Uint8Array>,
  { mode, mtime }: { readonly mode: number; readonly mtime: number },
): Promise<void> {
  await removeName(path);
  // Fails for a name that is there, so nothing is followed.
  const file = await open(path, 'wx', 0o600);
  try {
    for await (const piece of contents) await file.writeFile(piece);
    await file.chmod(mode);
    await file.utimes(mtime, mtime);
  } finally {
    await file.close();
  }
}

/** Take away a file or a link; a folder stays, and is an error. */
export async function removeName(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOENT') throw error;
  }
}

export const makeNewFolder = (path: string): Promise<void> => mkdir(path, 0o700);

export async function finishFolder(path: string, mode: number, mtime: number): Promise<void> {
  await chmod(path, mode);
  await utimes(path, mtime, mtime);
}

export async function makeLink(path: string, target: string, mtime: number): Promise<void> {
  await removeName(path);
  await symlink(target, path);
  await lutimes(path, mtime, mtime);
}

export async function makeHardLink(existing: string, path: string): Promise<void> {
  await removeName(path);
  await link(existing, path);
}
