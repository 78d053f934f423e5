/** What a guest's kernel holds: a fid for each file that it has walked to, opened or not. */
import type { OpenFile } from '../../platform/folder-files.ts';
import { Errno } from './protocol.ts';
import { RequestError } from './request.ts';
import type { Entry, Tree } from './tree.ts';

/** A guest has one for every entry in its caches: 2^18 take about 100 MiB here, and in its memory several times that. */
const FIDS_MAX = 1 << 18;
const OPEN_FILES_MAX = 8192;
/** Names of all folders that are being read; what is more is read again. */
const LISTED_MAX = 1 << 20;
/** Values of extended attributes on their way. */
const XATTR_BYTES_MAX = 16 << 20;

/** An open file, closed when its fid is given up and nobody uses it any more. */
export class OpenedFile {
  readonly kind = 'file';
  readonly file: OpenFile;
  /** A write by others than root takes set-user-id and set-group-id away. */
  hasPrivileges: boolean;
  #users = 1;

  constructor(file: OpenFile, hasPrivileges: boolean) {
    this.file = file;
    this.hasPrivileges = hasPrivileges;
  }

  use(): void {
    this.#users += 1;
  }
  release(): void {
    this.#users -= 1;
    if (this.#users === 0) this.file.close();
  }
}

export interface OpenedFolder {
  readonly kind: 'folder';
  /** As they were when it was read from its beginning. */
  names: readonly string[] | undefined;
}

export interface ReadXattr {
  readonly kind: 'xattr-read';
  readonly value: Uint8Array;
}

/** Written when the fid is given up. */
export interface WrittenXattr {
  readonly kind: 'xattr-write';
  readonly name: string;
  readonly flags: number;
  readonly value: Uint8Array;
}

export interface Fid {
  readonly entry: Entry;
  /** Whoever attached: the owner of what is made. */
  readonly uid: number;
  opened: OpenedFile | OpenedFolder | ReadXattr | WrittenXattr | undefined;
  /** Processes that have locked the file through this fid. */
  lockers: Set<number> | undefined;
}

export class FidTable {
  readonly #tree: Tree;
  readonly #fids = new Map<number, Fid>();
  #nrOpen = 0;
  /** Folders with their names, the longest unused first. */
  readonly #listed = new Set<OpenedFolder>();
  #nrListed = 0;
  #xattrBytes = 0;

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  get size(): number {
    return this.#fids.size;
  }
  get nrOpen(): number {
    return this.#nrOpen;
  }

  /** @throws RequestError */
  get(number: number): Fid {
    const fid = this.#fids.get(number);
    if (!fid) throw new RequestError(Errno.EBADF);
    return fid;
  }

  /** @throws RequestError */
  checkFree(number: number): void {
    if (this.#fids.has(number)) throw new RequestError(Errno.EBADF, 'the fid is in use');
    if (this.#fids.size >= FIDS_MAX) throw new RequestError(Errno.ENFILE);
  }

  add(number: number, entry: Entry, uid: number): Fid {
    this.checkFree(number);
    const fid: Fid = { entry, uid, opened: undefined, lockers: undefined };
    entry.references += 1;
    this.#fids.set(number, fid);
    return fid;
  }

  /** The fid stands for another file, which it has not opened. */
  replace(number: number, entry: Entry): Fid {
    const { uid } = this.remove(number);
    return this.add(number, entry, uid);
  }

  /** @throws RequestError */
  checkMayOpen(fid: Fid): void {
    if (fid.opened) throw new RequestError(Errno.EBADF, 'the fid is open');
    if (this.#nrOpen >= OPEN_FILES_MAX) throw new RequestError(Errno.ENFILE);
  }

  /** A file that was opened for a fid. If the guest has given that up or used it otherwise, it is closed. */
  open(number: number, fid: Fid, opened: OpenedFile): void {
    if (this.#fids.get(number) !== fid || fid.opened) {
      opened.release();
      throw new RequestError(Errno.EBADF);
    }
    fid.opened = opened;
    this.#nrOpen += 1;
  }

  /** The fid stands for the value of an extended attribute. @throws RequestError */
  openXattr(fid: Fid, opened: ReadXattr | WrittenXattr): void {
    if (fid.opened) throw new RequestError(Errno.EBADF);
    const bytes = this.#xattrBytes + opened.value.length;
    if (bytes > XATTR_BYTES_MAX) throw new RequestError(Errno.ENFILE);
    this.#xattrBytes = bytes;
    fid.opened = opened;
  }

  /** Keep a folder's names, at the expense of others. */
  list(opened: OpenedFolder, names: readonly string[]): void {
    this.#unlist(opened);
    opened.names = names;
    this.#listed.add(opened);
    this.#nrListed += names.length;
    for (const other of this.#listed) {
      if (this.#nrListed <= LISTED_MAX || other === opened) return;
      this.#unlist(other);
    }
  }

  #unlist(opened: OpenedFolder): void {
    if (!this.#listed.delete(opened)) return;
    this.#nrListed -= opened.names?.length ?? 0;
    opened.names = undefined;
  }

  remove(number: number): Fid {
    const fid = this.get(number);
    const { opened } = fid;
    this.#fids.delete(number);
    if (opened?.kind === 'file') {
      this.#nrOpen -= 1;
      opened.release();
    } else if (opened?.kind === 'folder') {
      this.#unlist(opened);
    } else if (opened) {
      this.#xattrBytes -= opened.value.length;
    }
    this.#tree.forget(fid.entry);
    return fid;
  }

  clear(): void {
    for (const number of [...this.#fids.keys()]) this.remove(number);
  }
}
