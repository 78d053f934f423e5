/** Requests that make something: files, folders, links, devices. */
import { FileError, type FileFacts } from '../../platform/folder-files.ts';
import { encodeDevice, hostPermissions, isSpecial, recordedMode, typeOf } from './attributes.ts';
import { anchorOf, type Call, changeableFolder, type Handler, qid } from './call.ts';
import { type Fid, OpenedFile } from './fids.ts';
import { openEntry, openModeOf } from './file-requests.ts';
import { Errno, Mode, Open, T } from './protocol.ts';
import { openReply, qidReply } from './reply.ts';
import { RequestError } from './request.ts';
import { type Steps, wait } from './steps.ts';
import type { Entry } from './tree.ts';

interface Wanted {
  readonly uid: number;
  readonly gid: number;
  /** Type and permissions. */
  readonly mode: number;
  readonly rdev?: number;
}

/** What was just made under a name: its entry, with permissions and record as the guest wants them. */
function* settle(
  call: Call,
  folder: Entry,
  name: string,
  wanted: Wanted,
): Steps<{ entry: Entry; facts: FileFacts }> {
  const { tree, files, records } = call.folder;
  const anchor = yield* anchorOf(call, folder);
  const facts = yield* wait(files.factsAt(anchor, name));
  if (!facts) throw new RequestError(Errno.ENOENT);
  const entry = tree.found(folder, name, facts);
  call.holds.add(entry);
  const isLink = typeOf(facts.mode) === Mode.symlink;
  const permissions = hostPermissions(wanted.mode, entry.isFolder);
  // The host's umask has its say in what is made, and not in what is set.
  if (!isLink && (facts.mode & 0o777) !== permissions) {
    yield* wait(files.chmod(yield* anchorOf(call, entry), permissions));
  }
  const own = call.folder.defaultOwner(facts);
  const mode = isLink ? undefined : recordedMode(wanted.mode);
  const uid = wanted.uid === own.uid ? undefined : wanted.uid;
  const gid = wanted.gid === own.gid ? undefined : wanted.gid;
  if (mode !== undefined || uid !== undefined || gid !== undefined) {
    yield* records.change(facts, () => ({ uid, gid, mode, rdev: wanted.rdev }));
  }
  return { entry, facts };
}

/** Make, settle, and take it back if the record cannot be written. */
function* make(
  call: Call,
  folder: Entry,
  name: string,
  wanted: Wanted,
  onHost: () => Steps<void>,
): Steps<{ entry: Entry; facts: FileFacts }> {
  yield* onHost();
  try {
    return yield* settle(call, folder, name, wanted);
  } catch (error) {
    const { files, tree } = call.folder;
    const anchor = yield* anchorOf(call, folder);
    const isFolder = typeOf(wanted.mode) === Mode.directory;
    yield* wait(isFolder ? files.removeFolder(anchor, name) : files.unlink(anchor, name));
    tree.removed(folder, name);
    throw error;
  }
}

export const mkdir: Handler<'mkdir'> = function* (call, { folder, name, mode, gid }) {
  const { entry, uid } = changeableFolder(call, folder, name);
  const wanted = { uid, gid, mode: Mode.directory | (mode & Mode.permissions) };
  const anchor = yield* anchorOf(call, entry);
  const { files } = call.folder;
  const made = yield* make(call, entry, name, wanted, () =>
    wait(files.makeFolder(anchor, name, hostPermissions(mode, true))),
  );
  return qidReply(T.mkdir, call.tag, qid(call, made.facts));
};

export const symlink: Handler<'symlink'> = function* (call, { folder, name, target, gid }) {
  const { entry, uid } = changeableFolder(call, folder, name);
  const anchor = yield* anchorOf(call, entry);
  const { files } = call.folder;
  const made = yield* make(call, entry, name, { uid, gid, mode: Mode.symlink | 0o777 }, () =>
    wait(files.makeLink(anchor, name, target)),
  );
  return qidReply(T.symlink, call.tag, qid(call, made.facts));
};

/** Devices, pipes and sockets are what their record says; on the host they are empty files. */
export const mknod: Handler<'mknod'> = function* (call, { folder, name, mode, major, minor, gid }) {
  const { entry, uid } = changeableFolder(call, folder, name);
  const type = typeOf(mode) || Mode.regular;
  if (type !== Mode.regular && !isSpecial(type)) throw new RequestError(Errno.EINVAL);
  const isDevice = type === Mode.charDevice || type === Mode.blockDevice;
  const anchor = yield* anchorOf(call, entry);
  const wanted = {
    uid,
    gid,
    mode: type | (mode & Mode.permissions),
    ...(isDevice && { rdev: encodeDevice(major, minor) }),
  };
  const made = yield* make(call, entry, name, wanted, function* () {
    const file = yield* wait(
      call.folder.files.create(anchor, name, hostPermissions(mode, false), { reads: false, writes: true }),
    );
    file.close();
  });
  return qidReply(T.mknod, call.tag, qid(call, made.facts));
};

/** Make a file and open it; what is there already is opened, unless that is not wanted. */
export const lcreate: Handler<'lcreate'> = function* (call, { folder, name, flags, mode, gid }) {
  const fid = changeableFolder(call, folder, name);
  call.fids.checkMayOpen(fid);
  const { entry, uid } = fid;
  const anchor = yield* anchorOf(call, entry);
  let opened: OpenedFile | undefined;
  let made: { entry: Entry; facts: FileFacts };
  try {
    const wanted = { uid, gid, mode: Mode.regular | (mode & Mode.permissions) };
    made = yield* make(call, entry, name, wanted, function* () {
      const permissions = hostPermissions(mode, false);
      const file = yield* wait(call.folder.files.create(anchor, name, permissions, openModeOf(flags)));
      opened = new OpenedFile(file, false);
    });
  } catch (error) {
    opened?.release();
    const mayExist = error instanceof FileError && error.errno === Errno.EEXIST && !(flags & Open.excl);
    if (!mayExist || opened) throw error;
    made = yield* call.folder.tree.walk(entry, name, call.holds);
    const found = yield* openEntry(call, made.entry, flags);
    if (found.kind === 'folder') throw new RequestError(Errno.EISDIR);
    opened = found;
  }
  openAs(call, folder, fid, made.entry, opened as OpenedFile);
  return openReply(T.lcreate, call.tag, qid(call, made.facts));
};

/** The folder's fid becomes the file's. */
function openAs(call: Call, number: number, fid: Fid, entry: Entry, opened: OpenedFile): void {
  try {
    if (call.fids.get(number) !== fid || fid.opened) throw new RequestError(Errno.EBADF);
  } catch (error) {
    opened.release();
    throw error;
  }
  call.fids.open(number, call.fids.replace(number, entry), opened);
}
