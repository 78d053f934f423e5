/** What describes a file system as a whole: bitmaps, group descriptors, superblock and its copies. */
import type { BlockWriter } from './block-writer.ts';
import { crc16 } from './crc16.ts';
import {
  BLOCKS_PER_GROUP,
  type Geometry,
  INODES_PER_GROUP,
  LOG_GROUPS_PER_FLEX,
  type Run,
} from './geometry.ts';
import {
  BLOCK_BYTES,
  Compat,
  FIRST_INODE,
  GroupDescriptor,
  INODE_BYTES,
  INODE_ZEROED,
  Incompat,
  JOURNAL_INODE,
  RoCompat,
  SUPERBLOCK_MAGIC,
  SUPERBLOCK_OFFSET,
  Superblock,
} from './structures.ts';

export interface FileSystemFacts {
  readonly uuid: Uint8Array;
  readonly hashSeed: Uint8Array;
  readonly label: string;
  /** Seconds since 1970. */
  readonly time: number;
  /** The journal's inode, for repair if that is lost. */
  readonly journal: { readonly block: Uint8Array; readonly sizeBytes: number };
  /** Blocks in use, without those of `Geometry.reserved`. */
  readonly used: readonly Run[];
  /** Inodes 1 to this one are in use. */
  readonly lastInode: number;
  /** Folders by their inodes. */
  readonly directories: readonly number[];
}

const VALID = 1;
const ERRORS_CONTINUE = 1;
const DYNAMIC_REVISION = 1;
const HALF_MD4 = 1;
const SIGNED_HASH = 1;
const JOURNAL_BACKUP_BLOCKS = 1;
/** user_xattr and acl. */
const MOUNT_OPTIONS = 0xc;

function setBits(bitmap: Uint8Array, from: number, to: number): void {
  for (let bit = from; bit < to; bit++) {
    if (bit % 8 === 0 && bit + 8 <= to) {
      bitmap[bit >> 3] = 0xff;
      bit += 7;
    } else bitmap[bit >> 3]! |= 1 << (bit & 7);
  }
}

/** Bitmaps of blocks, one a group, and how many are free in each. */
function blockBitmaps({ groups, reserved }: Geometry, used: readonly Run[]) {
  const bitmaps = groups.map(() => new Uint8Array(BLOCK_BYTES));
  const free = groups.map(() => BLOCKS_PER_GROUP);
  for (const { start, count } of [...reserved, ...used]) {
    for (let at = start; at < start + count; ) {
      const group = Math.floor(at / BLOCKS_PER_GROUP);
      const end = Math.min(start + count, (group + 1) * BLOCKS_PER_GROUP);
      setBits(bitmaps[group]!, at - group * BLOCKS_PER_GROUP, end - group * BLOCKS_PER_GROUP);
      free[group]! -= end - at;
      at = end;
    }
  }
  return { bitmaps, free };
}

export async function writeDescription(
  writer: BlockWriter,
  geometry: Geometry,
  facts: FileSystemFacts,
): Promise<void> {
  const { groups, descriptorBlocks, nrBlocks } = geometry;
  const { bitmaps, free } = blockBitmaps(geometry, facts.used);
  const descriptors = new Uint8Array(descriptorBlocks * BLOCK_BYTES);
  let freeInodes = 0;
  for (const group of groups) {
    const { number, blockBitmap, inodeBitmap, inodeTable } = group;
    const firstInode = number * INODES_PER_GROUP + 1;
    const nrUsed = Math.min(INODES_PER_GROUP, Math.max(0, facts.lastInode + 1 - firstInode));
    freeInodes += INODES_PER_GROUP - nrUsed;
    const inodes = new Uint8Array(BLOCK_BYTES);
    setBits(inodes, 0, nrUsed);
    // Bits without an inode are set.
    setBits(inodes, INODES_PER_GROUP, BLOCK_BYTES * 8);
    await writer.write(blockBitmap, bitmaps[number]!);
    await writer.write(inodeBitmap, inodes);
    const at = number * GroupDescriptor.size;
    const descriptor = GroupDescriptor.at(new DataView(descriptors.buffer), at);
    Object.assign(descriptor, {
      blockBitmap,
      inodeBitmap,
      inodeTable,
      freeBlocksCount: free[number],
      freeInodesCount: INODES_PER_GROUP - nrUsed,
      usedDirsCount: facts.directories.filter(
        inode => inode >= firstInode && inode < firstInode + INODES_PER_GROUP,
      ).length,
      flags: INODE_ZEROED,
      itableUnused: INODES_PER_GROUP - nrUsed,
    });
    const index = new Uint8Array(new Uint32Array([number]).buffer);
    const guarded = descriptors.subarray(at, at + GroupDescriptor.offsets.checksum);
    descriptor.checksum = crc16(crc16(crc16(0xffff, facts.uuid), index), guarded);
  }
  const freeBlocks = free.reduce((sum, count) => sum + count, 0);
  // The first copy last: before it is there, there is no file system.
  for (const { number, superblock } of [...groups].reverse()) {
    if (superblock === undefined) continue;
    const bytes = superblockBytes(geometry, facts, { number, freeBlocks, freeInodes, nrBlocks });
    const block = new Uint8Array(BLOCK_BYTES);
    block.set(bytes, number === 0 ? SUPERBLOCK_OFFSET : 0);
    await writer.write(superblock + 1, descriptors);
    await writer.flush();
    await writer.write(superblock, block);
  }
  await writer.flush();
}

interface Counts {
  readonly number: number;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  readonly nrBlocks: number;
}

function superblockBytes({ groups }: Geometry, facts: FileSystemFacts, counts: Counts): Uint8Array {
  const bytes = new Uint8Array(Superblock.size);
  const superblock = Superblock.at(new DataView(bytes.buffer), 0);
  Object.assign(superblock, {
    inodesCount: groups.length * INODES_PER_GROUP,
    blocksCount: counts.nrBlocks,
    freeBlocksCount: counts.freeBlocks,
    freeInodesCount: counts.freeInodes,
    logBlockSize: Math.log2(BLOCK_BYTES) - 10,
    logClusterSize: Math.log2(BLOCK_BYTES) - 10,
    blocksPerGroup: BLOCKS_PER_GROUP,
    clustersPerGroup: BLOCKS_PER_GROUP,
    inodesPerGroup: INODES_PER_GROUP,
    writeTime: facts.time,
    lastCheck: facts.time,
    makeTime: facts.time,
    maxMountCount: 0xffff,
    magic: SUPERBLOCK_MAGIC,
    state: VALID,
    errors: ERRORS_CONTINUE,
    revision: DYNAMIC_REVISION,
    firstInode: FIRST_INODE,
    inodeSize: INODE_BYTES,
    blockGroup: counts.number,
    compat: Compat.hasJournal | Compat.extAttr | Compat.dirIndex,
    incompat: Incompat.filetype | Incompat.extents | Incompat.flexBg,
    roCompat:
      RoCompat.sparseSuper |
      RoCompat.largeFile |
      RoCompat.gdtChecksum |
      RoCompat.dirNlink |
      RoCompat.extraIsize,
    journalInode: JOURNAL_INODE,
    hashVersion: HALF_MD4,
    journalBackupType: JOURNAL_BACKUP_BLOCKS,
    defaultMountOptions: MOUNT_OPTIONS,
    minExtraIsize: 32,
    wantExtraIsize: 32,
    flags: SIGNED_HASH,
    logGroupsPerFlex: LOG_GROUPS_PER_FLEX,
  });
  superblock.uuid.set(facts.uuid);
  superblock.hashSeed.set(facts.hashSeed);
  superblock.volumeName.set(new TextEncoder().encode(facts.label).subarray(0, 16));
  const { block, sizeBytes } = facts.journal;
  const words = new DataView(block.buffer, block.byteOffset, block.byteLength);
  for (let i = 0; i < 15; i++) superblock.journalBlocks.set(i, words.getUint32(i * 4, true));
  superblock.journalBlocks.set(15, Math.floor(sizeBytes / 2 ** 32));
  superblock.journalBlocks.set(16, sizeBytes >>> 0);
  return bytes;
}
