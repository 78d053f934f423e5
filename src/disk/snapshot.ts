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
import type { FileLock } from '../platform/block-files.ts';
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

/** Named after the disk if it lies in its folder: who opens the disk clears that away. A name cannot be moved between file systems. */
const unfinishedClone = (host: DiskHost, path: string, clonePath: string): string =>
  unfinishedName(host, folderOf(path) === folderOf(clonePath) ? path : clonePath);

/** @param clonePath for a second disk over what is kept */
async function keepAs(host: DiskHost, disk: Disk, snapshotPath: string, clonePath?: string): Promise<void> {
  const { files } = host;
  const old = topVhd(disk, 'a snapshot');
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
  await disk.exclusively(async () => {
    const parent = parentOf(old, kept);
    const child = (at: string, finalPath: string) =>
      createChild(host, at, finalPath, disk.sizeBytes, parent, old.meta.blockBytes);
    const made = new Map([
      [temporary, child(temporary, path)],
      [kept, files.link(path, kept)],
    ]);
    if (clonePath !== undefined && cloneTemporary !== undefined)
      made.set(cloneTemporary, child(cloneTemporary, clonePath));
    const flushed = old.flush();
    flushed.catch(() => {});
    await makeAll(host, made);
    let keptLock: FileLock | undefined;
    try {
      await flushed;
      keptLock = await files.lock(kept, 'shared');
      await files.replace(temporary, path);
    } catch (error) {
      await keptLock?.release();
      for (const name of made.keys()) await files.remove(name).catch(() => {});
      throw error;
    }
    const file = await files.open(path, 'write');
    const top = new VhdImage(file, await readMetadata(file));
    const [before, ...below] = disk.links as [ChainLink, ...ChainLink[]];
    const lock = keptLock;
    old.path = kept;
    disk.setLinks([
      // The lock on the disk's own name stays what it was.
      { layer: top, release: () => before.release() },
      { layer: old, release: () => lock.release() },
      ...below,
    ]);
    const sealed = old.sealAs(footer => {
      footer.hidden = 1;
    });
    sealed.catch(() => {});
    if (clonePath !== undefined && cloneTemporary !== undefined)
      await rename(host, cloneTemporary, clonePath);
    await sealed;
  });
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

/**
 * A new disk `clonePath` that holds what this one holds now; both go on, each on its own.
 * @throws DomusError E_DISK_EXISTS, E_DISK_UNSUPPORTED
 */
export async function cloneDisk(host: DiskHost, disk: Disk, clonePath: string): Promise<void> {
  const path = await absolute(host, clonePath);
  await mustNotExist(host, path);
  if (disk.format === 'raw') {
    await cloneRaw(host, disk, path);
    return;
  }
  const top = topVhd(disk, 'a clone');
  if (top.isHidden) {
    await childOf(host, top, path, disk.sizeBytes);
    return;
  }
  // Nothing was written since the last clone: its base will do.
  const below = disk.layers[1];
  if (
    below instanceof VhdImage &&
    below.isHidden &&
    below.sizeBytes === disk.sizeBytes &&
    top.nrBlocksUsed === 0
  ) {
    await childOf(host, below, path, disk.sizeBytes);
    return;
  }
  const stem = disk.path.replace(/\.[^./]+$/, '');
  await keepAs(host, disk, `${stem}-${randomHex(host, 4)}.base.vhd`, path);
}

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
