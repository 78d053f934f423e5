/** Walks a folder of the host without following symbolic links. */
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';

export interface WalkedEntry {
  /** Relative to the folder. */
  readonly path: string;
  readonly hostPath: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'char-device' | 'block-device' | 'fifo' | 'other';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, with their fraction. */
  readonly mtime: number;
  readonly size: number;
  readonly link: string;
  readonly major: number;
  readonly minor: number;
  /** Equal for two names of one file. */
  readonly identity: string;
  readonly nrLinks: number;
}

/** Of this process; 0 where the system has no such thing. */
export const ownUid = (): number => process.getuid?.() ?? 0;
export const ownGid = (): number => process.getgid?.() ?? 0;

async function describe(hostPath: string, path: string): Promise<WalkedEntry> {
  const facts = await lstat(hostPath);
  const kind = facts.isFile()
    ? 'file'
    : facts.isDirectory()
      ? 'directory'
      : facts.isSymbolicLink()
        ? 'symlink'
        : facts.isCharacterDevice()
          ? 'char-device'
          : facts.isBlockDevice()
            ? 'block-device'
            : facts.isFIFO()
              ? 'fifo'
              : 'other';
  return {
    path,
    hostPath,
    kind,
    mode: facts.mode & 0o7777,
    uid: facts.uid,
    gid: facts.gid,
    mtime: facts.mtimeMs / 1000,
    size: facts.size,
    link: kind === 'symlink' ? await readlink(hostPath) : '',
    // As Linux packs them in 64 bits; the low words are all that real devices use.
    major: Math.floor(facts.rdev / 256) & 0xfff,
    minor: (facts.rdev & 0xff) | (Math.floor(facts.rdev / 2 ** 12) & 0xfff00),
    identity: `${facts.dev}:${facts.ino}`,
    nrLinks: facts.nlink,
  };
}

/** The folder itself with the path '', then what is in it, by name, folders before what they hold. */
export async function* walkFolder(folder: string, path = ''): AsyncGenerator<WalkedEntry> {
  const hostPath = join(folder, path);
  const entry = await describe(hostPath, path);
  yield entry;
  if (entry.kind !== 'directory') return;
  for (const name of (await readdir(hostPath)).sort()) yield* walkFolder(folder, join(path, name));
}
