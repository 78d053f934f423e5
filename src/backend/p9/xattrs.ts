/** Extended attributes of a file, which its record holds. Source: xattr(7), setxattr(2). */
import { bytesOfText } from './codec.ts';
import { Errno, XATTR_LIST_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX, XattrFlag } from './protocol.ts';
import type { FileRecord } from './records.ts';
import { RequestError } from './request.ts';

/** The name spaces that Linux has. Access lists need the guest's help, which it gives only if it is mounted so. */
const NAME = /^(?:user|trusted|security|system)\../;

/** @throws RequestError */
export function checkXattrName(name: string): void {
  if (name.length > XATTR_NAME_MAX) throw new RequestError(Errno.ERANGE);
  if (!NAME.test(name) || name.includes('\0')) throw new RequestError(Errno.EOPNOTSUPP);
}

/** A value, or the names, each with a NUL, if `name` is empty. @throws RequestError */
export function readXattr(record: FileRecord | undefined, name: string): Uint8Array {
  const xattrs = record?.xattrs ?? {};
  if (name === '')
    return bytesOfText(
      Object.keys(xattrs)
        .map(each => `${each}\0`)
        .join(''),
    );
  checkXattrName(name);
  const value = Object.hasOwn(xattrs, name) ? xattrs[name] : undefined;
  if (value === undefined) throw new RequestError(Errno.ENODATA);
  return bytesOfText(value);
}

/** @throws RequestError */
export function checkXattrSize(size: bigint): number {
  if (size > XATTR_SIZE_MAX) throw new RequestError(Errno.ENOSPC);
  return Number(size);
}

/** The record with the attribute set, or without it if there is no value. @throws RequestError */
export function withXattr(
  record: FileRecord,
  name: string,
  value: string | undefined,
  flags: number,
): FileRecord {
  const { [name]: before, ...others } = record.xattrs ?? {};
  if (flags & XattrFlag.create && before !== undefined) throw new RequestError(Errno.EEXIST);
  if ((flags & XattrFlag.replace || value === undefined) && before === undefined) {
    throw new RequestError(Errno.ENODATA);
  }
  const xattrs = value === undefined ? others : { ...others, [name]: value };
  const listBytes = Object.keys(xattrs).reduce((sum, each) => sum + each.length + 1, 0);
  if (listBytes > XATTR_LIST_MAX) throw new RequestError(Errno.ENOSPC);
  return { ...record, xattrs: Object.keys(xattrs).length > 0 ? xattrs : undefined };
}
