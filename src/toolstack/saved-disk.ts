/**
 * What was on the disks of a saved guest, in files beside it:
 *
 *     NAME                  the saved machine
 *     NAME.xvda-CHANCE.vhd  the disk at that moment; nobody writes to it any more
 *
 * Whoever goes on from there has a child of it, which is thrown away with him.
 */
import { vdevNumber } from '../backend/block/vdev.ts';
import { DomusError } from '../base/errors.ts';
import type { Disk } from '../disk/disk.ts';
import { randomBytes } from '../disk/host.ts';
import { openDisk } from '../disk/open.ts';
import { cloneDisk, snapshotDisk } from '../disk/snapshot.ts';
import { VhdImage } from '../disk/vhd/image.ts';
import { volatileHost } from '../disk/volatile.ts';
import { throwawayChild } from '../image/rootfs/root-disk.ts';
import { joinPath, linkOrCopy, makeScratchFolder, removeFile } from '../platform/node/cache-folder.ts';
import { toHex } from '../platform/node/text-codecs.ts';
import { openSaved } from '../state/file.ts';
import { damaged } from '../state/format.ts';
import { nodeDiskHost } from './disk-host.ts';
import type { MachineDisk } from './machine.ts';
import { type DiskFacts, factsOf } from './machine-facts.ts';

const folderOf = (path: string): string => joinPath(path, '..');
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/**
 * Keep what a disk holds now. The guest must be held, so that nothing is under way; it goes on with the disk afterwards.
 * @throws DomusError E_SAVE_UNSUPPORTED, E_DISK_*
 */
export async function keepDisk(
  { name, disk, queueDepth, limits, isThrowaway }: MachineDisk,
  savedPath: string,
  isDurable: boolean,
): Promise<DiskFacts> {
  checkFormat(name, disk);
  const host = nodeDiskHost();
  const file = `${nameOf(savedPath)}.${name}-${toHex(randomBytes(host, 4))}.vhd`;
  const path = joinPath(folderOf(savedPath), file);
  if (isThrowaway) await linkOrCopy(await throwawayBase(disk), path, isDurable);
  else await cloneDisk(isDurable ? host : volatileHost(host), disk, path);
  return { device: name, file, isReadOnly: disk.isReadOnly, queueDepth, limits };
}

/** @throws DomusError E_SAVE_UNSUPPORTED */
function checkFormat(name: string, { format }: Disk): void {
  if (format === 'vhd') return;
  throw new DomusError(
    'E_SAVE_UNSUPPORTED',
    `a guest whose disk ${name} is ${format} cannot be saved: only a VHD can be kept as it is while the guest goes on`,
    'make it one: domus vhd convert',
  );
}

/** What a clone's disk is made of. */
export interface ForkedDisk {
  readonly facts: Omit<DiskFacts, 'file'>;
  readonly path: string;
  /** Call when no more clones are made. */
  readonly remove?: () => Promise<void>;
}

/** As `keepDisk`, for clones: nothing has to outlive this process. @throws DomusError E_SAVE_UNSUPPORTED, E_DISK_* */
export async function forkDisk(
  { name, disk, queueDepth, limits, isThrowaway }: MachineDisk,
  runsFolder: string,
): Promise<ForkedDisk> {
  checkFormat(name, disk);
  const facts = { device: name, isReadOnly: disk.isReadOnly, queueDepth, limits };
  if (isThrowaway) return { facts, path: await throwawayBase(disk) };
  const folder = await makeScratchFolder(runsFolder);
  const path = joinPath(folder, `${name}.vhd`);
  try {
    await cloneDisk(volatileHost(nodeDiskHost()), disk, path);
    return { facts, path, remove: () => removeFile(folder) };
  } catch (error) {
    await removeFile(folder);
    throw error;
  }
}

/** A file that holds what the disk holds now, and lies where the disk does. */
async function throwawayBase(disk: Disk): Promise<string> {
  const [top, below] = disk.layers;
  const isUnwritten = top instanceof VhdImage && top.nrBlocksUsed === 0;
  if (isUnwritten && below instanceof VhdImage && below.isHidden && below.sizeBytes === disk.sizeBytes)
    return below.path;
  const host = volatileHost(nodeDiskHost());
  const base = joinPath(folderOf(disk.path), `base-${toHex(randomBytes(host, 6))}.vhd`);
  await snapshotDisk(host, disk, base);
  return base;
}

export interface OpenedDisk {
  readonly machineDisk: MachineDisk;
  /** Call when the machine has closed it. */
  remove(): Promise<void>;
}

/** A disk of a guest that goes on from `basePath`. @throws DomusError E_DISK_*, E_SAVE_DAMAGED */
export async function openKeptDisk(
  { device, isReadOnly, queueDepth, limits }: Omit<DiskFacts, 'file'>,
  basePath: string,
  runsFolder: string,
): Promise<OpenedDisk> {
  const devid = vdevNumber(device);
  if (devid === undefined) throw damaged('the name of a disk');
  const known = { name: device, devid, queueDepth, limits };
  if (isReadOnly) {
    const disk = await openDisk(nodeDiskHost(), basePath, { isReadOnly, format: 'vhd' });
    return { machineDisk: { ...known, disk }, remove: async () => {} };
  }
  const child = await throwawayChild(nodeDiskHost(), basePath, runsFolder);
  try {
    return {
      machineDisk: { ...known, disk: await child.open(), isThrowaway: true },
      remove: child.remove,
    };
  } catch (error) {
    await child.remove();
    throw error;
  }
}

/** All disks of a saved machine, or none. @throws DomusError E_DISK_*, E_SAVE_DAMAGED */
export async function openKeptDisks(
  disks: readonly DiskFacts[],
  savedPath: string,
  runsFolder: string,
): Promise<OpenedDisk[]> {
  const opened: OpenedDisk[] = [];
  try {
    for (const facts of disks)
      opened.push(await openKeptDisk(facts, joinPath(folderOf(savedPath), facts.file), runsFolder));
    return opened;
  } catch (error) {
    await closeKeptDisks(opened);
    throw error;
  }
}

/** Of a machine that was not made. */
export async function closeKeptDisks(opened: readonly OpenedDisk[]): Promise<void> {
  for (const { machineDisk, remove } of opened) {
    await machineDisk.disk.close().catch(() => {});
    await remove();
  }
}

/** Of the saved machine at `path`; none where there is none that can be read. */
export function keptDisksOf(path: string): readonly DiskFacts[] {
  try {
    const saved = openSaved(path);
    try {
      return factsOf(saved).disks;
    } finally {
      saved.close();
    }
  } catch (error) {
    if (error instanceof DomusError) return [];
    throw error;
  }
}

/** Take the files away that were kept for a saved machine of this name. Who runs from them keeps them open. */
export async function removeKeptDisks(disks: readonly DiskFacts[], savedPath: string): Promise<void> {
  const own = disks.filter(({ file }) => file.startsWith(`${nameOf(savedPath)}.`));
  for (const { file } of own) await removeFile(joinPath(folderOf(savedPath), file));
}
