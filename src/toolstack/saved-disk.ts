/**
 * What was on the disks of a saved guest, in a folder beside it:
 *
 *     NAME                                the saved machine
 *     NAME.disks-CHANCE/base-CHANCE.vhd   a disk at that moment, and what it builds on as far as it comes from the guest
 *     NAME.disks-CHANCE/saving-PID        that process has not written NAME yet
 *
 * Whoever goes on from there has a child of it, which is thrown away with him. All bases of a disk lie in one folder, under the names that
 * they had in the guest's own, so that each finds its parent there; they are second names of the same files.
 */
import { vdevNumber } from '../backend/block/vdev.ts';
import { DomusError } from '../base/errors.ts';
import { beginSnapshot } from '../disk/begun-snapshot.ts';
import type { Disk } from '../disk/disk.ts';
import { randomBytes } from '../disk/host.ts';
import { openDisk } from '../disk/open.ts';
import { baseOf, beginClone, cloneDisk, snapshotDisk } from '../disk/snapshot.ts';
import { volatileHost } from '../disk/volatile.ts';
import { throwawayChild } from '../image/rootfs/root-disk.ts';
import {
  joinPath,
  linkOrCopy,
  makeFolder,
  makeScratchFolder,
  removeFile,
  tryLink,
} from '../platform/node/cache-folder.ts';
import { toHex } from '../platform/node/text-codecs.ts';
import { openSaved } from '../state/file.ts';
import { damaged } from '../state/format.ts';
import { nodeDiskHost } from './disk-host.ts';
import type { MachineDisk } from './machine.ts';
import { type DiskFacts, factsOf, type MachineFacts } from './machine-facts.ts';

const folderOf = (path: string): string => joinPath(path, '..');
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

const BASE = /^base-[0-9a-f]{12}\.vhd$/;
const isBase = (path: string): boolean => BASE.test(nameOf(path));
const newBaseName = (): string => `base-${toHex(randomBytes(nodeDiskHost(), 6))}.vhd`;

/** The name of a folder for the disks of a saved machine. */
export const newDisksFolder = (savedPath: string): string =>
  `${nameOf(savedPath)}.disks-${toHex(randomBytes(nodeDiskHost(), 4))}`;

/**
 * Keep what a disk holds now in a folder. The guest must be held, so that nothing is under way; it goes on with the disk afterwards.
 * @throws DomusError E_SAVE_UNSUPPORTED, E_DISK_*
 */
export async function keepDisk(
  { name, disk, queueDepth, limits, isThrowaway }: MachineDisk,
  folder: string,
  isDurable: boolean,
): Promise<DiskFacts> {
  checkFormat(name, disk);
  await makeFolder(folder);
  const base = isThrowaway ? await throwawayBase(disk) : joinPath(folder, newBaseName());
  if (isThrowaway) {
    for (const { path } of disk.layers)
      if (isBase(path)) await linkOrCopy(path, joinPath(folder, nameOf(path)), isDurable);
  } else await cloneDisk(isDurable ? nodeDiskHost() : volatileHost(nodeDiskHost()), disk, base);
  return { device: name, file: nameOf(base), isReadOnly: disk.isReadOnly, queueDepth, limits };
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

/** A disk for clones, for which everything is being made while the guest is at work. */
export interface BegunFork {
  /** This is the moment; the guest must be held. */
  take(): Promise<ForkedDisk>;
  /** Instead of that, or when that has failed. */
  giveUp(): Promise<void>;
}

/**
 * As `keepDisk`, for clones: nothing has to outlive this process, and the guest is held for the last steps only.
 * @throws DomusError E_SAVE_UNSUPPORTED, E_DISK_*
 */
export async function beginFork(
  { name, disk, queueDepth, limits, isThrowaway }: MachineDisk,
  runsFolder: string,
): Promise<BegunFork> {
  checkFormat(name, disk);
  const facts = { device: name, isReadOnly: disk.isReadOnly, queueDepth, limits };
  const host = volatileHost(nodeDiskHost());
  if (isThrowaway && baseOf(disk))
    return { take: async () => ({ facts, path: await throwawayBase(disk) }), giveUp: async () => {} };
  const folder = isThrowaway ? folderOf(disk.path) : await makeScratchFolder(runsFolder);
  const remove = async () => {
    if (!isThrowaway) await removeFile(folder);
  };
  try {
    const path = joinPath(folder, newBaseName());
    const begun = await (isThrowaway ? beginSnapshot(host, disk, path) : beginClone(host, disk, path));
    await begun.ready;
    return {
      async take() {
        await begun.take();
        return { facts, path, remove };
      },
      async giveUp() {
        await begun.giveUp();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** A file that holds what the disk holds now, and lies where the disk does. */
async function throwawayBase(disk: Disk): Promise<string> {
  const known = baseOf(disk);
  if (known) return known.path;
  const base = joinPath(folderOf(disk.path), newBaseName());
  await snapshotDisk(volatileHost(nodeDiskHost()), disk, base);
  return base;
}

/** What a disk is made of gets a second name in the folder of its child, and so is there as long as that. */
export async function gather(root: Disk, folder: string): Promise<string> {
  for (const { path } of root.layers) {
    if (!isBase(path)) continue;
    if (!(await tryLink(path, joinPath(folder, nameOf(path))))) return root.path;
  }
  return isBase(root.path) ? joinPath(folder, nameOf(root.path)) : root.path;
}

export interface OpenedDisk {
  readonly machineDisk: MachineDisk;
  /** Call when the machine has closed it. */
  remove(): Promise<void>;
}

/**
 * A disk of a guest that goes on from `basePath`.
 * @param root what is there, where that is open until the disk is removed
 * @throws DomusError E_DISK_*, E_SAVE_DAMAGED
 */
export async function openKeptDisk(
  { device, isReadOnly, queueDepth, limits }: Omit<DiskFacts, 'file'>,
  basePath: string,
  runsFolder: string,
  root?: Disk,
): Promise<OpenedDisk> {
  const devid = vdevNumber(device);
  if (devid === undefined) throw damaged('the name of a disk');
  const known = { name: device, devid, queueDepth, limits };
  if (isReadOnly) {
    const disk = await openDisk(nodeDiskHost(), basePath, { isReadOnly, format: 'vhd' });
    return { machineDisk: { ...known, disk }, remove: async () => {} };
  }
  const child = await throwawayChild(nodeDiskHost(), basePath, runsFolder, { gather, root, format: 'vhd' });
  try {
    return {
      machineDisk: { ...known, disk: await child.open(), root: child.root, isThrowaway: true },
      remove: child.remove,
    };
  } catch (error) {
    await child.remove();
    throw error;
  }
}

/** All disks of a saved machine, or none. @throws DomusError E_DISK_*, E_SAVE_DAMAGED */
export async function openKeptDisks(
  { disks, disksFolder = '' }: MachineFacts,
  savedPath: string,
  runsFolder: string,
): Promise<OpenedDisk[]> {
  const opened: OpenedDisk[] = [];
  try {
    for (const facts of disks) {
      const basePath = joinPath(folderOf(savedPath), disksFolder, facts.file);
      opened.push(await openKeptDisk(facts, basePath, runsFolder));
    }
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

/** What the saved machine at `path` is; undefined where there is none that can be read. */
export function describeSaved(path: string): { facts: MachineFacts; sizeBytes: number } | undefined {
  try {
    const saved = openSaved(path);
    try {
      return { facts: factsOf(saved), sizeBytes: saved.sizeBytes };
    } finally {
      saved.close();
    }
  } catch (error) {
    if (error instanceof DomusError) return undefined;
    throw error;
  }
}

/** Take a folder away that was made for a saved machine of this name. Who runs from it has names of his own for what is in it. */
export async function removeDisksFolder(folder: string | undefined, savedPath: string): Promise<void> {
  if (!folder?.startsWith(`${nameOf(savedPath)}.disks-`)) return;
  await removeFile(joinPath(folderOf(savedPath), folder));
}
