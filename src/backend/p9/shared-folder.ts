/** A folder of the host as one guest sees it: its tree, its records, and what may be done with it. */
import type { FileFacts, FolderFiles } from '../../platform/folder-files.ts';
import type { Clock } from '../../platform/platform.ts';
import { DeviceNumbers, ownerOf } from './attributes.ts';
import type { LockTable } from './locks.ts';
import { Errno } from './protocol.ts';
import { RECORDS_FOLDER, Records } from './records.ts';
import { RequestError } from './request.ts';
import { take } from './steps.ts';
import { Tree } from './tree.ts';

export interface SharedFolderOptions {
  readonly files: FolderFiles;
  readonly path: string;
  readonly isReadOnly: boolean;
  readonly clock: Clock;
  /** Shared by all guests that may share a folder. */
  readonly locks: LockTable;
}

export class SharedFolder {
  readonly path: string;
  readonly isReadOnly: boolean;
  readonly files: FolderFiles;
  readonly tree: Tree;
  readonly records: Records;
  readonly locks: LockTable;
  readonly devices = new DeviceNumbers();
  readonly #clock: Clock;
  /** Of records, that nobody waits for. */
  readonly #removals = new Set<Promise<void>>();
  #isClosed = false;

  private constructor(options: SharedFolderOptions, tree: Tree, records: Records) {
    this.path = options.path;
    this.isReadOnly = options.isReadOnly;
    this.files = options.files;
    this.locks = options.locks;
    this.#clock = options.clock;
    this.tree = tree;
    this.records = records;
  }

  /** @throws DomusError E_FOLDER_* */
  static async open(options: SharedFolderOptions): Promise<SharedFolder> {
    const { files, path, isReadOnly, clock } = options;
    const root = await files.openRoot(path);
    const facts = await files.facts(root);
    const tree = new Tree(files, root, facts, RECORDS_FOLDER);
    const records = new Records({ files, root, rootDev: facts.dev, isReadOnly, clock });
    // The root's own number comes first.
    const folder = new SharedFolder(options, tree, records);
    folder.devices.pathOf(facts);
    return folder;
  }

  now(): bigint {
    return this.#clock.wallNs();
  }

  /** Whoever is the owner where no record says otherwise. */
  defaultOwner(facts: FileFacts) {
    return ownerOf(facts, undefined, this.files);
  }

  /** @throws RequestError */
  checkWritable(): void {
    if (this.isReadOnly) throw new RequestError(Errno.EROFS);
  }

  /** A file is gone for good: so is its record. A failure leaves a record that no file can have again. */
  forgetRecord(facts: FileFacts): void {
    const removal = (async () => take(this.records.remove(facts)))()
      .catch(() => {})
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  /** Settles when no record is being removed any more. */
  async settled(): Promise<void> {
    while (this.#removals.size > 0) await Promise.all(this.#removals);
  }

  /** Nothing may be under way: see `settled`. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.tree.close();
    this.records.close();
    if (this.tree.root.anchor !== undefined) this.files.release(this.tree.root.anchor);
    this.tree.root.anchor = undefined;
  }
}
