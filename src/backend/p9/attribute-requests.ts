/** Requests about what a file is: getattr, setattr, extended attributes. */
import {
  attributesOf,
  hostPermissions,
  isRegular,
  isSpecial,
  modeOf,
  recordedMode,
  typeOf,
} from './attributes.ts';
import { anchorOf, type Call, factsAndRecord, factsOf, fileOf, type Handler, position } from './call.ts';
import { Errno, Mode, Setattr, T, XattrFlag } from './protocol.ts';
import { emptyReply, getattrReply, sizeReply } from './reply.ts';
import { RequestError, type SetattrFields } from './request.ts';
import { type Steps, wait } from './steps.ts';
import type { Entry } from './tree.ts';
import { checkXattrName, checkXattrSize, readXattr } from './xattrs.ts';

export const getattr: Handler<'getattr'> = function* (call, { fid }) {
  const { entry } = fileOf(call, fid);
  const { facts, record } = yield* factsAndRecord(call, entry);
  return getattrReply(call.tag, attributesOf(facts, record, call.folder.files, call.folder.devices));
};

export const setattr: Handler<'setattr'> = function* (call, request) {
  const { entry } = fileOf(call, request.fid);
  const { valid } = request;
  call.folder.checkWritable();
  if (valid & (Setattr.mode | Setattr.uid | Setattr.gid)) yield* setOwnership(call, entry, request);
  if (valid & Setattr.size) yield* setSize(call, entry, position(request.size));
  if (valid & (Setattr.atime | Setattr.mtime)) yield* setTimes(call, entry, request);
  return emptyReply(T.setattr, call.tag);
};

function* setOwnership(call: Call, entry: Entry, { valid, mode, uid, gid }: SetattrFields): Steps<void> {
  const { facts, record } = yield* factsAndRecord(call, entry);
  const before = modeOf(facts, record);
  // A link's permissions mean nothing and cannot be set.
  const setsMode = (valid & Setattr.mode) !== 0 && typeOf(facts.mode) !== Mode.symlink;
  const after = typeOf(before) | (mode & Mode.permissions);
  if (setsMode) {
    const permissions = hostPermissions(after, entry.isFolder);
    if ((facts.mode & 0o777) !== permissions) {
      yield* wait(call.folder.files.chmod(yield* anchorOf(call, entry), permissions));
    }
  }
  const own = call.folder.defaultOwner(facts);
  yield* call.folder.records.change(facts, old => ({
    ...old,
    ...(setsMode && { mode: recordedMode(after) }),
    ...(valid & Setattr.uid && { uid: uid === own.uid ? undefined : uid }),
    ...(valid & Setattr.gid && { gid: gid === own.gid ? undefined : gid }),
  }));
}

function* setSize(call: Call, entry: Entry, size: number): Steps<void> {
  if (entry.isFolder) throw new RequestError(Errno.EISDIR);
  const anchor = yield* anchorOf(call, entry);
  const { facts, record } = yield* factsAndRecord(call, entry);
  if (!isRegular(facts) || isSpecial(modeOf(facts, record))) throw new RequestError(Errno.EINVAL);
  yield* wait(call.folder.files.resize(anchor, size));
}

function* setTimes(call: Call, entry: Entry, { valid, atimeNs, mtimeNs }: SetattrFields): Steps<void> {
  const anchor = yield* anchorOf(call, entry);
  const facts = yield* factsOf(call, entry);
  const now = call.folder.now();
  const chosen = (isSet: number, isGiven: number, given: bigint, before: bigint): bigint => {
    if (!(valid & isSet)) return before;
    return valid & isGiven ? given : now;
  };
  yield* wait(
    call.folder.files.setTimes(
      anchor,
      chosen(Setattr.atime, Setattr.atimeSet, atimeNs, facts.atimeNs),
      chosen(Setattr.mtime, Setattr.mtimeSet, mtimeNs, facts.mtimeNs),
    ),
  );
}

/** A fid from which the value can be read, or the names of all attributes. */
export const xattrwalk: Handler<'xattrwalk'> = function* (call, { fid, newFid, name }) {
  const { entry, uid } = fileOf(call, fid);
  call.fids.checkFree(newFid);
  const { record } = yield* factsAndRecord(call, entry);
  const value = readXattr(record, name);
  const fidOfValue = call.fids.add(newFid, entry, uid);
  try {
    call.fids.openXattr(fidOfValue, { kind: 'xattr-read', value });
  } catch (error) {
    call.fids.remove(newFid);
    throw error;
  }
  return sizeReply(T.xattrwalk, call.tag, value.length);
};

/** The fid takes the value and writes it when it is given up. */
export const xattrcreate: Handler<'xattrcreate'> = function* (call, { fid: number, name, size, flags }) {
  const fid = fileOf(call, number);
  call.folder.checkWritable();
  call.fids.checkMayOpen(fid);
  checkXattrName(name);
  const value = new Uint8Array(checkXattrSize(size));
  const { record } = yield* factsAndRecord(call, fid.entry);
  const exists = record?.xattrs !== undefined && Object.hasOwn(record.xattrs, name);
  if (flags & XattrFlag.create && exists) throw new RequestError(Errno.EEXIST);
  if (flags & XattrFlag.replace && !exists) throw new RequestError(Errno.ENODATA);
  call.fids.openXattr(fid, { kind: 'xattr-write', name, flags, value });
  return emptyReply(T.xattrcreate, call.tag);
};
