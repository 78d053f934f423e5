/**
 * A snapshot in two halves: everything is made while the disk is at work, and in one moment what it holds is kept. (snapshot.ts says what
 * a cut leaves.)
 */
import { DomusError } from '../base/errors.ts';
import type { BlockFile, FileLock } from '../platform/block-files.ts';
import { absolute, createChild, mustNotExist, parentOf, topVhd } from './child.ts';
import type { ChainLink, Disk } from './disk.ts';
import type { DiskHost } from './host.ts';
import { markAsParent } from './mark-parent.ts';
import { folderOf } from './path.ts';
import { unfinishedName } from './unfinished.ts';
import { VhdImage } from './vhd/image.ts';
import { readMetadata } from './vhd/metadata.ts';

export interface BegunSnapshot {
  /** Settles when nothing but the moment is left; a failure is `take`'s to report. */
  readonly ready: Promise<unknown>;
  /** This is the moment: what the disk holds now is kept. Requests wait meanwhile. */
  take(): Promise<void>;
  /** Instead of that: nothing is left of it. Afterwards it does nothing. */
  giveUp(): Promise<void>;
}

/** What is to be made, and of what. */
interface Plan {
  readonly host: DiskHost;
  readonly disk: Disk;
  readonly old: VhdImage;
  readonly sizeBytes: number;
  /** Of the disk, of its new file until it is the disk's, and of what is kept. */
  readonly path: string;
  readonly temporary: string;
  readonly kept: string;
  /** Of a second disk over what is kept. */
  readonly clone: { readonly path: string; readonly temporary: string } | undefined;
}

/**
 * The first half of `snapshotDisk`, for who has to hold something else during the second one.
 * @param clonePath for a second disk over what is kept
 * @throws DomusError E_DISK_EXISTS, E_DISK_UNSUPPORTED, E_DISK_READ_ONLY
 */
export async function beginSnapshot(
  host: DiskHost,
  disk: Disk,
  snapshotPath: string,
  clonePath?: string,
): Promise<BegunSnapshot> {
  const old = topVhd(disk, 'a snapshot');
  if (disk.whyReadOnly !== undefined) {
    throw new DomusError(
      'E_DISK_READ_ONLY',
      `${disk.path} cannot change: ${disk.whyReadOnly}`,
      'clone it instead',
    );
  }
  const { sizeBytes } = disk;
  const path = await host.files.realPath(disk.path);
  const kept = await absolute(host, snapshotPath);
  await mustNotExist(host, kept);
  const plan = {
    ...{ host, disk, old, sizeBytes, path, kept },
    temporary: unfinishedName(host, path),
    clone:
      clonePath === undefined
        ? undefined
        : { path: clonePath, temporary: unfinishedClone(host, path, clonePath) },
  };
  return new Begun(plan, () => beginSnapshot(host, disk, snapshotPath, clonePath));
}

/** Named after the disk if it lies in its folder: who opens the disk clears that away. A name cannot be moved between file systems. */
const unfinishedClone = (host: DiskHost, path: string, clonePath: string): string =>
  unfinishedName(host, folderOf(path) === folderOf(clonePath) ? path : clonePath);

interface Parts {
  /** The disk's new file, under its temporary name. */
  readonly top: VhdImage;
  readonly keptLock: FileLock;
}

class Begun implements BegunSnapshot {
  readonly ready: Promise<unknown>;
  readonly #plan: Plan;
  readonly #parts: Promise<Parts>;
  readonly #again: () => Promise<BegunSnapshot>;
  #isOver = false;

  constructor(plan: Plan, again: () => Promise<BegunSnapshot>) {
    this.#plan = plan;
    this.#again = again;
    this.#parts = makeParts(plan);
    this.ready = this.#parts.catch(() => {});
  }

  async take(): Promise<void> {
    this.#isOver = true;
    const { disk, old, sizeBytes } = this.#plan;
    const isTaken = await disk.exclusively(async () => {
      if (disk.layers[0] !== old || disk.sizeBytes !== sizeBytes) return false;
      await this.#takeNow();
      return true;
    });
    if (isTaken) return;
    // Somebody else has changed the disk since.
    await this.#drop();
    await (await this.#again()).take();
  }

  async #takeNow(): Promise<void> {
    const { host, disk, old, path, temporary, kept, clone } = this.#plan;
    const flushed = old.flush();
    flushed.catch(() => {});
    const { top, keptLock } = await this.#parts;
    try {
      await flushed;
      await host.files.replace(temporary, path);
    } catch (error) {
      await this.#drop();
      throw error;
    }
    const [before, ...below] = disk.links as [ChainLink, ...ChainLink[]];
    top.file.path = path;
    old.file.path = kept;
    disk.setLinks([
      // The lock on the disk's own name stays what it was.
      { layer: top, release: () => before.release() },
      { layer: old, release: () => keptLock.release() },
      ...below,
    ]);
    const sealed = markAsParent(old);
    sealed.catch(() => {});
    if (clone) await rename(host, clone.temporary, clone.path);
    await sealed;
  }

  async giveUp(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.#drop().catch(() => {});
  }

  async #drop(): Promise<void> {
    const { top, keptLock } = await this.#parts;
    await top.close();
    await keptLock.release();
    await remove(this.#plan.host, namesOf(this.#plan));
  }
}

/**
 * Images, made at the same time, since a flush takes as long as several, and then the second name of the disk: unfinished.ts knows by the
 * image whose that is. All of them, or none is left.
 */
async function makeParts(plan: Plan): Promise<Parts> {
  const { host, old, sizeBytes, path, temporary, kept, clone } = plan;
  const { files } = host;
  const parent = parentOf(old, kept);
  const made: string[] = [];
  const child = async (at: string, finalPath: string) => {
    await createChild(host, at, finalPath, sizeBytes, parent, old.meta.blockBytes);
    made.push(at);
  };
  let keptLock: FileLock | undefined;
  let file: BlockFile | undefined;
  try {
    const ends = await Promise.allSettled([
      child(temporary, path),
      clone && child(clone.temporary, clone.path),
    ]);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    // A name that cannot be made may be somebody else's.
    await files.link(path, kept);
    made.unshift(kept);
    keptLock = await files.lock(kept, 'shared');
    file = await files.open(temporary, 'write');
    return { top: new VhdImage(file, await readMetadata(file)), keptLock };
  } catch (error) {
    await file?.close();
    await keptLock?.release();
    await remove(host, made);
    throw error;
  }
}

/** In the order in which they go. */
const namesOf = ({ temporary, kept, clone }: Plan): string[] => [
  kept,
  temporary,
  ...(clone ? [clone.temporary] : []),
];

async function remove(host: DiskHost, names: readonly string[]): Promise<void> {
  for (const name of names) await host.files.remove(name).catch(() => {});
}

/** To a name that nobody has. */
async function rename(host: DiskHost, from: string, to: string): Promise<void> {
  try {
    await host.files.link(from, to);
  } finally {
    await host.files.remove(from).catch(() => {});
  }
}
