/**
 * Numbers of 9P2000.L, the dialect of 9P that Linux speaks, and of Linux itself where they cross the wire.
 * Sources: Linux include/net/9p/9p.h, include/uapi/asm-generic/errno*.h, include/uapi/linux/stat.h.
 */

/** Requests. The reply's number is one more. */
export const T = {
  statfs: 8,
  lopen: 12,
  lcreate: 14,
  symlink: 16,
  mknod: 18,
  rename: 20,
  readlink: 22,
  getattr: 24,
  setattr: 26,
  xattrwalk: 30,
  xattrcreate: 32,
  readdir: 40,
  fsync: 50,
  lock: 52,
  getlock: 54,
  link: 70,
  mkdir: 72,
  renameat: 74,
  unlinkat: 76,
  version: 100,
  auth: 102,
  attach: 104,
  flush: 108,
  walk: 110,
  read: 116,
  write: 118,
  clunk: 120,
  remove: 122,
} as const;
/** The reply to a request that failed; it carries an errno. */
export const RLERROR = 7;

export const VERSION = '9P2000.L';
/** size[4] type[1] tag[2] */
export const HEADER_BYTES = 7;
export const NOFID = 0xffff_ffff;
/** Names in one walk. */
export const WALK_MAX = 16;

export const QidType = { directory: 0x80, symlink: 0x02, file: 0x00 } as const;

/** Flags of lopen and lcreate. */
export const Open = {
  accessMask: 0o3,
  writeOnly: 0o1,
  readWrite: 0o2,
  excl: 0o200,
  trunc: 0o1000,
  append: 0o2000,
  dsync: 0o10000,
  directory: 0o200000,
  sync: 0o4000000,
} as const;

export const AT_REMOVEDIR = 0x200;

/** What a setattr sets. */
export const Setattr = {
  mode: 1 << 0,
  uid: 1 << 1,
  gid: 1 << 2,
  size: 1 << 3,
  atime: 1 << 4,
  mtime: 1 << 5,
  ctime: 1 << 6,
  /** Without these the time is now. */
  atimeSet: 1 << 7,
  mtimeSet: 1 << 8,
} as const;

/** Fields of a getattr up to the number of blocks, and when the file was made. */
export const GETATTR_BASIC = 0x7ffn;
export const GETATTR_BTIME = 0x800n;

export const LockType = { read: 0, write: 1, unlock: 2 } as const;
export const LockStatus = { success: 0, blocked: 1, error: 2 } as const;

export const XattrFlag = { create: 1, replace: 2 } as const;

export const Mode = {
  typeMask: 0o170000,
  socket: 0o140000,
  symlink: 0o120000,
  regular: 0o100000,
  blockDevice: 0o060000,
  directory: 0o040000,
  charDevice: 0o020000,
  fifo: 0o010000,
  setuid: 0o4000,
  setgid: 0o2000,
  permissions: 0o7777,
} as const;

/** The file system's number in a statfs (V9FS_MAGIC in uapi/linux/magic.h). */
export const V9FS_MAGIC = 0x01021997;
export const NAME_MAX = 255;
/** Limits of extended attributes (uapi/linux/limits.h). */
export const XATTR_NAME_MAX = 255;
export const XATTR_SIZE_MAX = 65536;
export const XATTR_LIST_MAX = 65536;

export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  ESTALE: 116,
} as const;
