/**
 * Snapshots and clones in constant time: the image that was written so far gets another name and is never written again; a new
 * image over it, empty, takes its place.
 *
 * Steps, and what a cut after each leaves: everything flushed, the new image under a temporary name, and a second name for the old image,
 * all at the same time (the old disk); the new image in the old one's place (the new disk, the same contents). Last the old image is marked as one
 * that others build on. A clone is made with the new image, under a temporary name, and gets its own when nobody writes to the old image any
 * more: a flush takes as long as several at the same time. Temporary names that a cut leaves are taken away by unfinished.ts.
 */
import { DomusError } from '../base/errors.ts';
import type { BlockFile, FileLock } from '../platform/block-files.ts';
import { createFile } from './create.ts';
import type { ChainLink, Disk } from './disk.ts';
import { unsupported } from './errors.ts';
import { type DiskHost, randomHex } from './host.ts';
import { folderOf, join, nameOf } from './path.ts';
import { unfinishedName } from './unfinished.ts';
import { checkVhdSize, childBlockBytes, type ParentOfNew, writeNewVhd } from './vhd/create.ts';
import { VhdImage } from './vhd/image.ts';
import { footerOf } from './vhd/layout.ts';
import { readMetadata } from './vhd/metadata.ts';

async function absolute(host: DiskHost, path: string): Promise<string> {
  return join(await host.files.realPath(folderOf(path)).catch(() => folderOf(path)), nameOf(path));
}

const parentOf = (image: VhdImage, path: string): ParentOfNew => {
  const { uuid, timestamp } = footerOf(image.meta.footer);
  return { path, uuid: uuid.slice(), timestamp };
};

async function createChild(
  host: DiskHost,
  path: string,
  finalPath: string,
  sizeBytes: number,
  parent: ParentOfNew,
  blockBytes: number,
): Promise<void> {
  checkVhdSize(sizeBytes);
  const type = 'differencing';
  const spec = {
    type,
    sizeBytes,
    finalPath,
    parent,
    blockBytes: childBlockBytes(sizeBytes, blockBytes),
  } as const;
  await createFile(host, path, file => writeNewVhd(host, file, spec));
}

async function mustNotExist(host: DiskHost, path: string): Promise<void> {
  if (await host.files.exists(path)) {
    throw new DomusError('E_DISK_EXISTS', `${path} exists already`, 'choose another name');
  }
}

function topVhd(disk: Disk, doing: string): VhdImage {
  const [top] = disk.layers;
  if (top instanceof VhdImage) return top;
  throw unsupported(disk.path, `${doing} needs a VHD, and it is ${disk.format}`);
}

/** Durable files and names, made at the same time: all of them, or none is left. */
async function makeAll(host: DiskHost, parts: ReadonlyMap<string, Promise<void>>): Promise<void> {
  const names = [...parts.keys()];
  const ends = await Promise.allSettled(parts.values());
  const failed = ends.find(end => end.status === 'rejected');
  if (!failed) return;
  for (const [i, end] of ends.entries())
    if (end.status === 'fulfilled') await host.files.remove(names[i] as string).catch(() => {});
  throw failed.reason;
}

/**
 * Keep what the disk holds now under the name `snapshotPath`; the disk goes on under its own. Requests wait meanwhile.
 * @throws DomusError E_DISK_EXISTS, E_DISK_UNSUPPORTED, E_DISK_READ_ONLY
 */
export const snapshotDisk = (host: DiskHost, disk: Disk, snapshotPath: string): Promise<void> =>
  keepAs(host, disk, snapshotPath);

/** @param clonePath for a second disk over what is kept */
async function keepAs(host: DiskHost, disk: Disk, snapshotPath: string, clonePath?: string): Promise<void> {
  await (await beginSnapshot(host, disk, snapshotPath, clonePath)).take();
}

/** A snapshot for which everything is being made while the disk is at work. */
export interface BegunSnapshot {
  /** Settles when nothing but the moment is left; a failure is `take`'s to report. */
  readonly ready: Promise<unknown>;
  /** This is the moment: what the disk holds now is kept. */
  take(): Promise<void>;
  /** Instead of that: nothing is left of it. Afterwards it does nothing. */
  giveUp(): Promise<void>;
}

/** Named after the disk if it lies in its folder: who opens the disk clears that away. A name cannot be moved between file systems. */
const unfinishedClone = (host: DiskHost, path: string, clonePath: string): string =>
  unfinishedName(host, folderOf(path) === folderOf(clonePath) ? path : clonePath);

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
  const { files } = host;
  const old = topVhd(disk, 'a snapshot');
  const { sizeBytes } = disk;
  if (disk.whyReadOnly !== undefined) {
    throw new DomusError(
      'E_DISK_READ_ONLY',
      `${disk.path} cannot change: ${disk.whyReadOnly}`,
      'clone it instead',
    );
  }
  const path = await files.realPath(disk.path);
  const kept = await absolute(host, snapshotPath);
  await mustNotExist(host, kept);
  const temporary = unfinishedName(host, path);
  const cloneTemporary = clonePath === undefined ? undefined : unfinishedClone(host, path, clonePath);
  const parent = parentOf(old, kept);
  const child = (at: string, finalPath: string) =>
    createChild(host, at, finalPath, sizeBytes, parent, old.meta.blockBytes);
  const parts = new Map([
    [temporary, child(temporary, path)],
    [kept, files.link(path, kept)],
  ]);
  if (clonePath !== undefined && cloneTemporary !== undefined)
    parts.set(cloneTemporary, child(cloneTemporary, clonePath));
  const removeParts = async () => {
    for (const name of parts.keys()) await files.remove(name).catch(() => {});
  };
  const ready = openParts(host, makeAll(host, parts), temporary, kept, removeParts);
  ready.catch(() => {});

  let isOver = false;
  const drop = async () => {
    const { top, keptLock } = await ready;
    await top.close();
    await keptLock.release();
    await removeParts();
  };
  const take = async () => {
    isOver = true;
    const isTaken = await disk.exclusively(async () => {
      // Somebody else has changed the disk since.
      if (disk.layers[0] !== old || disk.sizeBytes !== sizeBytes) return false;
      const flushed = old.flush();
      flushed.catch(() => {});
      const { top, keptLock } = await ready;
      try {
        await flushed;
        await files.replace(temporary, path);
      } catch (error) {
        await drop();
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
      const sealed = old.sealAs(footer => {
        footer.hidden = 1;
      });
      sealed.catch(() => {});
      if (clonePath !== undefined && cloneTemporary !== undefined)
        await rename(host, cloneTemporary, clonePath);
      await sealed;
      return true;
    });
    if (isTaken) return;
    await drop();
    await keepAs(host, disk, snapshotPath, clonePath);
  };
  const giveUp = async () => {
    if (isOver) return;
    isOver = true;
    await drop().catch(() => {});
  };
  return { ready: ready.catch(() => {}), take, giveUp };
}

interface OpenedParts {
  /** The disk's new file, under its temporary name. */
  readonly top: VhdImage;
  readonly keptLock: FileLock;
}

async function openParts(
  { files }: DiskHost,
  made: Promise<void>,
  temporary: string,
  kept: string,
  removeParts: () => Promise<void>,
): Promise<OpenedParts> {
  await made;
  let keptLock: FileLock | undefined;
  let file: BlockFile | undefined;
  try {
    keptLock = await files.lock(kept, 'shared');
    file = await files.open(temporary, 'write');
    return { top: new VhdImage(file, await readMetadata(file)), keptLock };
  } catch (error) {
    await file?.close();
    await keptLock?.release();
    await removeParts();
    throw error;
  }
}

/** To a name that nobody has. */
async function rename(host: DiskHost, from: string, to: string): Promise<void> {
  try {
    await host.files.link(from, to);
  } finally {
    await host.files.remove(from).catch(() => {});
  }
}

/** A new disk over an image that is not written any more. */
async function childOf(host: DiskHost, image: VhdImage, path: string, sizeBytes: number): Promise<void> {
  const parentPath = await host.files.realPath(image.path);
  await createChild(host, path, path, sizeBytes, parentOf(image, parentPath), image.meta.blockBytes);
}

/** The image with what the disk holds now, where nobody writes to it any more: nothing was written since the last snapshot or clone. */
export function baseOf(disk: Disk): VhdImage | undefined {
  const [top, below] = disk.layers;
  if (!(top instanceof VhdImage)) return undefined;
  if (top.isHidden) return top;
  const isBase = below instanceof VhdImage && below.isHidden && below.sizeBytes === disk.sizeBytes;
  return isBase && top.nrBlocksUsed === 0 ? below : undefined;
}

/**
 * A new disk `clonePath` that holds what this one holds now; both go on, each on its own.
 * @throws DomusError E_DISK_EXISTS, E_DISK_UNSUPPORTED
 */
export async function cloneDisk(host: DiskHost, disk: Disk, clonePath: string): Promise<void> {
  await (await beginClone(host, disk, clonePath)).take();
}

/** The first half of `cloneDisk`, as `beginSnapshot`. @throws DomusError E_DISK_EXISTS, E_DISK_UNSUPPORTED */
export async function beginClone(host: DiskHost, disk: Disk, clonePath: string): Promise<BegunSnapshot> {
  const path = await absolute(host, clonePath);
  await mustNotExist(host, path);
  const isQuick = disk.format === 'raw' || baseOf(disk) !== undefined;
  if (!isQuick) return beginSnapshot(host, disk, newBase(host, disk), path);
  return { ready: Promise.resolve(), take: () => cloneOver(host, disk, path), giveUp: async () => {} };
}

async function cloneOver(host: DiskHost, disk: Disk, path: string): Promise<void> {
  if (disk.format === 'raw') {
    await cloneRaw(host, disk, path);
    return;
  }
  const base = baseOf(disk);
  if (base) await childOf(host, base, path, disk.sizeBytes);
  else await keepAs(host, disk, newBase(host, disk), path);
}

const newBase = (host: DiskHost, disk: Disk): string =>
  `${disk.path.replace(/\.[^./]+$/, '')}-${randomHex(host, 4)}.base.vhd`;

/** A raw file cannot say that others build on it: it is write-protected. */
async function cloneRaw(host: DiskHost, disk: Disk, path: string): Promise<void> {
  const parentPath = await host.files.realPath(disk.path);
  if (folderOf(parentPath) !== folderOf(path)) {
    throw unsupported(disk.path, 'clones of a raw image must lie in its folder');
  }
  await disk.flush();
  await host.files.protect(parentPath);
  const parent = { path: parentPath, uuid: new Uint8Array(16), timestamp: 0 };
  await createChild(host, path, path, disk.sizeBytes, parent, 2 << 20);
}
