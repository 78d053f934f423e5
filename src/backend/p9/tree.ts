/**
 * The part of a shared folder that a guest knows: one `Entry` for each name that it holds.
 *
 * An entry is a name in a folder and the file (device and inode number) that was found there; whether it is still the same is looked
 * at with every use. Folders are held by anchors, of which only so many are open at once: others are opened again on the way down
 * from one that is. No step goes up in the host's file system: the folder above an entry is the one that it was reached through. So
 * there is no way out, whatever the names, links and moves.
 *
 * A file whose name is taken away while the guest holds it is anchored before, and stays what it is.
 */
import type { Anchor, FileFacts, FolderFiles } from '../../platform/folder-files.ts';
import { Errno, Mode } from './protocol.ts';
import { RequestError } from './request.ts';
import { type Steps, wait } from './steps.ts';

/** Anchors that are kept open for entries that are in nobody's hands just now. */
const ANCHORS_MAX = 512;
/** Files without a name that are kept. */
const NAMELESS_MAX = 4096;

export interface Entry {
  /** Undefined for the folder that is shared. */
  parent: Entry | undefined;
  name: string;
  readonly dev: bigint;
  readonly ino: bigint;
  readonly isFolder: boolean;
  /** Its name is no longer its own. */
  isGone: boolean;
  /** Fids, entries below, and requests that are being served. */
  references: number;
  /** Requests that use its anchor. */
  users: number;
  anchor: Anchor | undefined;
  children: Map<string, Entry> | undefined;
  /** When the guest lets go of a file that has no name any more. */
  onForgotten: (() => void) | undefined;
}

/** What a request holds until it is answered. */
export class Holds {
  readonly #entries: Entry[] = [];

  add(entry: Entry): void {
    entry.users += 1;
    entry.references += 1;
    this.#entries.push(entry);
  }

  release(tree: Tree): void {
    for (const entry of this.#entries.splice(0)) {
      entry.users -= 1;
      tree.forget(entry);
    }
  }
}

const isSame = (entry: Entry, facts: FileFacts): boolean =>
  entry.ino === facts.ino && entry.dev === facts.dev;

export class Tree {
  readonly root: Entry;
  readonly files: FolderFiles;
  /** Name of an entry of the root that guests do not see. */
  readonly #hidden: string;
  /** Entries with an anchor that may be given up, the one longest unused first. */
  readonly #anchored = new Set<Entry>();
  #nrNameless = 0;

  constructor(files: FolderFiles, anchor: Anchor, facts: FileFacts, hidden: string) {
    this.files = files;
    this.#hidden = hidden;
    this.root = newEntry(undefined, '', facts);
    this.root.anchor = anchor;
    this.root.references = 1;
  }

  /** Whether guests may have an entry of this name there. */
  isHidden(folder: Entry, name: string): boolean {
    return folder === this.root && name === this.#hidden;
  }

  /** Held, with an anchor that stays open as long as `holds` does. */
  *anchorOf(entry: Entry, holds: Holds): Steps<Anchor> {
    const way: Entry[] = [];
    let above: Entry | undefined = entry;
    for (; above && above.anchor === undefined; above = above.parent) {
      if (above.isGone) throw new RequestError(Errno.ESTALE);
      way.push(above);
    }
    if (!above) throw new RequestError(Errno.ESTALE);
    let anchor = this.#use(above, holds);
    for (const next of way.reverse()) {
      holds.add(next);
      const opened = yield* this.#open(anchor, next);
      // Somebody else may have been faster.
      if (next.anchor !== undefined) this.files.release(opened);
      else {
        next.anchor = opened;
        if (next.isGone) this.#nrNameless += 1;
      }
      anchor = this.#use(next, holds);
    }
    return anchor;
  }

  #use(entry: Entry, holds: Holds): Anchor {
    holds.add(entry);
    if (entry.parent && !entry.isGone) {
      this.#anchored.delete(entry);
      this.#anchored.add(entry);
      this.#trim();
    }
    return entry.anchor as Anchor;
  }

  #trim(): void {
    let excess = this.#anchored.size - ANCHORS_MAX;
    for (const entry of this.#anchored) {
      if (excess-- <= 0) return;
      if (entry.users === 0) this.#dropAnchor(entry);
    }
  }

  #dropAnchor(entry: Entry): void {
    this.#anchored.delete(entry);
    if (entry.anchor !== undefined) this.files.release(entry.anchor);
    entry.anchor = undefined;
  }

  *#open(folder: Anchor, entry: Entry): Steps<Anchor> {
    const anchor = yield* wait(this.files.anchor(folder, entry.name));
    let facts: FileFacts;
    try {
      facts = yield* wait(this.files.facts(anchor));
    } catch (error) {
      this.files.release(anchor);
      throw error;
    }
    if (isSame(entry, facts)) return anchor;
    this.files.release(anchor);
    throw new RequestError(Errno.ESTALE);
  }

  /** What the file is now. */
  *factsOf(entry: Entry, holds: Holds): Steps<FileFacts> {
    if (entry.anchor !== undefined) {
      const anchor = this.#use(entry, holds);
      return yield* wait(this.files.facts(anchor));
    }
    const { parent } = entry;
    if (entry.isGone || !parent) throw new RequestError(Errno.ESTALE);
    const folder = yield* this.anchorOf(parent, holds);
    const facts = yield* wait(this.files.factsAt(folder, entry.name));
    if (facts && isSame(entry, facts)) return facts;
    throw new RequestError(Errno.ESTALE);
  }

  /** One step down, or up with `..`. The entry is held. */
  *walk(folder: Entry, name: string, holds: Holds): Steps<{ entry: Entry; facts: FileFacts }> {
    if (!folder.isFolder) throw new RequestError(Errno.ENOTDIR);
    if (name === '..') {
      const entry = folder.parent ?? folder;
      holds.add(entry);
      return { entry, facts: yield* this.factsOf(entry, holds) };
    }
    if (this.isHidden(folder, name)) throw new RequestError(Errno.ENOENT);
    const anchor = yield* this.anchorOf(folder, holds);
    const facts = yield* wait(this.files.factsAt(anchor, name));
    if (!facts) throw new RequestError(Errno.ENOENT);
    const entry = this.found(folder, name, facts);
    holds.add(entry);
    return { entry, facts };
  }

  /** The entry for what was found under a name. */
  found(folder: Entry, name: string, facts: FileFacts): Entry {
    const known = folder.children?.get(name);
    if (known) {
      if (isSame(known, facts)) return known;
      this.#detach(known);
    }
    const entry = newEntry(folder, name, facts);
    folder.references += 1;
    folder.children ??= new Map();
    folder.children.set(name, entry);
    return entry;
  }

  /** The entry that is known under a name, whether it is true or not. */
  known(folder: Entry, name: string): Entry | undefined {
    return folder.children?.get(name);
  }

  /** Before a name is taken away: keep what the guest holds. */
  *keep(entry: Entry, holds: Holds): Steps<void> {
    if (this.#nrNameless < NAMELESS_MAX) yield* this.anchorOf(entry, holds);
  }

  /** A name has been taken away. */
  removed(folder: Entry, name: string, onForgotten?: () => void): void {
    const entry = folder.children?.get(name);
    if (!entry) {
      onForgotten?.();
      return;
    }
    entry.onForgotten = onForgotten;
    this.#detach(entry);
  }

  /** The entry no longer has a name; the way up from it stays, for `..`. */
  #detach(entry: Entry): void {
    const { parent } = entry;
    if (!parent || entry.isGone) return;
    if (parent.children?.get(entry.name) === entry) parent.children.delete(entry.name);
    entry.isGone = true;
    if (this.#anchored.delete(entry)) this.#nrNameless += 1;
    this.#settle(entry);
  }

  /** What had one name has another one; what had that is gone. */
  moved(from: Entry, name: string, to: Entry, newName: string, onForgotten?: () => void): void {
    this.removed(to, newName, onForgotten);
    const entry = from.children?.get(name);
    if (!entry) return;
    // The host may have moved folders in between: an entry below itself would never be let go.
    for (let above: Entry | undefined = to; above; above = above.parent) {
      if (above === entry) {
        this.#detach(entry);
        return;
      }
    }
    from.children?.delete(name);
    entry.parent = to;
    entry.name = newName;
    to.references += 1;
    to.children ??= new Map();
    to.children.set(newName, entry);
    this.forget(from);
  }

  /** One reference less. */
  forget(entry: Entry): void {
    entry.references -= 1;
    this.#settle(entry);
  }

  /** What nobody refers to goes, and perhaps what is above it. */
  #settle(start: Entry): void {
    let entry: Entry | undefined = start;
    while (entry && entry.references === 0) {
      const parent: Entry | undefined = entry.parent;
      if (!parent) return;
      if (entry.isGone && entry.anchor !== undefined) this.#nrNameless -= 1;
      this.#dropAnchor(entry);
      if (parent.children?.get(entry.name) === entry) parent.children.delete(entry.name);
      // Not twice.
      entry.references = -1;
      entry.onForgotten?.();
      parent.references -= 1;
      entry = parent;
    }
  }

  /** How many anchors are open; for tests. */
  get nrAnchors(): number {
    return this.#anchored.size + this.#nrNameless + (this.root.anchor === undefined ? 0 : 1);
  }

  /** The root's anchor belongs to whoever opened it. All else must have been let go. */
  close(): void {
    for (const entry of [...this.#anchored]) this.#dropAnchor(entry);
  }
}

const newEntry = (parent: Entry | undefined, name: string, facts: FileFacts): Entry => ({
  parent,
  name,
  dev: facts.dev,
  ino: facts.ino,
  isFolder: (facts.mode & Mode.typeMask) === Mode.directory,
  isGone: false,
  references: 0,
  users: 0,
  anchor: undefined,
  children: undefined,
  onForgotten: undefined,
});
