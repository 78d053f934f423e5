/** Roots of guests as disk images: made once, then only read (root-disk.ts), or copied for others. */
import { type ConvertOptions, convertDisk } from '../../disk/convert.ts';
import { createImage } from '../../disk/create.ts';
import { type DiskHost, randomBytes } from '../../disk/host.ts';
import { openDisk } from '../../disk/open.ts';
import { VhdImage } from '../../disk/vhd/image.ts';
import { volatileHost } from '../../disk/volatile.ts';
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
