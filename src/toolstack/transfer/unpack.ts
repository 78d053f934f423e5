/**
 * Makes files of the host out of a tar archive that a guest has sent. The guest is hostile; what it sends must not reach out of the
 * destination:
 *
 * - a name with `..`, an absolute one, or one that is not below what was asked for ends the copying;
 * - symbolic links are made last of all, so nothing of the archive can be written through one of its own, and of those that
 *   were there before none is followed or written through;
 * - a hard link leads to a file of the same archive or nowhere;
 * - devices and pipes are left out, and so are the bits that give a program another user's rights.
 */
import { DomusError } from '../../base/errors.ts';
import { readTarStream, type StreamedEntry } from '../../image/archive/tar-stream.ts';
import {
  finishFolder,
  lookAt,
  makeHardLink,
  makeLink,
  makeNewFolder,
  removeName,
  writeNewFile,
} from '../../platform/node/transfer-files.ts';

export interface UnpackOptions {
  /** A folder that is there. */
  readonly folder: string;
  /** The name of what was asked for, as the archive has it; empty: its contents. */
  readonly rootName: string;
  /** What it is to be called. */
  readonly newName: string;
  /** Hears of what is left out: devices, pipes. */
  readonly onSkip: (name: string) => void;
  /** At most so many; default a million. */
  readonly entriesMax?: number;
}

const ENTRIES_MAX = 1_000_000;
/** Without set-user-ID, set-group-ID and sticky bit. */
const MODE_MASK = 0o777;
const NAME_BYTES_MAX = 255;

const unsafe = (name: string, why: string) =>
  new DomusError(
    'E_COPY_UNSAFE',
    `the guest sent ${JSON.stringify(name)}, ${why}; copying has stopped`,
    'do not trust the guest, or look at the archive: domus cp NAME:PATH - | tar tv',
  );

interface Pending {
  readonly path: string;
  readonly mtime: number;
}

class Unpacker {
  readonly #options: UnpackOptions;
  /** Folders that are known to be ones, by their path below the destination. */
  readonly #folders = new Set<string>(['']);
  /** Files that the archive itself has made. */
  readonly #files = new Set<string>();
  readonly #links = new Map<string, Pending & { readonly target: string }>();
  readonly #made = new Map<string, Pending & { readonly mode: number }>();
  #nrEntries = 0;

  constructor(options: UnpackOptions) {
    this.#options = options;
  }

  /** Words of a name below the destination; none for the destination itself. */
  #words(name: string): string[] {
    if (name.startsWith('/')) throw unsafe(name, 'an absolute name');
    const words = name.split('/').filter(word => word !== '' && word !== '.');
    if (words.includes('..')) throw unsafe(name, 'a name that leads out of the folder');
    if (words.some(word => word.includes('\0') || new TextEncoder().encode(word).length > NAME_BYTES_MAX)) {
      throw unsafe(name, 'a name that no file can have');
    }
    const { rootName, newName } = this.#options;
    if (rootName !== '' && words.shift() !== rootName) throw unsafe(name, 'which was not asked for');
    return newName === '' ? words : [newName, ...words];
  }

  #path(relative: string): string {
    return `${this.#options.folder}/${relative}`;
  }

  /** Make sure that a folder is there, and really one. */
  async #enter(words: readonly string[], name: string): Promise<void> {
    let relative = '';
    for (const word of words) {
      relative = relative === '' ? word : `${relative}/${word}`;
      if (this.#links.has(relative)) throw unsafe(name, 'which goes through a symbolic link of its own');
      if (this.#folders.has(relative)) continue;
      const found = await lookAt(this.#path(relative));
      if (!found) await makeNewFolder(this.#path(relative));
      else if (found.type !== 'directory')
        throw unsafe(name, `which goes through ${this.#path(relative)}, which is no folder`);
      this.#folders.add(relative);
    }
  }

  async add(entry: StreamedEntry): Promise<void> {
    this.#nrEntries += 1;
    if (this.#nrEntries > (this.#options.entriesMax ?? ENTRIES_MAX)) {
      throw unsafe(entry.name, `and more than ${this.#nrEntries - 1} files`);
    }
    const words = this.#words(entry.name);
    const relative = words.join('/');
    const { mtime } = entry;
    if (entry.type === 'directory') {
      await this.#folder(words, relative, entry);
      return;
    }
    if (words.length === 0) throw unsafe(entry.name, 'in place of a folder');
    await this.#enter(words.slice(0, -1), entry.name);
    if (this.#folders.has(relative) || (await lookAt(this.#path(relative)))?.type === 'directory') {
      throw unsafe(entry.name, 'where there is a folder');
    }
    const path = this.#path(relative);
    this.#links.delete(relative);
    if (entry.type === 'symlink') {
      await removeName(path);
      this.#files.delete(relative);
      this.#links.set(relative, { path, mtime, target: entry.link });
    } else if (entry.type === 'file') {
      await writeNewFile(path, entry.contents(), { mode: entry.mode & MODE_MASK, mtime });
      this.#files.add(relative);
    } else if (entry.type === 'hardlink') {
      const target = this.#words(entry.link.replace(/^(\.\/)+/, '')).join('/');
      if (!this.#files.has(target)) throw unsafe(entry.name, 'a link to what it has not sent');
      if (target !== relative) await makeHardLink(this.#path(target), path);
      this.#files.add(relative);
    } else this.#options.onSkip(relative);
  }

  async #folder(words: readonly string[], relative: string, entry: StreamedEntry): Promise<void> {
    await this.#enter(words.slice(0, -1), entry.name);
    // A folder that was there keeps its rights and times.
    const isNew = relative !== '' && !(await lookAt(this.#path(relative)));
    await this.#enter(words, entry.name);
    if (isNew) {
      const path = this.#path(relative);
      this.#made.set(relative, { path, mtime: entry.mtime, mode: entry.mode & MODE_MASK });
    }
  }

  /** What has to wait until all files are there: links, and the rights and times of folders, innermost first. */
  async finish(): Promise<void> {
    for (const { path, target, mtime } of this.#links.values()) await makeLink(path, target, mtime);
    const folders = [...this.#made.values()].sort((a, b) => b.path.length - a.path.length);
    for (const { path, mode, mtime } of folders) await finishFolder(path, mode, mtime);
  }
}

/** @throws DomusError E_COPY_UNSAFE; E_IMAGE_* for what is no archive. What came before stays. */
export async function unpackTar(chunks: AsyncIterable<Uint8Array>, options: UnpackOptions): Promise<void> {
  const unpacker = new Unpacker(options);
  for await (const entry of readTarStream(chunks)) await unpacker.add(entry);
  await unpacker.finish();
}
