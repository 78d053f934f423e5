/**
 * A root file system while it is put together: folders, files, links and devices with owners, modes and extended attributes,
 * in memory. Only the contents of files lie elsewhere; what stands for them here is the type `C`.
 *
 * The tree is a world of its own. Paths come from archives of strangers; they are walked here and never on the host, with `..` at
 * the root leading to the root and symbolic links followed inside, as in a chroot. So there is nothing to break out to.
 */
import { corrupt, tooLarge } from '../compress/errors.ts';

export interface Attributes {
  /** Permissions with set-uid, set-gid and sticky bits: 12 bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, with their fraction. */
  readonly mtime: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

export interface FileNode<C> {
  readonly kind: 'file';
  attributes: Attributes;
  readonly contents: C;
}
export interface DirectoryNode<C> {
  readonly kind: 'directory';
  attributes: Attributes;
  readonly entries: Map<string, TreeEntry<C>>;
}
export interface SymlinkNode {
  readonly kind: 'symlink';
  attributes: Attributes;
  readonly target: string;
}
export interface SpecialNode {
  readonly kind: 'char-device' | 'block-device' | 'fifo';
  attributes: Attributes;
  readonly major: number;
  readonly minor: number;
}
/** One node under two names is a hard link. */
export type TreeNode<C> = FileNode<C> | DirectoryNode<C> | SymlinkNode | SpecialNode;

export interface TreeEntry<C> {
  readonly node: TreeNode<C>;
  /** The layer that put the name here; what a whiteout in a later layer may take away. */
  readonly layer: number;
}

export interface PutOptions {
  /** Where a folder is put over a symbolic link to one, the link stays and the folder's entries go where it leads, as dpkg does it. */
  readonly keepsFolderLinks?: boolean;
}

const WHAT = 'file tree';
const NAME_BYTES_MAX = 255;
const TARGET_BYTES_MAX = 4095;
/** As Linux has it. */
const LINKS_FOLLOWED_MAX = 40;
const DEPTH_MAX = 256;
/** Entries of a tree: each takes a few hundred bytes of memory here, whatever it was in its archive. */
const ENTRIES_MAX = 1 << 20;

const encoder = new TextEncoder();

export const plainAttributes = (mode: number): Attributes => ({
  mode,
  uid: 0,
  gid: 0,
  mtime: 0,
  xattrs: new Map(),
});

/** The names of a path, without empty ones and `.`; `..` stays. @throws DomusError E_IMAGE_CORRUPT */
export function splitPath(path: string): string[] {
  const names = path.split('/').filter(name => name !== '' && name !== '.');
  for (const name of names) {
    if (name.includes('\0') || encoder.encode(name).length > NAME_BYTES_MAX) {
      throw corrupt(WHAT, `a name that no file can have: ${JSON.stringify(name.slice(0, 60))}`);
    }
  }
  return names;
}

interface Place<C> {
  readonly folder: DirectoryNode<C>;
  /** Undefined: the path stands for `folder` itself. */
  readonly name: string | undefined;
}

export class FileTree<C> {
  readonly root: DirectoryNode<C> = {
    kind: 'directory',
    attributes: plainAttributes(0o755),
    entries: new Map(),
  };
  #layer = 0;
  #nrEntries = 0;

  /** What is put from now on belongs to a layer over what is there. */
  beginLayer(): void {
    this.#layer += 1;
  }

  /** The node at a path, symbolic links followed except for a last one. */
  find(path: string): TreeNode<C> | undefined {
    const place = this.#walk(splitPath(path), false);
    if (!place) return undefined;
    return place.name === undefined ? place.folder : place.folder.entries.get(place.name)?.node;
  }

  /** Put a node under a path. Folders on the way that are missing are made; what had the name goes. */
  put(path: string, node: TreeNode<C>, options: PutOptions = {}): void {
    const names = splitPath(path);
    const { folder, name } = this.#walk(names, true)!;
    if (name === undefined) {
      if (node.kind !== 'directory') throw corrupt(WHAT, `${path} would take the place of a folder`);
      folder.attributes = node.attributes;
      return;
    }
    const before = folder.entries.get(name);
    if (node.kind === 'directory') {
      if (before?.node.kind === 'directory') {
        before.node.attributes = node.attributes;
        folder.entries.set(name, { node: before.node, layer: this.#layer });
        return;
      }
      const isFolderLink = before?.node.kind === 'symlink' && this.#resolve([this.root], names, false);
      if (options.keepsFolderLinks && isFolderLink) return;
    }
    this.#set(folder, name, node);
  }

  /** Another name for what `target` names. @throws DomusError E_IMAGE_CORRUPT when there is no such file */
  link(path: string, target: string): void {
    const node = this.find(target);
    if (!node || node.kind === 'directory') {
      throw corrupt(WHAT, `${path} is a hard link to ${target}, which is no file here`);
    }
    const { folder, name } = this.#walk(splitPath(path), true)!;
    if (name === undefined) throw corrupt(WHAT, `${path} would take the place of a folder`);
    this.#set(folder, name, node);
  }

  /** Take a name of a lower layer away, with all below it. What this layer has put there itself stays. */
  whiteOut(path: string): void {
    const place = this.#walk(splitPath(path), false);
    if (place?.name !== undefined) this.#dropLower(place.folder, place.name);
  }

  /** Take away everything in a folder that lower layers have put there. */
  makeOpaque(path: string): void {
    const chain = this.#resolve([this.root], splitPath(path), false);
    const folder = chain?.at(-1);
    if (!folder) return;
    for (const name of [...folder.entries.keys()]) this.#dropLower(folder, name);
  }

  remove(path: string): void {
    const place = this.#walk(splitPath(path), false);
    if (place?.name !== undefined) place.folder.entries.delete(place.name);
  }

  #dropLower(folder: DirectoryNode<C>, name: string): void {
    const entry = folder.entries.get(name);
    if (!entry) return;
    if (entry.node.kind === 'directory') {
      const { entries } = entry.node;
      for (const inner of [...entries.keys()]) this.#dropLower(entry.node, inner);
      if (entries.size > 0) return;
    }
    if (entry.layer < this.#layer) folder.entries.delete(name);
  }

  #set(folder: DirectoryNode<C>, name: string, node: TreeNode<C>): void {
    if (node.kind === 'symlink') {
      const { length } = encoder.encode(node.target);
      if (length === 0 || length > TARGET_BYTES_MAX || node.target.includes('\0')) {
        throw corrupt(WHAT, `${name} is a symbolic link to a name that no file can have`);
      }
    }
    this.#nrEntries += 1;
    if (this.#nrEntries > ENTRIES_MAX) throw tooLarge(WHAT, ENTRIES_MAX * 256);
    folder.entries.set(name, { node, layer: this.#layer });
  }

  /** The folder that holds, or would hold, the last name of a path. */
  #walk(names: readonly string[], makes: boolean): Place<C> | undefined {
    const last = names.at(-1);
    const isFolder = last === undefined || last === '..';
    const chain = this.#resolve([this.root], isFolder ? names : names.slice(0, -1), makes);
    if (!chain) return undefined;
    return { folder: chain.at(-1)!, name: isFolder ? undefined : last };
  }

  /** The folders from the root to the one that `names` lead to from the last of `chain`; undefined where the way ends. */
  #resolve(
    chain: readonly DirectoryNode<C>[],
    names: readonly string[],
    makes: boolean,
    budget = { links: LINKS_FOLLOWED_MAX },
  ): DirectoryNode<C>[] | undefined {
    let here = [...chain];
    for (const name of names) {
      if (name === '..') {
        if (here.length > 1) here.pop();
        continue;
      }
      const folder = here.at(-1)!;
      const node = folder.entries.get(name)?.node;
      if (node?.kind === 'directory') {
        here.push(node);
      } else if (node?.kind === 'symlink') {
        budget.links -= 1;
        if (budget.links < 0) {
          if (makes) throw corrupt(WHAT, `too many symbolic links on the way to ${name}`);
          return undefined;
        }
        const from = node.target.startsWith('/') ? [this.root] : here;
        const reached = this.#resolve(from, splitPath(node.target), makes, budget);
        if (!reached) return undefined;
        here = reached;
      } else if (makes) {
        // Also in place of a file: a later layer may turn one into a folder.
        const made: DirectoryNode<C> = {
          kind: 'directory',
          attributes: plainAttributes(0o755),
          entries: new Map(),
        };
        this.#set(folder, name, made);
        here.push(made);
      } else return undefined;
      if (here.length > DEPTH_MAX) throw corrupt(WHAT, 'folders are nested too deeply');
    }
    return here;
  }
}
