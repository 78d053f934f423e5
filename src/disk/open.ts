/**
 * Opens a disk with all files that it builds on: finds parents, compares identities, claims every file against use by
 * others.
 */
import type { BlockFile, FileLock } from '../platform/block-files.ts';
import { type ChainLink, closeLink, Disk } from './disk.ts';
import { badParent, corrupt, unsupported } from './errors.ts';
import { detectFormat, formatByContents, formatByName } from './format.ts';
import type { DiskHost } from './host.ts';
import { type ImageFormat, LAYERS_MAX, type Layer } from './layer.ts';
import { markParentOf } from './mark-parent.ts';
import { folderOf } from './path.ts';
import { openQcow2 } from './qcow2/image.ts';
import { rawLayer } from './raw.ts';
import { removeUnfinished } from './unfinished.ts';
import { VhdImage } from './vhd/image.ts';
import { footerOf, formatUuid, VhdType } from './vhd/layout.ts';
import { parentCandidates } from './vhd/locator.ts';
import { findFooter, readMetadata } from './vhd/metadata.ts';
import { openVhdx } from './vhdx/image.ts';

export interface OpenOptions {
  /** Found out from name and contents when absent. */
  readonly format?: ImageFormat | undefined;
  readonly isReadOnly?: boolean | undefined;
  /**
   * What it builds on as far as that is known, open until after this one is closed: its files are not opened and claimed again. So a guest's disk
   * has one set of tables with the root that it builds on, and all clones have.
   */
  readonly root?: Disk | undefined;
  /** The caller has made the file, and nobody else knows of it: it can be written, which is else found out first. */
  readonly isOwn?: boolean | undefined;
}

/** An open file as a layer. */
export async function openLayer(file: BlockFile, format: ImageFormat): Promise<Layer> {
  switch (format) {
    case 'raw':
      return rawLayer(file, await file.size());
    case 'vhd':
      return new VhdImage(file, await readMetadata(file));
    case 'qcow2':
      return openQcow2(file);
    case 'vhdx':
      return openVhdx(file);
  }
}

const TO_BE_READ = 'it was opened to be read only';
const hasChildren = 'other disks build on it';

async function whyReadOnly(host: DiskHost, layer: Layer): Promise<string | undefined> {
  if (layer.format === 'qcow2' || layer.format === 'vhdx') return `${layer.format} images are only read`;
  if (layer instanceof VhdImage && layer.isHidden) return hasChildren;
  if (!(await host.files.isWritable(layer.path))) return 'the file is write-protected';
  return undefined;
}

interface Opened {
  readonly file: BlockFile;
  readonly lock: FileLock;
}

async function claim(host: DiskHost, path: string, mode: 'read' | 'write'): Promise<Opened> {
  const lock = await host.files.lock(path, mode === 'read' ? 'shared' : 'exclusive');
  try {
    return { file: await host.files.open(path, mode), lock };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** The parent of a differencing image: the first candidate that is the right one. */
export async function findParent(
  host: DiskHost,
  child: VhdImage,
): Promise<{ path: string; format: ImageFormat }> {
  const { parent } = child.meta;
  if (!parent) throw corrupt(child.path, 'it has no parent');
  const childPath = await host.files.realPath(child.path);
  const isAnonymous = parent.uuid.every(byte => byte === 0);
  let why = `no file of the name ${parent.name}`;
  for (const path of parentCandidates(childPath, parent.name, parent.locators)) {
    if (!(await host.files.exists(path))) continue;
    const file = await host.files.open(path, 'read');
    try {
      const looksLike = await formatByContents(file);
      if (isAnonymous) {
        // Without an identity any file of the host would do: only one beside the child is believed.
        const isBeside = (await host.files.realPath(path)).startsWith(`${folderOf(childPath)}/`);
        const byName = formatByName(path) ?? 'raw';
        if (isBeside && (byName === looksLike || looksLike === 'raw')) return { path, format: byName };
        why = `${path} is not in the folder of its child`;
        continue;
      }
      if (looksLike !== 'vhd') {
        why = `${path} is no VHD`;
        continue;
      }
      // The rest is looked at when it is opened.
      const { uuid } = footerOf((await findFooter(file)).footer);
      if (uuid.every((byte, i) => byte === parent.uuid[i])) return { path, format: 'vhd' };
      why = `${path} is another image (${formatUuid(uuid)}, not ${formatUuid(parent.uuid)})`;
    } finally {
      await file.close();
    }
  }
  throw badParent(child.path, why);
}

const hasParent = (layer: Layer): layer is VhdImage =>
  layer instanceof VhdImage && layer.meta.type === VhdType.differencing;

/** What the top file is, and why it cannot be written: so that it can be claimed for what is done with it. */
async function firstLook(
  host: DiskHost,
  path: string,
  { format: wanted, isReadOnly = false, isOwn = false }: OpenOptions,
): Promise<{ format: ImageFormat; reason: string | undefined }> {
  if (wanted && isReadOnly) return { format: wanted, reason: TO_BE_READ };
  if (wanted && isOwn) return { format: wanted, reason: undefined };
  const probe = await host.files.open(path, 'read');
  try {
    const format = wanted ?? (await detectFormat(probe));
    if (isReadOnly) return { format, reason: TO_BE_READ };
    return { format, reason: await whyReadOnly(host, await openLayer(probe, format)) };
  } finally {
    await probe.close();
  }
}

/**
 * From the parent of `child` on, the links of a disk that has it. One of the places where the parent may be has to be a name of that file: an
 * identity alone goes with every copy.
 */
async function borrowed(host: DiskHost, child: VhdImage, root: Disk | undefined): Promise<ChainLink[]> {
  const { parent } = child.meta;
  if (!root || !parent) return [];
  const at = root.layers.findIndex(
    layer =>
      layer instanceof VhdImage &&
      layer.file.isReadOnly &&
      footerOf(layer.meta.footer).uuid.every((byte, i) => byte === parent.uuid[i]),
  );
  const known = root.layers[at];
  if (!known) return [];
  const childPath = await host.files.realPath(child.path);
  for (const path of parentCandidates(childPath, parent.name, parent.locators)) {
    if (!(await host.files.isSame(path, known.path))) continue;
    return root.layers.slice(at).map(layer => ({ layer, isBorrowed: true, release: async () => {} }));
  }
  return [];
}

const tooMany = (path: string) => unsupported(path, `it builds on more than ${LAYERS_MAX} files`);

/** @throws DomusError E_DISK_... */
export async function openDisk(host: DiskHost, path: string, options: OpenOptions = {}): Promise<Disk> {
  const links: ChainLink[] = [];
  const giveBack = async () => {
    for (const link of links) await closeLink(link).catch(() => {});
  };
  try {
    const { format, reason } = await firstLook(host, path, options);
    let next: { path: string; format: ImageFormat } | undefined = { path, format };
    const seen = new Set<string>();
    while (next) {
      const mode = links.length === 0 && reason === undefined ? 'write' : 'read';
      const real: string = await host.files.realPath(next.path);
      if (seen.has(real)) throw badParent(path, `the chain comes back to ${real}`);
      seen.add(real);
      if (seen.size > LAYERS_MAX) throw tooMany(path);
      const { file, lock } = await claim(host, next.path, mode);
      let layer: Layer;
      try {
        layer = await openLayer(file, next.format);
      } catch (error) {
        await file.close();
        await lock.release();
        throw links.length === 0 ? error : badParent(path, (error as Error).message, error);
      }
      links.push({ layer, release: () => lock.release() });
      if (mode === 'write') await removeUnfinished(host, real);
      const others = hasParent(layer) ? await borrowed(host, layer, options.root) : [];
      links.push(...others);
      if (links.length > LAYERS_MAX) throw tooMany(path);
      next = hasParent(layer) && others.length === 0 ? await findParent(host, layer) : undefined;
    }
    const [top, below] = links;
    if (reason === undefined && top && below) await markParentOf(host, top.layer, below.layer);
    return new Disk(path, links, reason);
  } catch (error) {
    await giveBack();
    throw error;
  }
}
