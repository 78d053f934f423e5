/** Requests about names: walk, link, rename, unlink and what they share. */
import { FileError } from '../../platform/folder-files.ts';
import { typeOf } from './attributes.ts';
import { anchorOf, type Call, changeableFolder, factsOf, fileOf, type Handler, qid } from './call.ts';
import type { Qid } from './codec.ts';
import { AT_REMOVEDIR, Errno, Mode, NOFID, T } from './protocol.ts';
import { emptyReply, qidReply, textReply, walkReply } from './reply.ts';
import { RequestError } from './request.ts';
import { type Steps, wait } from './steps.ts';
import type { Entry } from './tree.ts';

/** Attach: a fid for the folder itself. Users are told apart by number; nobody in particular is root. */
export const attach: Handler<'attach'> = function* (call, { fid, authFid, uid }) {
  if (authFid !== NOFID) throw new RequestError(Errno.EOPNOTSUPP, 'there is nothing to authenticate to');
  const { root } = call.folder.tree;
  const facts = yield* factsOf(call, root);
  call.fids.add(fid, root, uid === NOFID ? 0 : uid);
  return qidReply(T.attach, call.tag, qid(call, facts));
};

/** As far as there is a way: an error only if not even the first name is found. */
export const walk: Handler<'walk'> = function* (call, { fid, newFid, names }) {
  const start = fileOf(call, fid);
  if (newFid !== fid) call.fids.checkFree(newFid);
  else if (start.opened) throw new RequestError(Errno.EBADF, 'the fid is open');
  const qids: Qid[] = [];
  let { entry } = start;
  for (const name of names) {
    try {
      const found = yield* call.folder.tree.walk(entry, name, call.holds);
      qids.push(qid(call, found.facts));
      entry = found.entry;
    } catch (error) {
      if (qids.length === 0 || !(error instanceof FileError || error instanceof RequestError)) throw error;
      return walkReply(call.tag, qids);
    }
  }
  if (newFid !== fid) call.fids.add(newFid, entry, start.uid);
  else if (call.fids.get(fid) === start) call.fids.replace(fid, entry);
  return walkReply(call.tag, qids);
};

export const readlink: Handler<'readlink'> = function* (call, { fid }) {
  const { entry } = fileOf(call, fid);
  const facts = yield* factsOf(call, entry);
  if (typeOf(facts.mode) !== Mode.symlink) throw new RequestError(Errno.EINVAL);
  if (!entry.parent || entry.isGone) throw new RequestError(Errno.ENOENT);
  const folder = yield* anchorOf(call, entry.parent);
  return textReply(T.readlink, call.tag, yield* wait(call.folder.files.readLink(folder, entry.name)));
};

export const link: Handler<'link'> = function* (call, { folder, fid, name }) {
  const { entry } = fileOf(call, fid);
  const to = changeableFolder(call, folder, name);
  // It is still what the guest means.
  yield* factsOf(call, entry);
  if (!entry.parent || entry.isGone) throw new RequestError(Errno.ENOENT);
  const from = yield* anchorOf(call, entry.parent);
  const anchor = yield* anchorOf(call, to.entry);
  yield* wait(call.folder.files.link(from, entry.name, anchor, name));
  return emptyReply(T.link, call.tag);
};

/**
 * Before a name is taken away: keep the file if the guest holds it. Returns what is to be done when the guest lets go of it,
 * if this is its last name.
 */
function* prepareRemoval(call: Call, folder: Entry, name: string): Steps<(() => void) | undefined> {
  const { tree, records, files } = call.folder;
  const known = tree.known(folder, name);
  if (!known && !(yield* records.hasAny())) return undefined;
  const anchor = yield* anchorOf(call, folder);
  const facts = yield* wait(files.factsAt(anchor, name));
  if (!facts) return undefined;
  if (known) {
    const entry = tree.found(folder, name, facts);
    call.holds.add(entry);
    if (entry === known) yield* tree.keep(entry, call.holds);
  }
  const isLast = typeOf(facts.mode) === Mode.directory || facts.nlink === 1;
  return isLast ? () => call.folder.forgetRecord(facts) : undefined;
}

function* removeEntry(call: Call, folder: Entry, name: string, isFolder: boolean): Steps<void> {
  const { tree, files } = call.folder;
  const onForgotten = yield* prepareRemoval(call, folder, name);
  const anchor = yield* anchorOf(call, folder);
  yield* wait(isFolder ? files.removeFolder(anchor, name) : files.unlink(anchor, name));
  tree.removed(folder, name, onForgotten);
}

export const unlinkat: Handler<'unlinkat'> = function* (call, { folder, name, flags }) {
  const { entry } = changeableFolder(call, folder, name);
  yield* removeEntry(call, entry, name, (flags & AT_REMOVEDIR) !== 0);
  return emptyReply(T.unlinkat, call.tag);
};

/** The fid is given up whether that works or not. */
export const remove: Handler<'remove'> = function* (call, { fid }) {
  const { entry } = fileOf(call, fid);
  call.fids.remove(fid);
  call.folder.checkWritable();
  yield* factsOf(call, entry);
  if (!entry.parent || entry.isGone) throw new RequestError(Errno.ENOENT);
  yield* removeEntry(call, entry.parent, entry.name, entry.isFolder);
  return emptyReply(T.remove, call.tag);
};

function* moveEntry(call: Call, from: Entry, name: string, to: Entry, newName: string): Steps<void> {
  const { tree, files } = call.folder;
  const source = yield* anchorOf(call, from);
  const target = yield* anchorOf(call, to);
  const replaced = yield* wait(files.factsAt(target, newName));
  if (replaced) {
    // Two names of one file: nothing happens, and both stay.
    const moved = replaced.nlink > 1 ? yield* wait(files.factsAt(source, name)) : undefined;
    if (moved && moved.ino === replaced.ino && moved.dev === replaced.dev) return;
  }
  const onForgotten = replaced && (yield* prepareRemoval(call, to, newName));
  yield* wait(files.rename(source, name, target, newName));
  tree.moved(from, name, to, newName, onForgotten);
}

export const renameat: Handler<'renameat'> = function* (call, { from, name, to, newName }) {
  const source = changeableFolder(call, from, name);
  const target = changeableFolder(call, to, newName);
  yield* moveEntry(call, source.entry, name, target.entry, newName);
  return emptyReply(T.renameat, call.tag);
};

export const rename: Handler<'rename'> = function* (call, { fid, folder, name }) {
  const { entry } = fileOf(call, fid);
  const target = changeableFolder(call, folder, name);
  yield* factsOf(call, entry);
  if (!entry.parent || entry.isGone) throw new RequestError(Errno.ENOENT);
  yield* moveEntry(call, entry.parent, entry.name, target.entry, name);
  return emptyReply(T.rename, call.tag);
};
