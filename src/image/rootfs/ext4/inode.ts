/** The 256 bytes of an inode. */
import { corrupt } from '../../compress/errors.ts';
import type { Attributes, TreeNode } from '../tree.ts';
import {
  BLOCK_BYTES,
  EXTENTS_FLAG,
  EXTRA_ISIZE,
  INODE_ATTRIBUTES_OFFSET,
  INODE_BYTES,
  Inode,
} from './structures.ts';

/** The type bits of `i_mode`. */
const TYPE_BITS: Readonly<Record<TreeNode<unknown>['kind'], number>> = {
  fifo: 0o010000,
  'char-device': 0o020000,
  directory: 0o040000,
  'block-device': 0o060000,
  file: 0o100000,
  symlink: 0o120000,
};
/** Symbolic links up to this length lie in the inode. */
export const FAST_SYMLINK_BYTES = 59;
const LINKS_MAX = 65_000;
const SECTORS_PER_BLOCK = BLOCK_BYTES / 512;
const TIME_MIN = -(2 ** 31);
const TIME_MAX = 2 ** 34 - 2 ** 31 - 1;

export interface InodeFields {
  readonly kind: TreeNode<unknown>['kind'];
  readonly attributes: Attributes;
  readonly nrLinks: number;
  readonly sizeBytes: number;
  /** What goes into `i_block`: an extent tree, a short symbolic link, a device's number. */
  readonly block?: Uint8Array;
  readonly hasExtents?: boolean;
  /** All that belong to it, those with further extents and attributes too. */
  readonly nrBlocks?: number;
  readonly attributesInInode?: Uint8Array | undefined;
  readonly attributesBlock?: number | undefined;
}

/** Seconds as a 32-bit field, and the field with the higher bits and nanoseconds. */
function timeFields(time: number): { seconds: number; extra: number } {
  const clamped = Math.min(Math.max(time, TIME_MIN), TIME_MAX);
  const seconds = Math.floor(clamped);
  const nanoseconds = Math.min(999_999_999, Math.floor((clamped - seconds) * 1e9));
  // The lower 32 bits are signed; the epoch bits add multiples of 2^32 to them.
  const epoch = Math.floor((seconds - (seconds | 0)) / 2 ** 32);
  return { seconds: seconds >>> 0, extra: ((nanoseconds << 2) | (epoch & 3)) >>> 0 };
}

export function inodeBytes(fields: InodeFields): Uint8Array {
  const { kind, attributes, sizeBytes } = fields;
  const { mode, uid, gid } = attributes;
  let { nrLinks } = fields;
  if (nrLinks > LINKS_MAX) {
    // Feature dir_nlink: folders may have more folders inside than can be counted.
    if (kind !== 'directory') throw corrupt('file tree', `a file has ${nrLinks} names`);
    nrLinks = 1;
  }
  const bytes = new Uint8Array(INODE_BYTES);
  const time = timeFields(attributes.mtime);
  const inode = Inode.at(new DataView(bytes.buffer), 0);
  Object.assign(inode, {
    mode: TYPE_BITS[kind] | mode,
    uid: uid & 0xffff,
    uidHigh: uid >>> 16,
    gid: gid & 0xffff,
    gidHigh: gid >>> 16,
    size: sizeBytes >>> 0,
    sizeHigh: Math.floor(sizeBytes / 2 ** 32),
    linksCount: nrLinks,
    blocks: (fields.nrBlocks ?? 0) * SECTORS_PER_BLOCK,
    flags: fields.hasExtents ? EXTENTS_FLAG : 0,
    fileAcl: fields.attributesBlock ?? 0,
    extraIsize: EXTRA_ISIZE,
  });
  for (const name of ['access', 'change', 'modify', 'create'] as const) {
    inode[`${name}Time`] = time.seconds;
    inode[`${name}TimeExtra`] = time.extra;
  }
  if (fields.block) inode.block.set(fields.block);
  if (fields.attributesInInode) bytes.set(fields.attributesInInode, INODE_ATTRIBUTES_OFFSET);
  return bytes;
}

/** A device's number as `i_block` has it: old form where it is enough, else new form in the second word. */
export function deviceBlock(major: number, minor: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  if (major < 256 && minor < 256) view.setUint32(0, (major << 8) | minor, true);
  else view.setUint32(4, (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12), true);
  return new Uint8Array(view.buffer);
}
