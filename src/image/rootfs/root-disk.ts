/** Roots of guests as disk images (make-root.ts) with a child of its own for everybody who writes. */
import { childOf, topVhd } from '../../disk/child.ts';
import type { Disk } from '../../disk/disk.ts';
import type { DiskHost } from '../../disk/host.ts';
import type { ImageFormat } from '../../disk/layer.ts';
import { openDisk } from '../../disk/open.ts';
import { cloneDisk } from '../../disk/snapshot.ts';
import { volatileHost } from '../../disk/volatile.ts';
import { joinPath, makeScratchFolder, removeFile } from '../../platform/node/cache-folder.ts';

/** A disk over a root that nobody else sees. */
export interface ThrowawayDisk {
  /** What it builds on, open for as long as it lives. */
  readonly root: Disk;
  /** One user at a time. @throws DomusError E_DISK_* */
  open(): Promise<Disk>;
  /** Call when the disk is closed. */
  remove(): Promise<void>;
}

/** A root whose files are taken to where its child lies. */
export interface Gathering {
  /** Takes them into that folder, and returns where the root is then. */
  gather(root: Disk, folder: string): Promise<string>;
  /** The root, where the caller has it open until the child is removed. */
  readonly root?: Disk | undefined;
  /** What it is known to be; else that is found out. */
  readonly format?: ImageFormat;
}

/** A root that is only read, open where its files have been taken to. @throws DomusError E_DISK_* */
export async function openGathered(
  host: DiskHost,
  path: string,
  folder: string,
  { gather, format }: Gathering,
): Promise<Disk> {
  const options = { isReadOnly: true, format };
  const root = await openDisk(host, path, options);
  try {
    const gathered = await gather(root, folder);
    if (gathered === path) return root;
    await root.close();
    return await openDisk(host, gathered, options);
  } catch (error) {
    await root.close();
    throw error;
  }
}

/** @throws DomusError E_DISK_* when the root is missing or damaged */
export async function throwawayChild(
  host: DiskHost,
  rootPath: string,
  scratchParent: string,
  gathering: Gathering = { gather: async () => rootPath },
): Promise<ThrowawayDisk> {
  const quick = volatileHost(host);
  const folder = await makeScratchFolder(scratchParent);
  const path = joinPath(folder, 'root.vhd');
  const { root: held, gather } = gathering;
  let root = held;
  const remove = async () => {
    if (!held) await root?.close();
    await removeFile(folder);
  };
  try {
    if (held) {
      const name = await gather(held, folder);
      await childOf(quick, topVhd(held, 'a clone'), path, held.sizeBytes, name);
    } else {
      // Open for as long as the child lives: nobody may take it away while the child is closed.
      root = await openGathered(quick, rootPath, folder, gathering);
      await cloneDisk(quick, root, path);
    }
    const known = root as Disk;
    return {
      root: known,
      open: () => openDisk(quick, path, { format: 'vhd', isOwn: true, root: known }),
      remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}
