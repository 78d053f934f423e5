/** Requests about what is in files and folders: open, read, write, list, flush, give up. */
import type { OpenMode } from '../../platform/folder-files.ts';
import { isRegular, isSpecial, modeOf, typeOf } from './attributes.ts';
import { anchorOf, type Call, factsAndRecord, factsOf, fileOf, type Handler, position, qid } from './call.ts';
import { QID_BYTES, textOf } from './codec.ts';
import { OpenedFile, type OpenedFolder } from './fids.ts';
import { Errno, HEADER_BYTES, Mode, Open, T } from './protocol.ts';
import { countReply, emptyReply, finish, openReply, startReply, statfsReply } from './reply.ts';
import { RequestError } from './request.ts';
import { type Steps, wait } from './steps.ts';
import type { Entry } from './tree.ts';
import { withXattr } from './xattrs.ts';

/** Entries looked at for one reply: a long folder must not hold up the guests. */
const ENTRIES_A_REPLY = 256;
const PRIVILEGES = Mode.setuid | Mode.setgid;

export function openModeOf(flags: number): OpenMode {
  const access = flags & Open.accessMask;
  return {
    reads: access !== Open.writeOnly,
    writes: access === Open.writeOnly || access === Open.readWrite,
    appends: (flags & Open.append) !== 0,
    truncates: (flags & Open.trunc) !== 0,
    isDurable: (flags & (Open.dsync | Open.sync)) !== 0,
  };
}

/** Only files and folders are ever opened on the host: never a device, a pipe or a link. */
export function* openEntry(call: Call, entry: Entry, flags: number): Steps<OpenedFile | OpenedFolder> {
  const mode = openModeOf(flags);
  if (mode.writes || mode.truncates) call.folder.checkWritable();
  if (entry.isFolder) {
    if (mode.writes || mode.truncates) throw new RequestError(Errno.EISDIR);
    return { kind: 'folder', names: undefined };
  }
  if (flags & Open.directory) throw new RequestError(Errno.ENOTDIR);
  const anchor = yield* anchorOf(call, entry);
  const { facts, record } = yield* factsAndRecord(call, entry);
  if (typeOf(facts.mode) === Mode.symlink) throw new RequestError(Errno.ELOOP);
  const shown = modeOf(facts, record);
  if (!isRegular(facts) || isSpecial(shown)) throw new RequestError(Errno.EOPNOTSUPP);
  const file = yield* wait(call.folder.files.open(anchor, mode));
  return new OpenedFile(file, (shown & PRIVILEGES) !== 0);
}

export const lopen: Handler<'lopen'> = function* (call, { fid: number, flags }) {
  const fid = fileOf(call, number);
  call.fids.checkMayOpen(fid);
  const opened = yield* openEntry(call, fid.entry, flags);
  if (opened.kind === 'file') call.fids.open(number, fid, opened);
  else fid.opened ??= opened;
  return openReply(T.lopen, call.tag, qid(call, yield* factsOf(call, fid.entry)));
};

const mayRead = (call: Call, count: number): number => Math.min(count, call.messageBytes - HEADER_BYTES - 4);

export const read: Handler<'read'> = function* (call, { fid, offset, count }) {
  const { opened } = fileOf(call, fid);
  const most = mayRead(call, count);
  if (opened?.kind === 'xattr-read') {
    const start = Number(offset);
    const value = opened.value.subarray(start, start + most);
    const writer = startReply(T.read + 1, call.tag, 4 + value.length).u32(value.length);
    writer.room(value.length).set(value);
    return finish(writer);
  }
  if (opened?.kind !== 'file') throw new RequestError(opened?.kind === 'folder' ? Errno.EISDIR : Errno.EBADF);
  const writer = startReply(T.read + 1, call.tag, 4 + most).u32(0);
  const room = writer.room(most);
  opened.use();
  try {
    const done = yield* wait(opened.file.read(position(offset), room));
    writer.patch32(HEADER_BYTES, done);
    writer.trim(most - done);
  } finally {
    opened.release();
  }
  return finish(writer);
};

export const write: Handler<'write'> = function* (call, { fid: number, offset, data }) {
  const fid = fileOf(call, number);
  const { opened } = fid;
  if (opened?.kind === 'xattr-write') {
    const start = Number(offset);
    if (start + data.length > opened.value.length) throw new RequestError(Errno.ENOSPC);
    opened.value.set(data, start);
    return countReply(T.write, call.tag, data.length);
  }
  if (opened?.kind !== 'file') throw new RequestError(Errno.EBADF);
  opened.use();
  try {
    const start = position(offset);
    position(offset + BigInt(data.length));
    yield* wait(opened.file.write(start, data));
    if (opened.hasPrivileges && fid.uid !== 0) {
      opened.hasPrivileges = false;
      yield* dropPrivileges(call, fid.entry);
    }
  } finally {
    opened.release();
  }
  return countReply(T.write, call.tag, data.length);
};

/** As Linux does when somebody writes to a program that others would run as its owner. */
function* dropPrivileges(call: Call, entry: Entry): Steps<void> {
  const facts = yield* factsOf(call, entry);
  yield* call.folder.records.change(facts, record => ({
    ...record,
    mode: record.mode === undefined ? undefined : record.mode & ~PRIVILEGES,
  }));
}

/** Names come from the moment when the folder was read from its beginning: each once, whatever changes meanwhile. */
export const readdir: Handler<'readdir'> = function* (call, { fid: number, offset, count }) {
  const fid = fileOf(call, number);
  const { entry, opened } = fid;
  if (opened?.kind !== 'folder') throw new RequestError(opened ? Errno.ENOTDIR : Errno.EBADF);
  const { files, tree, records } = call.folder;
  const anchor = yield* anchorOf(call, entry);
  const own = yield* factsOf(call, entry);
  if (offset === 0n || !opened.names) {
    const names = yield* wait(files.list(anchor, own.size));
    call.fids.list(opened, ['.', '..', ...names.filter(name => !tree.isHidden(entry, name))]);
  }
  const { names = [] } = opened;
  const most = mayRead(call, count);
  const writer = startReply(T.readdir + 1, call.tag, 4 + most).u32(0);
  const hasRecords = yield* records.hasAny();
  const first = offset > BigInt(names.length) ? names.length : Number(offset);
  let used = 0;
  // A reply without entries would be the end.
  for (let at = first; at < names.length && (at < first + ENTRIES_A_REPLY || used === 0); at++) {
    const name = names[at] as string;
    const bytes = QID_BYTES + 8 + 1 + 2 + name.length;
    if (used + bytes > most) break;
    const above = entry.parent ?? entry;
    const facts =
      at === 0 ? own : at === 1 ? yield* factsOf(call, above) : yield* wait(files.factsAt(anchor, name));
    // It has gone meanwhile.
    if (!facts) continue;
    const mayBeSpecial = hasRecords && isRegular(facts) && facts.size === 0;
    const mode = mayBeSpecial ? modeOf(facts, yield* records.find(facts)) : facts.mode;
    writer
      .qid(qid(call, facts))
      .u64(at + 1)
      .u8(typeOf(mode) >> 12)
      .string(name);
    used += bytes;
  }
  writer.patch32(HEADER_BYTES, used);
  return finish(writer);
};

export const fsync: Handler<'fsync'> = function* (call, { fid, isDataOnly }) {
  const { entry, opened } = fileOf(call, fid);
  if (opened?.kind === 'file') {
    opened.use();
    try {
      yield* wait(opened.file.flush(isDataOnly));
    } finally {
      opened.release();
    }
  } else if (entry.isFolder) {
    yield* wait(call.folder.files.flushFolder(yield* anchorOf(call, entry)));
  } else {
    throw new RequestError(Errno.EBADF);
  }
  return emptyReply(T.fsync, call.tag);
};

export const statfs: Handler<'statfs'> = function* (call, { fid }) {
  const { entry } = fileOf(call, fid);
  // A link or a file may be anywhere, its folder is where it is.
  const place = entry.isFolder ? entry : (entry.parent ?? entry);
  return statfsReply(call.tag, yield* wait(call.folder.files.space(yield* anchorOf(call, place))));
};

/** The fid is given up whether what it still had to write works or not. */
export const clunk: Handler<'clunk'> = function* (call, { fid: number }) {
  const { entry, opened, lockers } = fileOf(call, number);
  call.fids.remove(number);
  for (const processId of lockers ?? []) {
    call.folder.locks.clear(`${entry.dev}:${entry.ino}`, { client: call.client, processId });
  }
  if (opened?.kind === 'xattr-write') {
    const { name, flags, value } = opened;
    const facts = yield* factsOf(call, entry);
    // Without a value, in place of one that there is: that is how Linux removes one.
    const isRemoval = value.length === 0 && flags !== 0 && flags !== 1;
    yield* call.folder.records.change(facts, record =>
      withXattr(record, name, isRemoval ? undefined : textOf(value), flags),
    );
  }
  return emptyReply(T.clunk, call.tag);
};
