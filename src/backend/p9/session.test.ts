import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createNodeClock } from '../../platform/node/clock.ts';
import { nodeFolderFiles } from '../../platform/node/folder-files.ts';
import { TaskQueue } from '../../xenstore/queue.ts';
import { Client, encode, Refused } from './client.fixture.ts';
import { LockTable } from './locks.ts';
import { AT_REMOVEDIR, Errno, Mode, Open, Setattr, T } from './protocol.ts';
import { RECORDS_FOLDER } from './records.ts';
import { Session } from './session.ts';
import { SharedFolder } from './shared-folder.ts';

interface World {
  readonly path: (name?: string) => string;
  readonly client: Client;
  readonly session: Session;
  readonly folder: SharedFolder;
  /** fid of the folder. */
  readonly root: number;
}

interface WorldOptions {
  readonly isReadOnly?: boolean;
  readonly path?: string;
  readonly locks?: LockTable;
}

async function setUp(t: TestContext, options: WorldOptions = {}): Promise<World> {
  const base = options.path ?? fs.mkdtempSync(join(tmpdir(), 'domus-p9-'));
  const folder = await SharedFolder.open({
    files: nodeFolderFiles,
    path: base,
    isReadOnly: options.isReadOnly ?? false,
    clock: createNodeClock(),
    locks: options.locks ?? new LockTable(),
  });
  const tasks = new TaskQueue();
  const session = new Session({
    folder,
    mostBytes: 1 << 18,
    defer: task => {
      tasks.defer(task);
      setImmediate(() => tasks.pump());
    },
    allTaken: () => undefined,
  });
  const client = new Client(message => new Promise(resolve => void session.handle(message, resolve)));
  t.after(async () => {
    await session.close();
    folder.close();
    if (options.path === undefined) fs.rmSync(base, { recursive: true, force: true });
  });
  const root = await client.start();
  return { path: (name = '') => join(base, name), client, session, folder, root };
}

const refuses = (errno: number, what: Promise<unknown>) =>
  assert.rejects(what, error => error instanceof Refused && error.errno === errno);

test('version, message size, and what comes before it', async t => {
  const { session, client, folder } = await setUp(t);
  assert.equal(client.messageBytes, 65536);
  const other = new Session({ folder, mostBytes: 1 << 18, defer: task => task(), allTaken: () => undefined });
  const early = new Client(message => new Promise(resolve => void other.handle(message, resolve)));
  await refuses(Errno.EPROTO, early.attach());
  await refuses(Errno.EINVAL, early.send(T.version, '4s', 4095, '9P2000.L'));
  const unknown = await early.send(T.version, '4s', 8192, '9P2000.u');
  assert.deepEqual([unknown.u32(), unknown.string()], [8192, 'unknown']);
  await refuses(Errno.EPROTO, early.attach());
  await early.start(1 << 30);
  assert.equal(early.messageBytes, 1 << 18);
  // A version forgets every fid.
  assert.equal(session.nrFids, 1);
  await refuses(Errno.EBADF, client.stat(77));
  await client.send(T.version, '4s', 65536, '9P2000.L');
  assert.equal(session.nrFids, 0);
  await refuses(Errno.EOPNOTSUPP, client.send(T.auth, '4ss4', 9, 'user', '', 0));
  await refuses(Errno.EOPNOTSUPP, client.send(66, ''));
  await refuses(Errno.EPROTO, client.send(T.lopen, '4', 1));
  await refuses(Errno.EPROTO, client.send(T.lopen, '4444', 1, 0, 0, 0));
  await other.close();
});

test('files: create, write, read, append, truncate, list, remove', async t => {
  const { client, root, path } = await setUp(t);
  const file = await client.create(root, 'file', { mode: 0o640 });
  assert.equal(await client.write(file, 0, 'hello world'), 11);
  assert.equal(fs.readFileSync(path('file'), 'utf8'), 'hello world');
  assert.equal(fs.statSync(path('file')).mode & 0o7777, 0o640);
  assert.equal(await client.text(file), 'hello world');
  assert.equal((await client.read(file, 6, 3)).length, 3);
  assert.equal((await client.read(file, 100, 3)).length, 0);
  await client.setattr(file, Setattr.size, { size: 5n });
  assert.equal(fs.readFileSync(path('file'), 'utf8'), 'hello');
  const appending = await client.open(root, 'file', 1 | Open.append);
  await client.write(appending, 0, '!');
  assert.equal(fs.readFileSync(path('file'), 'utf8'), 'hello!');
  await client.open(root, 'file', 1 | Open.trunc);
  assert.equal(fs.statSync(path('file')).size, 0);
  // Far behind the end, beyond 4 GiB.
  await client.write(file, 5 * 2 ** 30, 'x');
  assert.equal((await client.stat(file)).size, 5 * 2 ** 30 + 1);
  await refuses(Errno.EFBIG, client.send(T.write, '48b', file, 1n << 62n, new Uint8Array(1)));
  await client.send(T.fsync, '44', file, 0);
  await client.send(T.fsync, '44', file, 1);
  await refuses(Errno.EEXIST, client.create(root, 'file', { flags: 2 | Open.excl }));
  assert.equal((await client.stat(await client.create(root, 'file'))).size, 5 * 2 ** 30 + 1);
  await refuses(Errno.EISDIR, client.open(root, '', 2));
  await refuses(Errno.ENOTDIR, client.walk(file, 'x'));
  await refuses(Errno.ENOENT, client.walk(root, 'none'));
  await client.mkdir(root, 'd');
  await refuses(Errno.EEXIST, client.mkdir(root, 'd'));
  await refuses(Errno.EISDIR, client.unlink(root, 'd'));
  await refuses(Errno.ENOTDIR, client.unlink(root, 'file', AT_REMOVEDIR));
  const d = await client.walk(root, 'd');
  await client.create(d, 'inner');
  await refuses(Errno.ENOTEMPTY, client.unlink(root, 'd', AT_REMOVEDIR));
  await client.unlink(d, 'inner');
  await client.unlink(root, 'd', AT_REMOVEDIR);
  assert.deepEqual(await client.list(await client.open(root, '')), ['file']);
  assert.equal((await client.send(T.statfs, '4', root)).u32(), 0x01021997);
});

test('a file that is removed while it is open stays what it is', async t => {
  const { client, root, path, folder } = await setUp(t);
  const file = await client.create(root, 'file');
  await client.write(file, 0, 'still here');
  const walked = await client.walk(root, 'file');
  await client.setattr(walked, Setattr.uid | Setattr.mode, { uid: 7, mode: 0o4755 });
  await client.unlink(root, 'file');
  assert.equal(fs.existsSync(path('file')), false);
  await refuses(Errno.ENOENT, client.walk(root, 'file'));
  // Both fids, the open one and the one that was only walked to.
  for (const fid of [file, walked]) {
    const { nlink, size, uid, mode } = await client.stat(fid);
    assert.deepEqual([nlink, size, uid, mode & 0o7777], [0, 10, 7, 0o4755]);
  }
  assert.equal(await client.text(file), 'still here');
  await client.setattr(walked, Setattr.size, { size: 5n });
  await client.send(T.lopen, '44', walked, 2);
  assert.equal(await client.text(walked), 'still');
  await client.write(walked, 0, 'STILL');
  // Another file of the same name is another file.
  const other = await client.create(root, 'file');
  assert.equal((await client.stat(other)).uid, 0);
  assert.equal(fs.readdirSync(path(RECORDS_FOLDER)).length, 1);
  await client.clunk(file);
  await client.clunk(walked);
  await folder.settled();
  assert.equal(fs.readdirSync(path(RECORDS_FOLDER)).length, 0);
  // A folder, too, that is somebody's working folder.
  await client.mkdir(root, 'd');
  const d = await client.walk(root, 'd');
  await client.unlink(root, 'd', AT_REMOVEDIR);
  assert.equal((await client.stat(d)).mode & Mode.typeMask, Mode.directory);
  await refuses(Errno.ENOENT, client.create(d, 'x'));
  await client.clunk(d);
  await client.clunk(other);
  // Renamed over: the same.
  const old = await client.create(root, 'target');
  await client.write(old, 0, 'old');
  await client.clunk(await client.create(root, 'source'));
  await client.rename(root, 'source', root, 'target');
  assert.equal((await client.stat(old)).nlink, 0);
  assert.equal(await client.text(old), 'old');
  await client.clunk(old);
  await client.clunk(root);
  assert.equal(folder.tree.nrAnchors, 1);
});

test('names follow renames, of files and of the folders above them', async t => {
  const { client, root, path } = await setUp(t);
  await client.mkdir(root, 'a');
  const a = await client.walk(root, 'a');
  await client.mkdir(a, 'b');
  const b = await client.walk(a, 'b');
  const file = await client.create(b, 'file');
  await client.write(file, 0, 'text');
  const walked = await client.walk(b, 'file');
  await client.mkdir(root, 'c');
  const c = await client.walk(root, 'c');
  await client.rename(a, 'b', c, 'moved');
  await client.rename(b, 'file', root, 'renamed');
  assert.equal(fs.readFileSync(path('renamed'), 'utf8'), 'text');
  assert.equal((await client.stat(walked)).size, 4);
  await client.clunk(await client.create(b, 'new'));
  assert.ok(fs.existsSync(path('c/moved/new')));
  // The way up is the new one.
  assert.equal((await client.stat(await client.walk(b, '..'))).ino, (await client.stat(c)).ino);
  await client.link(root, walked, 'hard');
  assert.equal(fs.statSync(path('hard')).nlink, 2);
  // Two names of one file: nothing happens.
  await client.rename(root, 'hard', root, 'renamed');
  assert.equal(fs.statSync(path('hard')).nlink, 2);
  await refuses(Errno.EINVAL, client.rename(root, 'c', b, 'below'));
  await refuses(Errno.ENOTDIR, client.rename(root, 'c', root, 'hard'));
  await refuses(Errno.EISDIR, client.rename(root, 'hard', root, 'c'));
  // The older requests, by fid.
  await client.send(T.rename, '44s', walked, c, 'again');
  assert.ok(fs.existsSync(path('c/again')));
  await client.send(T.remove, '4', walked);
  assert.equal(fs.existsSync(path('c/again')), false);
  await refuses(Errno.EBADF, client.stat(walked));
});

test('owners, permissions, devices and extended attributes are kept without privileges', async t => {
  const { client, root, path } = await setUp(t);
  const own = fs.statSync(path()).uid;
  const file = await client.create(root, 'file', { mode: 0o4711, gid: 5 });
  assert.deepEqual((({ uid, gid, mode }) => [uid, gid, mode])(await client.stat(file)), [
    0,
    5,
    Mode.regular | 0o4711,
  ]);
  const host = fs.statSync(path('file'));
  assert.deepEqual([host.uid, host.mode & 0o7777], [own, 0o711]);
  await client.setattr(file, Setattr.uid | Setattr.gid, { uid: 1000, gid: 1001 });
  await client.setattr(file, Setattr.mode, { mode: 0o2640 });
  const asUser = await new Promise<number>(resolve => resolve(client.attach(1000)));
  const theirs = await client.create(asUser, 'theirs', { mode: 0o600 });
  assert.equal((await client.stat(theirs)).uid, 1000);
  await client.mkdir(asUser, 'folder', 0o1777);
  await client.symlink(asUser, 'link', 'nowhere/../at all');
  const link = await client.walk(root, 'link');
  assert.deepEqual([(await client.stat(link)).uid, await client.readlink(link)], [1000, 'nowhere/../at all']);
  await client.setattr(link, Setattr.uid | Setattr.mode, { uid: 3, mode: 0o600 });
  assert.equal((await client.stat(link)).uid, 3);
  await client.mknod(root, 'null', Mode.charDevice | 0o666, 1, 3);
  await client.mknod(root, 'big', Mode.blockDevice | 0o600, 259, 70000);
  await client.mknod(root, 'pipe', Mode.fifo | 0o644);
  await client.mknod(root, 'plain', 0o644);
  await refuses(Errno.EINVAL, client.mknod(root, 'wrong', Mode.directory | 0o644));
  assert.ok(fs.statSync(path('null')).isFile());
  await client.setattr(await client.walk(root, 'null'), Setattr.mode, { mode: 0o620 });
  await client.setXattr(file, 'user.colour', 'red');
  await client.setXattr(file, 'security.capability', '\x01\x02');
  await client.setXattr(file, 'user.colour', 'blue', 2);
  await client.setXattr(file, 'user.empty', '');
  await refuses(Errno.EEXIST, client.setXattr(file, 'user.colour', 'x', 1));
  await refuses(Errno.ENODATA, client.setXattr(file, 'user.none', 'x', 2));
  await refuses(Errno.EOPNOTSUPP, client.setXattr(file, '__proto__', 'x'));
  await refuses(Errno.ENODATA, client.getXattr(file, 'user.__proto__'));
  await client.link(root, file, 'hard');

  // Another session, as after a new start: everything is there.
  const again = await setUp(t, { path: path() });
  const stat = async (name: string) => {
    const found = await again.client.stat(await again.client.walk(again.root, name));
    return [found.uid, found.gid, found.mode, found.rdev];
  };
  assert.deepEqual(await stat('hard'), [1000, 1001, Mode.regular | 0o2640, 0]);
  assert.deepEqual(await stat('theirs'), [1000, 0, Mode.regular | 0o600, 0]);
  assert.deepEqual(await stat('folder'), [1000, 0, Mode.directory | 0o1777, 0]);
  assert.deepEqual(await stat('link'), [3, 0, Mode.symlink | 0o777, 0]);
  assert.deepEqual(await stat('null'), [0, 0, Mode.charDevice | 0o620, 0x103]);
  assert.deepEqual(await stat('big'), [0, 0, Mode.blockDevice | 0o600, (259 << 8) | 0x70 | (0x111 << 20)]);
  assert.deepEqual(await stat('pipe'), [0, 0, Mode.fifo | 0o644, 0]);
  assert.deepEqual(await stat('plain'), [0, 0, Mode.regular | 0o644, 0]);
  const listed = await again.client.readdir(await again.client.open(again.root, ''));
  assert.deepEqual(listed.map(({ name, type }) => `${name} ${type}`).sort(), [
    '. 4',
    '.. 4',
    'big 6',
    'file 8',
    'folder 4',
    'hard 8',
    'link 10',
    'null 2',
    'pipe 1',
    'plain 8',
    'theirs 8',
  ]);
  const hard = await again.client.walk(again.root, 'hard');
  assert.equal(await again.client.getXattr(hard, 'user.colour'), 'blue');
  assert.equal(
    (await again.client.getXattr(hard, '')).split('\0').sort().join(),
    ',security.capability,user.colour,user.empty',
  );
  await again.client.setXattr(hard, 'user.colour', '', 2);
  await refuses(Errno.ENODATA, client.getXattr(file, 'user.colour'));
  // What the host changes counts from then on.
  fs.chmodSync(path('file'), 0o604);
  assert.deepEqual(await stat('hard'), [1000, 1001, Mode.regular | 0o604, 0]);
  // Back to what needs no record.
  const before = fs.readdirSync(path(RECORDS_FOLDER)).length;
  await again.client.setattr(await again.client.walk(again.root, 'theirs'), Setattr.uid, { uid: 0 });
  assert.equal(fs.readdirSync(path(RECORDS_FOLDER)).length, before - 1);
  // The devices cannot be opened, neither as such nor as the files that they are.
  for (const name of ['null', 'pipe']) await refuses(Errno.EOPNOTSUPP, client.open(root, name));
  // A program loses its privileges when somebody else writes to it.
  const program = await client.create(root, 'program', { mode: 0o6755 });
  await client.write(await client.open(root, 'program', 1), 0, 'x');
  assert.equal((await client.stat(program)).mode & 0o7777, 0o6755);
  const writer = await client.open(asUser, 'program', 1);
  await client.write(writer, 0, 'x');
  assert.equal((await client.stat(program)).mode & 0o7777, 0o755);
});

test('times are kept to a microsecond, and now is now', async t => {
  const { client, root, path } = await setUp(t);
  const file = await client.create(root, 'file');
  const given = 1_234_567_890_123_456_789n;
  const isNear = (a: bigint, b: bigint) => a - b < 1000n && b - a < 1000n;
  await client.setattr(file, Setattr.mtime | Setattr.mtimeSet | Setattr.atime | Setattr.atimeSet, {
    mtimeNs: given,
    atimeNs: given + 1_000_000n,
  });
  const { mtimeNs, atimeNs } = fs.statSync(path('file'), { bigint: true });
  assert.ok(isNear(mtimeNs, given) && isNear(atimeNs, given + 1_000_000n), `${mtimeNs} ${atimeNs}`);
  await client.setattr(file, Setattr.mtime);
  assert.ok(Math.abs(fs.statSync(path('file')).mtimeMs - Date.now()) < 60_000);
  assert.ok(isNear(fs.statSync(path('file'), { bigint: true }).atimeNs, given + 1_000_000n));
  // Whole seconds are exact.
  await client.setattr(file, Setattr.mtime | Setattr.mtimeSet, { mtimeNs: 1_700_000_000_000_000_000n });
  assert.equal(fs.statSync(path('file'), { bigint: true }).mtimeNs, 1_700_000_000_000_000_000n);
  await client.symlink(root, 'link', '/');
  const before = fs.statSync('/').mtimeMs;
  await client.setattr(await client.walk(root, 'link'), Setattr.mtime | Setattr.mtimeSet, { mtimeNs: given });
  assert.ok(isNear(fs.lstatSync(path('link'), { bigint: true }).mtimeNs, given));
  assert.equal(fs.statSync('/').mtimeMs, before);
});

test('names are bytes', async t => {
  const { client, root, path } = await setUp(t);
  const name = '\xff\xfe\x80 \n"\x7f';
  const file = await client.create(root, name);
  await client.write(file, 0, 'x');
  await client.setattr(file, Setattr.uid, { uid: 9 });
  await client.symlink(root, 'link', name);
  assert.ok(fs.readdirSync(path(), { encoding: 'latin1' as BufferEncoding }).includes(name));
  assert.equal(await client.readlink(await client.walk(root, 'link')), name);
  assert.deepEqual(await client.list(await client.open(root, '')), ['link', name].sort());
  const long = 'n'.repeat(255);
  await client.clunk(await client.create(root, long));
  await refuses(Errno.ENAMETOOLONG, client.create(root, `${long}n`));
  assert.equal((await client.stat(await client.walk(root, name))).uid, 9);
});

test('a folder that changes while it is read shows what stays exactly once', async t => {
  const { client, root, path } = await setUp(t);
  const stays = Array.from({ length: 700 }, (_, i) => `stays-${i}`);
  for (const name of stays) fs.writeFileSync(path(name), '');
  for (let i = 0; i < 300; i++) fs.writeFileSync(path(`goes-${i}`), '');
  const folder = await client.open(root, '');
  const seen: string[] = [];
  let offset = 0n;
  for (let round = 0; ; round++) {
    const part = await client.readdir(folder, offset, 700);
    if (part.length === 0) break;
    seen.push(...part.map(({ name }) => name));
    offset = part.at(-1)?.cookie as bigint;
    for (let i = round * 12; i < round * 12 + 12 && i < 300; i++)
      fs.rmSync(path(`goes-${i}`), { force: true });
    fs.writeFileSync(path(`comes-${round}`), '');
  }
  assert.deepEqual(seen.filter(name => name.startsWith('stays')).sort(), stays.sort());
  assert.equal(new Set(seen).size, seen.length);
  // From a place in the middle, and from the beginning again.
  const middle = (await client.readdir(folder, 10n, 700))[0]?.name;
  assert.equal((await client.readdir(folder, 0n, 60000))[10]?.name !== undefined, true);
  assert.ok(middle);
  const all = await client.list(folder);
  assert.ok(all.includes('comes-0'));
  assert.deepEqual(await client.readdir(folder, 1n << 63n), []);
});

test('locks of two guests exclude one another, by ranges', async t => {
  const locks = new LockTable();
  const one = await setUp(t, { locks });
  const two = await setUp(t, { locks, path: one.path() });
  const file = await one.client.create(one.root, 'file');
  const other = await two.client.open(two.root, 'file', 2);
  assert.equal(await one.client.lock(file, 1, 0, 10, 100), 0);
  assert.equal(await one.client.lock(file, 1, 0, 10, 101), 1);
  assert.equal(await two.client.lock(other, 0, 5, 1, 100), 1);
  assert.equal(await two.client.lock(other, 0, 10, 0, 100), 0);
  const found = await two.client.send(T.getlock, '41884s', other, 1, 0, 0, 100, 'client');
  assert.deepEqual([found.u8(), found.u64(), found.u64(), found.u32()], [1, 0n, 10n, 100]);
  // Out of the middle.
  assert.equal(await one.client.lock(file, 2, 4, 2, 100), 0);
  assert.equal(await two.client.lock(other, 1, 4, 2, 100), 0);
  assert.equal(await two.client.lock(other, 1, 3, 2, 100), 1);
  // Closing gives them back.
  await one.client.clunk(file);
  assert.equal(await two.client.lock(other, 1, 0, 0, 100), 0);
  await two.session.close();
  const again = await one.client.open(one.root, 'file', 2);
  assert.equal(await one.client.lock(again, 1, 0, 0, 1), 0);
  assert.equal(await one.client.lock(again, 2, 0, 0, 1), 0);
  for (let i = 0; i < 4096; i++) assert.equal(await one.client.lock(again, 0, 4 * i, 1, 2 + i), 0);
  assert.equal(await one.client.lock(again, 1, 1, 1, 1), 2);
  await refuses(Errno.EINVAL, one.client.lock(again, 3, 0, 0, 1));
});

test('a read-only folder stays as it is', async t => {
  const { client: writer, root: writable, path } = await setUp(t);
  await writer.clunk(await writer.create(writable, 'file'));
  await writer.setattr(await writer.walk(writable, 'file'), Setattr.uid, { uid: 4 });
  const { client, root } = await setUp(t, { path: path(), isReadOnly: true });
  const file = await client.walk(root, 'file');
  assert.equal((await client.stat(file)).uid, 4);
  const attempts = [
    () => client.create(root, 'new'),
    () => client.mkdir(root, 'new'),
    () => client.symlink(root, 'new', 'x'),
    () => client.mknod(root, 'new', Mode.fifo),
    () => client.link(root, file, 'new'),
    () => client.rename(root, 'file', root, 'new'),
    () => client.unlink(root, 'file'),
    () => client.setattr(file, Setattr.mode, { mode: 0 }),
    () => client.setattr(file, Setattr.size),
    () => client.open(root, 'file', 1),
    () => client.open(root, 'file', Open.trunc),
    () => client.setXattr(file, 'user.x', 'x'),
    async () => client.send(T.remove, '4', await client.walk(root, 'file')),
  ];
  for (const attempt of attempts) await refuses(Errno.EROFS, attempt());
  assert.deepEqual(await client.list(await client.open(root, '')), ['file']);
});

test('requests that wait for the host are answered, flushed and closed in order', async t => {
  const { client, root, session } = await setUp(t);
  const file = await client.create(root, 'file');
  const replies: number[] = [];
  const note = (reply: Uint8Array) =>
    void replies.push(new DataView(reply.buffer, reply.byteOffset).getUint16(5, true));
  const sync = session.handle(encode(T.fsync, 500, '44', file, 0), note);
  assert.ok(sync instanceof Promise);
  // The tag is in use; a flush waits; the fid may be given up meanwhile.
  session.handle(encode(T.fsync, 500, '44', file, 0), reply => assert.equal(reply[4], 7));
  const flush = session.handle(encode(T.flush, 501, '2', 500), note);
  session.handle(encode(T.flush, 502, '2', 499), note);
  await client.clunk(file);
  await Promise.all([sync, flush]);
  assert.deepEqual(replies, [502, 500, 501]);
  await refuses(Errno.EBADF, client.send(T.fsync, '44', file, 0));
});

test('what the tree holds is bounded, and closed when it is given up', async t => {
  const { client, root, path, folder, session } = await setUp(t);
  for (let i = 0; i < 700; i++) {
    fs.mkdirSync(path(`d${i}`));
    fs.writeFileSync(path(`d${i}/file`), String(i));
  }
  const fids: number[] = [];
  for (let i = 0; i < 700; i++) fids.push(await client.walk(root, `d${i}/file`));
  assert.ok(folder.tree.nrAnchors <= 514, `${folder.tree.nrAnchors} anchors`);
  for (const [i, fid] of fids.entries()) assert.equal((await client.stat(fid)).size, String(i).length);
  for (const fid of fids) await client.clunk(fid);
  assert.equal(folder.tree.nrAnchors, 1);
  const open = execFileSync('ls', [`/proc/${process.pid}/fd`], { encoding: 'utf8' }).split('\n').length;
  assert.ok(open < 200, `${open} files are open`);
  await session.close();
  assert.equal(session.nrFids, 0);
});
