/**
 * Snapshots and clones in constant time: the image that was written so far gets another name and is never written again; a new
 * image over it, empty, takes its place.
 *
 * Steps, and what a cut after each leaves: the new image under a temporary name, a second name for the old image, and everything flushed
 * (the old disk); the new image in the old one's place (the new disk, the same contents). Last the old image is marked as one
 * that others build on, by who opens the disk next where a cut came before that (mark-parent.ts). A clone is made with the new image, under a temporary name, and gets its own when nobody writes to the old image any
 * more: a flush takes as long as several at the same time. Names that a cut leaves are taken away by unfinished.ts.
 */
import { type BegunSnapshot, beginSnapshot } from './begun-snapshot.ts';
import { absolute, childOf, createChild, mustNotExist, topVhd } from './child.ts';
import type { Disk } from './disk.ts';
import { unsupported } from './errors.ts';
import { type DiskHost, randomHex } from './host.ts';
import { folderOf } from './path.ts';
import { VhdImage } from './vhd/image.ts';

/**
 * Keep what the disk holds now under the name `snapshotPath`; the disk goes on under its own. Requests wait meanwhile.
 * @throws DomusError E_DISK_EXISTS, E_DISK_UNSUPPORTED, E_DISK_READ_ONLY
 */
export async function snapshotDisk(host: DiskHost, disk: Disk, snapshotPath: string): Promise<void> {
  await (await beginSnapshot(host, disk, snapshotPath)).take();
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
  if (disk.format !== 'raw') topVhd(disk, 'a clone');
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
  else await (await beginSnapshot(host, disk, newBase(host, disk), path)).take();
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
