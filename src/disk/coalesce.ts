/**
 * Takes a file out of a chain: what it holds moves into its parent, and the child hangs on the parent from then on.
 *
 * Neither file is written by anyone else, so the disk above them can be used all the time; only when the child changes its
 * parent do requests wait. It can be broken off anywhere and started again: blocks are forgotten in the file as soon as they
 * are durable in the parent.
 */
import { DomusError } from '../base/errors.ts';
import type { ChainLink, Disk } from './disk.ts';
import { unsupported } from './errors.ts';
import type { DiskHost, DiskProgress } from './host.ts';
import { SECTOR_BYTES, type WritableLayer } from './layer.ts';
import { findParent, openDisk, openLayer } from './open.ts';
import { folderOf, join } from './path.ts';
import { relink } from './relink.ts';
import { VhdImage } from './vhd/image.ts';
import {
  FOOTER_BYTES,
  footerFault,
  footerOf,
  HEADER_BYTES,
  headerFault,
  headerOf,
  UNUSED,
  VhdType,
} from './vhd/layout.ts';
import { readMetadata } from './vhd/metadata.ts';

const PIECE_BYTES = 1 << 20;
/** Blocks merged between two flushes. */
const BATCH = 16;

export interface CoalesceOptions {
  readonly onProgress?: DiskProgress | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Runs between two pieces, so that others have their turn. */
  readonly breathe?: (() => Promise<void>) | undefined;
}

/** Images in the folder of `path` that have it as their parent, by its UUID. */
export async function childrenOf(host: DiskHost, path: string, uuid: Uint8Array): Promise<string[]> {
  const folder = folderOf(await host.files.realPath(path));
  const found: string[] = [];
  for (const name of await host.files.list(folder)) {
    if (!/\.a?vhd$/i.test(name)) continue;
    const file = await host.files.open(join(folder, name), 'read').catch(() => undefined);
    if (!file) continue;
    try {
      const footer = new Uint8Array(FOOTER_BYTES);
      await file.read(0, footer);
      if (footerFault(footer) !== undefined || footerOf(footer).type !== VhdType.differencing) continue;
      const header = new Uint8Array(HEADER_BYTES);
      await file.read(Number(footerOf(footer).dataOffset), header);
      if (headerFault(header) !== undefined) continue;
      if (headerOf(header).parentUuid.every((byte, i) => byte === uuid[i])) found.push(join(folder, name));
    } finally {
      await file.close();
    }
  }
  return found;
}

const shared = (path: string, others: readonly string[]) =>
  new DomusError(
    'E_DISK_SHARED',
    `${path} is also the parent of ${others.join(', ')}, which would change with it`,
    'remove those first, or leave the chain as it is',
  );

async function mustBelongTo(host: DiskHost, layer: VhdImage, child: string): Promise<void> {
  const own = await host.files.realPath(child);
  const children = await childrenOf(host, layer.path, footerOf(layer.meta.footer).uuid);
  const others = children.filter(path => path !== own);
  if (others.length > 0) throw shared(layer.path, others);
}

/**
 * Merge the file at `index` of the chain (0: the top) into the one below it.
 * @throws DomusError E_DISK_SHARED, E_DISK_IN_USE, E_DISK_UNSUPPORTED
 */
export async function coalesce(
  host: DiskHost,
  disk: Disk,
  index: number,
  options: CoalesceOptions = {},
): Promise<void> {
  const merged = disk.links[index];
  const target = disk.links[index + 1];
  if (index < 1 || !merged || !target || !(merged.layer instanceof VhdImage)) {
    throw unsupported(disk.path, 'there is no parent to merge this file into');
  }
  if (!(target.layer instanceof VhdImage)) {
    throw unsupported(
      disk.path,
      `${target.layer.path} is ${target.layer.format}, and only VHD files are merged into`,
    );
  }
  const childPath = disk.layers[index - 1]?.path ?? disk.path;
  await mustBelongTo(host, merged.layer, childPath);
  await mustBelongTo(host, target.layer, merged.layer.path);

  // Nobody else may read them while they change.
  await merged.release();
  await target.release();
  const mergedLock = await host.files.lock(merged.layer.path, 'exclusive');
  const targetLock = await host.files.lock(target.layer.path, 'exclusive');
  const writableTarget = await reopen(host, target.layer.path);
  const writableMerged = await reopen(host, merged.layer.path);
  try {
    if (writableTarget.sizeBytes < writableMerged.sizeBytes)
      await writableTarget.resize(writableMerged.sizeBytes);
    await mergeBlocks(writableMerged, writableTarget, options);
    await writableTarget.seal();
    await disk.exclusively(async () => {
      const above = disk.links[index - 1]?.layer as VhdImage;
      const { uuid, timestamp } = footerOf(writableTarget.meta.footer);
      const parent = { path: await host.files.realPath(target.layer.path), uuid: uuid.slice(), timestamp };
      if (index === 1 && !disk.isReadOnly) await relink(host, above, parent);
      else await relinkHidden(host, above, parent);
      const link: ChainLink = { layer: writableTarget, release: () => targetLock.release() };
      disk.setLinks([...disk.links.slice(0, index), link, ...disk.links.slice(index + 2)]);
    });
  } catch (error) {
    await writableMerged.file.close();
    await writableTarget.close();
    await mergedLock.release();
    await targetLock.release();
    throw error;
  }
  await merged.layer.close();
  await target.layer.close();
  await writableMerged.file.close();
  await host.files.remove(merged.layer.path);
  await mergedLock.release();
}

/** A child that is itself only read is opened once more, to be changed. */
async function relinkHidden(
  host: DiskHost,
  image: VhdImage,
  parent: Parameters<typeof relink>[2],
): Promise<void> {
  const writable = await reopen(host, image.path);
  await relink(host, writable, parent);
  await writable.close();
}

async function reopen(host: DiskHost, path: string): Promise<VhdImage> {
  const file = await host.files.open(path, 'write');
  return new VhdImage(file, await readMetadata(file));
}

async function mergeBlocks(from: VhdImage, to: WritableLayer, options: CoalesceOptions): Promise<void> {
  const { meta, bitmaps } = from;
  if (!bitmaps) throw unsupported(from.path, 'it is a fixed image and has no parent');
  const used = [...meta.table.keys()].filter(block => meta.table[block] !== UNUSED);
  const buffer = new Uint8Array(Math.min(PIECE_BYTES, meta.blockBytes));
  let waiting: number[] = [];
  const settle = async () => {
    await to.flush();
    for (const block of waiting) from.markMerged(block);
    waiting = [];
    await from.flush();
  };
  for (const [done, block] of used.entries()) {
    options.signal?.throwIfAborted();
    const bits = await bitmaps.get(block);
    const start = block * meta.blockBytes;
    const sectors = (Math.min(meta.sizeBytes, start + meta.blockBytes) - start) / SECTOR_BYTES;
    for (let first = 0; first < sectors; ) {
      if (!bitmaps.has(bits, first)) {
        first += 1;
        continue;
      }
      let end = first + 1;
      while (end < sectors && (end - first) * SECTOR_BYTES < buffer.length && bitmaps.has(bits, end))
        end += 1;
      const piece = buffer.subarray(0, (end - first) * SECTOR_BYTES);
      await from.read(start + first * SECTOR_BYTES, piece);
      await to.write(start + first * SECTOR_BYTES, piece, true);
      first = end;
    }
    waiting.push(block);
    if (waiting.length === BATCH) await settle();
    options.onProgress?.((done + 1) * meta.blockBytes, used.length * meta.blockBytes);
    await options.breathe?.();
  }
  await settle();
}

/**
 * Merge the top file of a disk that nobody uses into its parent, which then takes its name.
 * @throws DomusError
 */
export async function coalesceTop(
  host: DiskHost,
  path: string,
  options: CoalesceOptions = {},
): Promise<void> {
  const lock = await host.files.lock(path, 'exclusive');
  try {
    const top = await reopen(host, path);
    const parentPath = await parentPathOf(host, top);
    const children = await childrenOf(host, path, footerOf(top.meta.footer).uuid);
    if (children.length > 0) throw shared(path, children);
    const parentLock = await host.files.lock(parentPath, 'exclusive');
    try {
      const file = await host.files.open(parentPath, 'write');
      const parent = await openLayer(file, 'vhd');
      if (!(parent instanceof VhdImage)) throw unsupported(parentPath, 'it is no VHD');
      await mustBelongTo(host, parent, path);
      const from = await host.files.realPath(parentPath);
      const to = await host.files.realPath(path);
      if (parent.meta.type === VhdType.differencing && folderOf(from) !== folderOf(to)) {
        throw unsupported(parentPath, 'it lies in another folder than its child');
      }
      if (parent.sizeBytes !== top.sizeBytes) await parent.resize(top.sizeBytes);
      await mergeBlocks(top, parent, options);
      await top.file.close();
      await parent.changeFooter(footer => {
        footer.hidden = 0;
      });
      await parent.close();
      await host.files.replace(from, to);
    } finally {
      await parentLock.release();
    }
  } finally {
    await lock.release();
  }
}

/**
 * Take one file out of its chain, whoever hangs on it; `child` when it is not in the same folder.
 * @throws DomusError
 */
export async function coalesceFile(
  host: DiskHost,
  path: string,
  options: CoalesceOptions & { readonly child?: string | undefined } = {},
): Promise<void> {
  const file = await host.files.open(path, 'read');
  let uuid: Uint8Array;
  try {
    uuid = footerOf((await readMetadata(file)).footer).uuid.slice();
  } finally {
    await file.close();
  }
  const children = options.child === undefined ? await childrenOf(host, path, uuid) : [options.child];
  if (children.length > 1) throw shared(path, children);
  const [child] = children;
  if (child === undefined) {
    await coalesceTop(host, path, options);
    return;
  }
  const disk = await openDisk(host, child, { format: 'vhd', isReadOnly: true });
  try {
    await coalesce(host, disk, 1, options);
  } finally {
    await disk.close();
  }
}

async function parentPathOf(host: DiskHost, image: VhdImage): Promise<string> {
  return (await findParent(host, image)).path;
}
