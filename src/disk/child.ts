/** New images over others: what snapshots and clones are made of. */
import { DomusError } from '../base/errors.ts';
import { createFile } from './create.ts';
import type { Disk } from './disk.ts';
import { unsupported } from './errors.ts';
import type { DiskHost } from './host.ts';
import { folderOf, join, nameOf } from './path.ts';
import { checkVhdSize, childBlockBytes, type ParentOfNew, writeNewVhd } from './vhd/create.ts';
import { VhdImage } from './vhd/image.ts';
import { footerOf } from './vhd/layout.ts';

/** A path of a file that may not be there, without links in its folder's. */
export async function absolute(host: DiskHost, path: string): Promise<string> {
  return join(await host.files.realPath(folderOf(path)).catch(() => folderOf(path)), nameOf(path));
}

/** An image as the parent of another one, under the name that it is going to have. */
export const parentOf = (image: VhdImage, path: string): ParentOfNew => {
  const { uuid, timestamp } = footerOf(image.meta.footer);
  return { path, uuid: uuid.slice(), timestamp };
};

/** @param finalPath where it is going to be used: its parent is named from there */
export async function createChild(
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

/** @throws DomusError E_DISK_EXISTS */
export async function mustNotExist(host: DiskHost, path: string): Promise<void> {
  if (await host.files.exists(path)) {
    throw new DomusError('E_DISK_EXISTS', `${path} exists already`, 'choose another name');
  }
}

/** @throws DomusError E_DISK_UNSUPPORTED when the disk's own file is none */
export function topVhd(disk: Disk, doing: string): VhdImage {
  const [top] = disk.layers;
  if (top instanceof VhdImage) return top;
  throw unsupported(disk.path, `${doing} needs a VHD, and it is ${disk.format}`);
}

/**
 * A new disk over an image that is not written any more.
 * @param name of the image, where it has several
 */
export async function childOf(
  host: DiskHost,
  image: VhdImage,
  path: string,
  sizeBytes: number,
  name = image.path,
): Promise<void> {
  const parentPath = await host.files.realPath(name);
  await createChild(host, path, path, sizeBytes, parentOf(image, parentPath), image.meta.blockBytes);
}
