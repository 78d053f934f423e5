/** The root disk of a guest: its own child of an image's root, gone with the guest, or a disk that is being made. */
import { vdevNumber } from '../backend/block/vdev.ts';
import { invariant } from '../base/errors.ts';
import type { Disk } from '../disk/disk.ts';
import { openDisk } from '../disk/open.ts';
import { volatileHost } from '../disk/volatile.ts';
import { throwawayChild } from '../image/rootfs/root-disk.ts';
import type { StoredImage } from '../image/store.ts';
import { nodeDiskHost } from './disk-host.ts';
import type { Images } from './images.ts';
import type { MachineDisk } from './machine.ts';

export const ROOT_DEVICE = 'xvda';
/** What a kernel needs to mount it, besides its driver for disks; the cloud kernel has it built in. */
export const ROOT_MODULES = ['ext4', 'crc32c_generic'];

export interface RootDisk {
  /** For a machine, which closes it; another time for the next one. @throws DomusError E_DISK_* */
  open(): Promise<MachineDisk>;
  /** Call when no machine has it any more. */
  remove(): Promise<void>;
}

async function rootDevice(opening: Promise<Disk>, isThrowaway: boolean): Promise<MachineDisk> {
  const devid = vdevNumber(ROOT_DEVICE);
  invariant(devid !== undefined, `${ROOT_DEVICE} is the name of a disk`);
  return { name: ROOT_DEVICE, devid, disk: await opening, isThrowaway };
}

/** @throws DomusError E_DISK_* */
export async function openThrowawayRoot({ store }: Images, image: StoredImage): Promise<RootDisk> {
  const child = await store.exclusively(() =>
    throwawayChild(nodeDiskHost(), store.rootPath(image.root), store.runsFolder),
  );
  return { open: () => rootDevice(child.open(), true), remove: child.remove };
}

/** A root in the making, to be changed for good. */
export function newRoot(path: string): RootDisk {
  return {
    open: () => rootDevice(openDisk(volatileHost(nodeDiskHost()), path), false),
    remove: async () => {},
  };
}
