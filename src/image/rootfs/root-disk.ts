/** Roots of guests as disk images: made once, then only read, with a child of its own for everybody who writes. */
import { childOf, topVhd } from '../../disk/child.ts';
import { type ConvertOptions, convertDisk } from '../../disk/convert.ts';
import { createImage } from '../../disk/create.ts';
import type { Disk } from '../../disk/disk.ts';
import { type DiskHost, randomBytes } from '../../disk/host.ts';
import type { ImageFormat } from '../../disk/layer.ts';
import { openDisk } from '../../disk/open.ts';
import { cloneDisk } from '../../disk/snapshot.ts';
import { VhdImage } from '../../disk/vhd/image.ts';
import { volatileHost } from '../../disk/volatile.ts';
import { joinPath, makeScratchFolder, removeFile } from '../../platform/node/cache-folder.ts';
import { corrupt } from '../compress/errors.ts';
import { Ext4, type StoredFile } from './ext4/file-system.ts';
import { FileTree } from './tree.ts';

/** What a root can grow to; its file takes what is in it. */
export const ROOT_DISK_BYTES = 16 * 2 ** 30;
const LABEL = 'root';

/** A new image file with the tree that `fill` makes. @throws DomusError E_IMAGE_*, E_DISK_* */
export async function makeRootDisk(
  host: DiskHost,
  path: string,
  sizeBytes: number,
  fill: (fs: Ext4, tree: FileTree<StoredFile>) => Promise<void>,
): Promise<void> {
  const quick = volatileHost(host);
  await createImage(quick, path, { format: 'vhd', sizeBytes });
  const disk = await openDisk(quick, path);
  try {
    const fs = new Ext4(disk, {
      sizeBytes,
      uuid: version4(randomBytes(host, 16)),
      hashSeed: randomBytes(host, 16),
      label: LABEL,
      time: Number(host.clock.wallNs() / 1_000_000_000n),
    });
    const tree = new FileTree<StoredFile>();
    await fill(fs, tree);
    await fs.finish(tree);
  } finally {
    await disk.close();
  }
}

/** A UUID made of chance, by RFC 4122. */
function version4(bytes: Uint8Array): Uint8Array {
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}

/** From now on the image is only read, and others build on it. */
export async function sealRootDisk(host: DiskHost, path: string): Promise<void> {
  const disk = await openDisk(host, path);
  try {
    const [image] = disk.layers;
    if (!(image instanceof VhdImage)) throw corrupt(path, 'it is no VHD');
    await image.changeFooter(footer => {
      footer.hidden = 1;
    });
  } finally {
    await disk.close();
  }
}

/** Copy a root into a VHD of its own. @throws DomusError E_DISK_* */
export async function exportRootDisk(
  host: DiskHost,
  rootPath: string,
  path: string,
  options: Pick<ConvertOptions, 'onProgress' | 'signal'>,
): Promise<void> {
  const root = await openDisk(host, rootPath, { isReadOnly: true });
  try {
    await convertDisk(host, root, path, { ...options, format: 'vhd' });
  } finally {
    await root.close();
  }
}

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
