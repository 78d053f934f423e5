/**
 * Where the parts of a file system lie: groups of 128 MiB, their bitmaps and inode tables gathered for sixteen groups at a time,
 * copies of the superblock in a few groups. Everything else is for data.
 */
import { DomusError } from '../../../base/errors.ts';
import { BLOCK_BYTES, GroupDescriptor, INODE_BYTES } from './structures.ts';

export const BLOCKS_PER_GROUP = 8 * BLOCK_BYTES;
export const INODES_PER_GROUP = 8192;
export const TABLE_BLOCKS = (INODES_PER_GROUP * INODE_BYTES) / BLOCK_BYTES;
export const LOG_GROUPS_PER_FLEX = 4;
const GROUPS_PER_FLEX = 1 << LOG_GROUPS_PER_FLEX;
/** A file system is so many bytes, or a multiple. */
export const GROUP_BYTES = BLOCKS_PER_GROUP * BLOCK_BYTES;
/** Block numbers have 32 bits. */
const SIZE_MAX_BYTES = 2 ** 32 * BLOCK_BYTES;

export interface Run {
  readonly start: number;
  readonly count: number;
}

export interface Group {
  readonly number: number;
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
  /** Where a copy of superblock and descriptors begins. */
  readonly superblock: number | undefined;
}

export interface Geometry {
  readonly nrBlocks: number;
  readonly groups: readonly Group[];
  readonly descriptorBlocks: number;
  /** What is no place for data, in order and apart. */
  readonly reserved: readonly Run[];
}

/** Feature sparse_super: groups 0 and 1, and the powers of 3, 5 and 7. */
function hasSuperblock(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some(base => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

/** @throws DomusError E_DISK_SIZE */
export function geometryOf(sizeBytes: number): Geometry {
  if (sizeBytes % GROUP_BYTES !== 0 || sizeBytes < 2 * GROUP_BYTES || sizeBytes > SIZE_MAX_BYTES) {
    throw new DomusError(
      'E_DISK_SIZE',
      `a root disk cannot have ${sizeBytes} bytes`,
      'choose a multiple of 128 MiB, such as 16G',
    );
  }
  const nrBlocks = sizeBytes / BLOCK_BYTES;
  const nrGroups = nrBlocks / BLOCKS_PER_GROUP;
  const descriptorBlocks = Math.ceil((nrGroups * GroupDescriptor.size) / BLOCK_BYTES);
  const groups: Group[] = [];
  const reserved: Run[] = [];
  for (let first = 0; first < nrGroups; first += GROUPS_PER_FLEX) {
    const count = Math.min(GROUPS_PER_FLEX, nrGroups - first);
    const base = first * BLOCKS_PER_GROUP + (hasSuperblock(first) ? 1 + descriptorBlocks : 0);
    for (let i = 0; i < count; i++) {
      const number = first + i;
      const superblock = hasSuperblock(number) ? number * BLOCKS_PER_GROUP : undefined;
      if (superblock !== undefined) reserved.push({ start: superblock, count: 1 + descriptorBlocks });
      if (i === 0) reserved.push({ start: base, count: count * (2 + TABLE_BLOCKS) });
      groups.push({
        number,
        blockBitmap: base + i,
        inodeBitmap: base + count + i,
        inodeTable: base + 2 * count + i * TABLE_BLOCKS,
        superblock,
      });
    }
  }
  return { nrBlocks, groups, descriptorBlocks, reserved };
}
