/**
 * Snapshots and clones in constant time: the image that was written so far gets another name and is never written again; a new
 * image over it, empty, takes its place.
 *
 * Steps, and what a cut after each leaves: everything flushed (the old disk); the new image under a temporary name (the old disk);
 * a second name for the old image (the old disk); the new image in the old one's place (the new disk, the same contents). Last the
 * old image is marked as one that others build on.
 */
import { DomusError } from '../base/errors.ts';
import type { FileLock } from '../platform/block-files.ts';
import { createFile } from './create.ts';
import type { ChainLink, Disk } from './disk.ts';
import { unsupported } from './errors.ts';
import { type DiskHost, randomBytes } from './host.ts';
import { folderOf, join, nameOf } from './path.ts';
import { checkVhdSize, childBlockBytes, type ParentOfNew, writeNewVhd } from './vhd/create.ts';
import { VhdImage } from './vhd/image.ts';
import { footerOf } from './vhd/layout.ts';
import { readMetadata } from './vhd/metadata.ts';

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');

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

/**
 * Keep what the disk holds now under the name `snapshotPath`; the disk goes on under its own. Requests wait meanwhile.
 * @throws DomusError E_DISK_EXISTS, E_DISK_UNSUPPORTED, E_DISK_READ_ONLY
 */
export async function snapshotDisk(host: DiskHost, disk: Disk, snapshotPath: string): Promise<void> {
  const old = topVhd(disk, 'a snapshot');
  if (disk.whyReadOnly !== undefined) {
    throw new DomusError(
      'E_DISK_READ_ONLY',
      `${disk.path} cannot change: ${disk.whyReadOnly}`,
      'clone it instead',
    );
  }
  const path = await host.files.realPath(disk.path);
  const kept = await absolute(host, snapshotPath);
  await mustNotExist(host, kept);
  const temporary = `${path}.tmp-${hex(randomBytes(host, 6))}`;
  await disk.exclusively(async () => {
    await old.flush();
    await createChild(host, temporary, path, disk.sizeBytes, parentOf(old, kept), old.meta.blockBytes);
    let keptLock: FileLock | undefined;
    try {
      await host.files.link(path, kept);
      keptLock = await host.files.lock(kept, 'shared');
      await host.files.replace(temporary, path);
    } catch (error) {
      await keptLock?.release();
      await host.files.remove(temporary).catch(() => {});
      throw error;
    }
    const file = await host.files.open(path, 'write');
    const child = new VhdImage(file, await readMetadata(file));
    const [top, ...below] = disk.links as [ChainLink, ...ChainLink[]];
    const lock = keptLock;
    old.path = kept;
    await old.changeFooter(footer => {
      footer.hidden = 1;
    });
    await old.seal();
    disk.setLinks([
      // The lock on the disk's own name stays what it was.
      { layer: child, release: () => top.release() },
      { layer: old, release: () => lock.release() },
      ...below,
    ]);
  });
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
  await snapshotDisk(host, disk, `${stem}-${hex(randomBytes(host, 4))}.base.vhd`);
  await childOf(host, disk.layers[1] as VhdImage, path, disk.sizeBytes);
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
