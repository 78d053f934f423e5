/**
 * The structures of an ext4 file system, and the journal's superblock.
 * Source: Linux, Documentation/filesystems/ext4/ and fs/ext4/ext4.h; include/linux/jbd2.h (big-endian).
 */
import { array, bytes, type FieldType, struct, u8, u16, u32, u64n } from '../../../base/struct.ts';

export const BLOCK_BYTES = 4096;
export const INODE_BYTES = 256;
export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_MAGIC = 0xef53;

export const ROOT_INODE = 2;
export const JOURNAL_INODE = 8;
/** The first that is not reserved; by custom /lost+found. */
export const FIRST_INODE = 11;

export const Compat = { hasJournal: 0x4, extAttr: 0x8, dirIndex: 0x20 } as const;
export const Incompat = { filetype: 0x2, extents: 0x40, flexBg: 0x200 } as const;
export const RoCompat = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  gdtChecksum: 0x10,
  dirNlink: 0x20,
  extraIsize: 0x40,
} as const;

export const Superblock = struct('ext4_super_block', {
  inodesCount: u32,
  blocksCount: u32,
  reservedBlocksCount: u32,
  freeBlocksCount: u32,
  freeInodesCount: u32,
  firstDataBlock: u32,
  logBlockSize: u32,
  logClusterSize: u32,
  blocksPerGroup: u32,
  clustersPerGroup: u32,
  inodesPerGroup: u32,
  mountTime: u32,
  writeTime: u32,
  mountCount: u16,
  maxMountCount: u16,
  magic: u16,
  state: u16,
  errors: u16,
  minorRevision: u16,
  lastCheck: u32,
  checkInterval: u32,
  creatorOs: u32,
  revision: u32,
  defaultResuid: u16,
  defaultResgid: u16,
  firstInode: u32,
  inodeSize: u16,
  blockGroup: u16,
  compat: u32,
  incompat: u32,
  roCompat: u32,
  uuid: bytes(16),
  volumeName: bytes(16),
  lastMounted: bytes(64),
  algorithmUsage: u32,
  preallocBlocks: u8,
  preallocDirBlocks: u8,
  reservedGdtBlocks: u16,
  journalUuid: bytes(16),
  journalInode: u32,
  journalDevice: u32,
  lastOrphan: u32,
  hashSeed: bytes(16),
  hashVersion: u8,
  journalBackupType: u8,
  descriptorSize: u16,
  defaultMountOptions: u32,
  firstMetaGroup: u32,
  makeTime: u32,
  /** The journal's `i_block`, then the upper and lower half of its size. */
  journalBlocks: array(u32, 17),
  blocksCountHigh: u32,
  reservedBlocksCountHigh: u32,
  freeBlocksCountHigh: u32,
  minExtraIsize: u16,
  wantExtraIsize: u16,
  flags: u32,
  raidStride: u16,
  mmpInterval: u16,
  mmpBlock: u64n,
  raidStripeWidth: u32,
  logGroupsPerFlex: u8,
  checksumType: u8,
  reservedPad: u16,
  kilobytesWritten: u64n,
  rest: bytes(640),
});

export const GroupDescriptor = struct('ext4_group_desc', {
  blockBitmap: u32,
  inodeBitmap: u32,
  inodeTable: u32,
  freeBlocksCount: u16,
  freeInodesCount: u16,
  usedDirsCount: u16,
  flags: u16,
  excludeBitmap: u32,
  blockBitmapChecksum: u16,
  inodeBitmapChecksum: u16,
  /** Inodes at the end of the table that were never used. */
  itableUnused: u16,
  checksum: u16,
});
/** Flag of a group: its inode table holds zeros where nothing was written. */
export const INODE_ZEROED = 0x4;

export const Inode = struct('ext4_inode', {
  mode: u16,
  uid: u16,
  size: u32,
  accessTime: u32,
  changeTime: u32,
  modifyTime: u32,
  deleteTime: u32,
  gid: u16,
  linksCount: u16,
  /** In units of 512 bytes. */
  blocks: u32,
  flags: u32,
  version: u32,
  block: bytes(60, 4),
  generation: u32,
  fileAcl: u32,
  sizeHigh: u32,
  fragment: u32,
  blocksHigh: u16,
  fileAclHigh: u16,
  uidHigh: u16,
  gidHigh: u16,
  checksum: u16,
  reserved: u16,
  extraIsize: u16,
  checksumHigh: u16,
  /** Bits 0 and 1 extend the seconds, bits 2 to 31 are nanoseconds. */
  changeTimeExtra: u32,
  modifyTimeExtra: u32,
  accessTimeExtra: u32,
  createTime: u32,
  createTimeExtra: u32,
  versionHigh: u32,
  projectId: u32,
});
export const EXTENTS_FLAG = 0x8_0000;
/** Bytes of an inode from its 128th on that have fields. */
export const EXTRA_ISIZE = 32;
/** Where attributes begin in an inode. */
export const INODE_ATTRIBUTES_OFFSET = 128 + EXTRA_ISIZE;

export const ExtentHeader = struct('ext4_extent_header', {
  magic: u16,
  entries: u16,
  max: u16,
  depth: u16,
  generation: u32,
});
export const EXTENT_MAGIC = 0xf30a;
/** A run of blocks of a file. */
export const ExtentEntry = struct('ext4_extent', { block: u32, length: u16, startHigh: u16, start: u32 });
/** A block with further entries. */
export const ExtentIndex = struct('ext4_extent_idx', {
  block: u32,
  leaf: u32,
  leafHigh: u16,
  unused: u16,
});
/** Longer runs would mean "not yet written". */
export const EXTENT_LENGTH_MAX = 0x8000;

/** Head of a name in a folder; the name follows, and the next head begins on a multiple of four. */
export const DirectoryEntry = struct('ext4_dir_entry_2', {
  inode: u32,
  recordLength: u16,
  nameLength: u8,
  fileType: u8,
});

export const AttributeBlock = struct('ext4_xattr_header', {
  magic: u32,
  references: u32,
  blocks: u32,
  hash: u32,
  checksum: u32,
  reserved: bytes(12),
});
export const AttributeEntry = struct('ext4_xattr_entry', {
  nameLength: u8,
  nameIndex: u8,
  valueOffset: u16,
  valueInode: u32,
  valueSize: u32,
  hash: u32,
});
export const ATTRIBUTE_MAGIC = 0xea02_0000;

const be32: FieldType<number> = {
  size: 4,
  align: 4,
  get: (v, a) => v.getUint32(a),
  set: (v, a, x) => v.setUint32(a, x),
};
export const JournalSuperblock = struct('journal_superblock_s', {
  magic: be32,
  blockType: be32,
  headerSequence: be32,
  blockSize: be32,
  maxLength: be32,
  first: be32,
  sequence: be32,
  /** Where the log begins; 0: there is nothing in it. */
  start: be32,
  errno: be32,
  compat: be32,
  incompat: be32,
  roCompat: be32,
  uuid: bytes(16),
  nrUsers: be32,
});
export const JOURNAL_MAGIC = 0xc03b_3998;
export const JOURNAL_SUPERBLOCK_V2 = 4;
