/**
 * Guests that mean harm: ways out of the folder, races for one, and messages that are none. A host's folder lies beside the shared one,
 * with a secret that must not be read and a file that must not change.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createNodeClock } from '../../platform/node/clock.ts';
import { nodeFolderFiles } from '../../platform/node/folder-files.ts';
import { Client, encode, Refused } from './client.fixture.ts';
import { type FrontRing, setUpFrontend } from './frontend.fixture.ts';
import { LockTable } from './locks.ts';
import { Errno, NOFID, RLERROR, T } from './protocol.ts';
import { RECORDS_FOLDER } from './records.ts';
import { Session } from './session.ts';
import { SharedFolder } from './shared-folder.ts';

const ROUNDS = process.env.DOMUS_TEST_FULL ? 40 : 4;
const SECRET = 'the secret of the host';

/** Numbers that repeat. */
function chance(seed: number) {
  let state = seed >>> 0;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const pick = <Item>(items: readonly Item[]): Item => items[below(items.length)] as Item;
  return { below, pick };
}

async function setUp(t: TestContext) {
  const base = fs.mkdtempSync(join(tmpdir(), 'domus-p9-'));
  const path = (name = '') => join(base, 'shared', name);
  fs.mkdirSync(path());
  fs.mkdirSync(join(base, 'outside'));
  fs.writeFileSync(join(base, 'outside/secret'), SECRET);
  const open = () =>
    SharedFolder.open({
      files: nodeFolderFiles,
      path: path(),
      isReadOnly: false,
      clock: createNodeClock(),
      locks: new LockTable(),
    });
  const folder = await open();
  const session = new Session({
    folder,
    mostBytes: 1 << 17,
    defer: task => void setImmediate(task),
    allTaken: () => undefined,
  });
  const client = new Client(message => new Promise(resolve => void session.handle(message, resolve)));
  const outside = () =>
    execFileSync('find', [join(base, 'outside'), '-printf', '%P %m %n %s %T@ %y %u\n'], { encoding: 'utf8' });
  const before = outside();
  const check = () => {
    assert.equal(outside(), before);
    assert.deepEqual(fs.readdirSync(base).sort(), ['outside', 'shared']);
    assert.equal(fs.readFileSync(join(base, 'outside/secret'), 'utf8'), SECRET);
  };
  t.after(async () => {
    await session.close();
    folder.close();
    check();
    fs.rmSync(base, { recursive: true, force: true });
  });
  return { base, path, open, folder, session, client, check, root: await client.start() };
}

const refused = (what: Promise<unknown>, ...errnos: number[]) =>
  assert.rejects(
    what,
    error => error instanceof Refused && (errnos.length === 0 || errnos.includes(error.errno)),
  );

test('names that are ways', async t => {
  const { client, root, path, check } = await setUp(t);
  await client.mkdir(root, 'd');
  const d = await client.walk(root, 'd');
  const file = await client.create(root, 'file');
  for (const name of ['..', '.', '', '/', '../outside', 'd/../../outside', '/etc/passwd', 'a\0b', 'd/x']) {
    await refused(client.create(root, name), Errno.EINVAL);
    await refused(client.mkdir(root, name), Errno.EINVAL);
    await refused(client.symlink(root, name, 'x'), Errno.EINVAL);
    await refused(client.mknod(root, name, 0o644), Errno.EINVAL);
    await refused(client.link(root, file, name), Errno.EINVAL);
    await refused(client.rename(root, 'd', root, name), Errno.EINVAL);
    await refused(client.rename(d, name, root, 'x'), Errno.EINVAL);
    await refused(client.unlink(root, name, 0x200), Errno.EINVAL);
    await refused(client.send(T.rename, '44s', file, root, name), Errno.EINVAL);
    if (name !== '..') await refused(client.send(T.walk, '44n', root, 900, [name]), Errno.EINVAL);
  }
  // The way up ends at the folder.
  const top = await client.walk(root, '../../../../..');
  assert.equal((await client.stat(top)).ino, (await client.stat(root)).ino);
  await refused(client.walk(root, '../outside'), Errno.ENOENT);
  const names = await client.readdir(await client.open(top, ''));
  assert.deepEqual(names.map(({ name }) => name).sort(), ['.', '..', 'd', 'file']);
  assert.equal(fs.readdirSync(path()).length, 2);
  check();
});

test('links out of the folder lead nowhere', async t => {
  const { base, client, root, path, check } = await setUp(t);
  const secret = join(base, 'outside/secret');
  const targets = [
    secret,
    '../outside/secret',
    '../outside',
    '/',
    '/proc/self/root',
    '..',
    '/proc/self/fd/0',
    'loop',
  ];
  for (const [i, target] of targets.entries()) {
    const name = `link${i}`;
    await client.symlink(root, name, target);
    assert.equal(fs.readlinkSync(path(name)), target);
    const link = await client.walk(root, name);
    assert.equal((await client.stat(link)).mode & 0o170000, 0o120000);
    await refused(client.send(T.lopen, '44', link, 0), Errno.ELOOP);
    await refused(client.send(T.lopen, '44', link, 2), Errno.ELOOP);
    await refused(client.walk(root, `${name}/secret`));
    await refused(client.walk(link, 'secret'), Errno.ENOTDIR);
    await refused(client.create(link, 'new'), Errno.ENOTDIR);
    await refused(client.create(root, name, { flags: 2 }), Errno.ELOOP);
    await refused(client.create(root, name, { flags: 2 | 0o1000 }), Errno.ELOOP);
    await refused(client.rename(link, 'secret', root, 'stolen'), Errno.ENOTDIR);
    await refused(client.unlink(link, 'secret'), Errno.ENOTDIR);
    await refused(client.setattr(link, 8, { size: 0n }), Errno.EINVAL);
    // What can be set, is set on the link.
    await client.setattr(link, 1 | 2 | 0x120, { mode: 0o777, uid: 5, mtimeNs: 5_000_000_000n });
    await client.link(root, link, `hard${i}`);
    assert.ok(fs.lstatSync(path(`hard${i}`)).isSymbolicLink());
    await client.setXattr(link, 'user.x', 'y');
    await refused(client.send(T.fsync, '44', link, 0), Errno.EBADF);
    await client.send(T.statfs, '4', link);
    check();
  }
});

test('the records of the host are out of reach, and what is in them is checked', async t => {
  const { base, client, root, path } = await setUp(t);
  const file = await client.create(root, 'file');
  await client.setattr(file, 2, { uid: 5 });
  await refused(client.walk(root, RECORDS_FOLDER), Errno.ENOENT);
  await refused(client.create(root, RECORDS_FOLDER), Errno.EPERM);
  await refused(client.mkdir(root, RECORDS_FOLDER), Errno.EPERM);
  await refused(client.rename(root, RECORDS_FOLDER, root, 'x'), Errno.EPERM);
  await refused(client.rename(root, 'file', root, RECORDS_FOLDER), Errno.EPERM);
  await refused(client.link(root, file, RECORDS_FOLDER), Errno.EPERM);
  await refused(client.unlink(root, RECORDS_FOLDER, 0x200), Errno.EPERM);
  assert.deepEqual(await client.list(await client.open(root, '')), ['file']);
  const [record] = fs.readdirSync(path(RECORDS_FOLDER));
  assert.ok(record);
  const place = path(`${RECORDS_FOLDER}/${record}`);
  const { born } = JSON.parse(fs.readFileSync(place, 'utf8')) as { born: string };
  const spoilt: unknown[] = [
    '',
    '{',
    'null\n',
    '[]\n',
    `{"born":"${born}","uid":-1,"mode":"x","xattrs":[]}\n`,
    `{"born":"${born}","uid":1e99,"gid":0.5,"xattrs":{"user.x":5}}\n`,
    `{"born":"0","uid":77}\n`,
    'x'.repeat(300_000),
    Uint8Array.from({ length: 100 }, (_, i) => i + 100),
  ];
  for (const text of spoilt) {
    fs.writeFileSync(place, text as string);
    const { uid } = await client.stat(file);
    assert.ok(uid === 0, String(uid));
    await assert.rejects(client.getXattr(file, 'user.x'));
  }
  // Neither through a link nor from a folder.
  fs.rmSync(place);
  fs.symlinkSync(join(base, 'outside/secret'), place);
  assert.equal((await client.stat(file)).uid, 0);
  await refused(client.setattr(file, 2, { uid: 6 }), Errno.EIO);
  fs.rmSync(place);
  fs.mkdirSync(place);
  assert.equal((await client.stat(file)).uid, 0);
  await refused(client.setattr(file, 2, { uid: 6 }), Errno.EIO);
});

test("the host's pipes, sockets and devices are seen and never opened", async t => {
  const { client, root, path } = await setUp(t);
  execFileSync('mkfifo', [path('pipe')]);
  const fifo = await client.walk(root, 'pipe');
  assert.equal((await client.stat(fifo)).mode & 0o170000, 0o010000);
  // Opening it would wait for a writer.
  await refused(client.send(T.lopen, '44', fifo, 0), Errno.EOPNOTSUPP);
  await refused(client.create(root, 'pipe', { flags: 1 }), Errno.EOPNOTSUPP);
  await refused(client.setattr(fifo, 8, { size: 0n }), Errno.EINVAL);
});

test('folders and links that are exchanged while a guest walks', async t => {
  const { base, client, root, path, check } = await setUp(t);
  fs.mkdirSync(path('victim/inner'), { recursive: true });
  fs.writeFileSync(path('victim/inner/secret'), 'harmless');
  // Another process of the host makes the folder a link to the outside and back, as fast as it can.
  const script = `
    const fs = require('node:fs');
    const at = ${JSON.stringify(path())};
    fs.symlinkSync(${JSON.stringify(join(base, 'outside'))}, at + '/inner-link');
    process.on('message', () => process.exit());
    for (let i = 0; i < 1e9; i++) {
      fs.renameSync(at + '/victim/inner', at + '/kept');
      fs.renameSync(at + '/inner-link', at + '/victim/inner');
      fs.renameSync(at + '/victim/inner', at + '/inner-link');
      fs.renameSync(at + '/kept', at + '/victim/inner');
      if (i % 50 === 0 && fs.existsSync(at + '/stop')) break;
    }`;
  const other = spawn(process.execPath, ['-e', script], { stdio: 'inherit' });
  const ended = new Promise(resolve => other.on('close', resolve));
  while (!fs.existsSync(path('inner-link')) && !fs.existsSync(path('kept'))) {
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  let hits = 0;
  let misses = 0;
  const attempt = async (use: () => Promise<void>) => {
    try {
      await use();
      hits += 1;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      misses += 1;
    }
  };
  const victim = await client.walk(root, 'victim');
  for (let i = 0; i < 400 * ROUNDS; i++) {
    await attempt(async () => {
      const fid = await client.open(victim, 'inner/secret');
      const text = await client.text(fid);
      await client.clunk(fid);
      assert.equal(text, 'harmless');
    });
    await attempt(async () => {
      const inner = await client.walk(victim, 'inner');
      try {
        await client.clunk(await client.create(inner, `made-${i}`, { flags: 0o202 }));
        await client.unlink(inner, `made-${i}`);
        await client.mkdir(inner, 'folder');
        await client.unlink(inner, 'folder', 0x200);
        await client.setattr(inner, 1 | 0x120, { mode: 0o700, mtimeNs: 1_000_000_000n });
        const secret = await client.walk(inner, 'secret');
        await client.setattr(secret, 1, { mode: 0o600 });
        await client.clunk(secret);
      } finally {
        await client.clunk(inner);
      }
    });
  }
  fs.writeFileSync(path('stop'), '');
  await ended;
  check();
  assert.ok(hits > 0, `${hits} hits, ${misses} misses`);
});

test('a folder that the host moves out is no way out', async t => {
  const { base, client, root, path, check } = await setUp(t);
  fs.mkdirSync(path('a/b'), { recursive: true });
  const b = await client.walk(root, 'a/b');
  await client.open(b, '');
  fs.renameSync(path('a/b'), join(base, 'moved'));
  try {
    // What it was reached through is what is above it, not what the host has there now.
    await refused(client.walk(b, '../outside'), Errno.ENOENT);
    const above = await client.walk(b, '../..');
    assert.equal((await client.stat(above)).ino, (await client.stat(root)).ino);
    // Below itself: the tree is not what it was, and must not become a circle.
    fs.renameSync(path('a'), join(base, 'moved/a'));
    await refused(client.rename(root, 'a', b, 'x'), Errno.ENOENT, Errno.ESTALE);
  } finally {
    fs.rmSync(join(base, 'moved'), { recursive: true });
  }
  check();
});

/** Requests of random kinds over few names and fids: mostly sensible, so that they get somewhere. */
function randomRequest({ below, pick }: ReturnType<typeof chance>, tag: number): Uint8Array {
  const names = ['a', 'b', 'c', 'd', '..', '.', '', 'a/b', RECORDS_FOLDER, 'n'.repeat(below(300)), '\xff\0'];
  const name = () => (below(5) > 0 ? pick(['a', 'b', 'c', 'd']) : pick(names));
  const fid = () => (below(20) > 0 ? below(12) : pick([NOFID, 0x7fff_ffff, 77]));
  const number = () => pick([0, 1, 2, 7, 0o200, 0o644, 0o1777, 4096, 0x7fff_ffff, 0xffff_ffff]);
  const big = () => pick([0n, 1n, 4096n, 1n << 20n, 1n << 33n, 1n << 53n, 1n << 63n, (1n << 64n) - 1n]);
  const targets = ['../outside/secret', '/', 'a', '', '../outside', '/proc/self/fd/3'];
  const mode = () => pick([0o644, 0o100600, 0o20666, 0o10644, 0o40755, 0o140777, 0xffff_ffff]);
  const text = new Uint8Array(below(200));
  const requests: (() => Uint8Array)[] = [
    () => encode(T.attach, tag, '44ss4', fid(), NOFID, 'u', '', number()),
    () => encode(T.walk, tag, '44n', fid(), fid(), Array.from({ length: below(5) }, name)),
    () => encode(T.walk, tag, '44n', 0, fid(), []),
    () => encode(T.walk, tag, '44n', 0, fid(), [name()]),
    () => encode(T.clunk, tag, '4', 1 + below(12)),
    () => encode(T.lopen, tag, '44', fid(), pick([0, 1, 2, 3, 0o1002, 0o2001, 0o200000, 0xffff_ffff])),
    () =>
      encode(
        T.lcreate,
        tag,
        '4s444',
        1 + below(12),
        name(),
        pick([2, 0o202, 0o1001, 0o2001]),
        mode(),
        number(),
      ),
    () => encode(T.symlink, tag, '4ss4', fid(), name(), pick(targets), number()),
    () => encode(T.mknod, tag, '4s4444', fid(), name(), mode(), number(), number(), number()),
    () => encode(T.mkdir, tag, '4s44', fid(), name(), mode(), number()),
    () => encode(T.rename, tag, '44s', fid(), fid(), name()),
    () => encode(T.renameat, tag, '4s4s', fid(), name(), fid(), name()),
    () => encode(T.unlinkat, tag, '4s4', fid(), name(), pick([0, 0x200, 0xffff_ffff])),
    () => encode(T.remove, tag, '4', 1 + below(12)),
    () => encode(T.link, tag, '44s', fid(), fid(), name()),
    () => encode(T.readlink, tag, '4', fid()),
    () => encode(T.getattr, tag, '48', fid(), big()),
    () =>
      encode(
        T.setattr,
        tag,
        '4444488888',
        fid(),
        pick([1, 2, 4, 8, 0x30, 0x1b0, 0x1ff, 0xffff_ffff]),
        mode(),
        number(),
        number(),
        pick([0n, 10n, 1n << 20n, 1n << 63n]),
        ...[big(), pick([0n, 5n, 1n << 40n]), big(), 0n],
      ),
    () => encode(T.read, tag, '484', fid(), big(), number()),
    () => encode(T.readdir, tag, '484', fid(), big(), number()),
    // Not so far out that the host's disk is filled.
    () => encode(T.write, tag, '48b', fid(), pick([0n, 100n, 1n << 20n, 1n << 53n, 1n << 63n]), text),
    () => encode(T.fsync, tag, '44', fid(), number()),
    () => encode(T.statfs, tag, '4', fid()),
    () => encode(T.xattrwalk, tag, '44s', fid(), fid(), pick(['', 'user.a', 'user.b', 'x', 'user.\0'])),
    () =>
      encode(
        T.xattrcreate,
        tag,
        '4s84',
        fid(),
        pick(['user.a', 'user.b', 'security.c', 'bad']),
        big(),
        pick([0, 1, 2, 3]),
      ),
    () => encode(T.lock, tag, '414884s', fid(), below(4), number(), big(), big(), below(3), 'client'),
    () => encode(T.getlock, tag, '41884s', fid(), below(4), big(), big(), below(3), 'client'),
    () => encode(T.flush, tag, '2', below(100)),
    () => encode(T.auth, tag, '4ss4', fid(), 'u', '', 0),
    () => encode(below(256), tag, ''),
  ];
  return pick(requests)();
}

/** What is wrong with it is anything. */
function spoil(message: Uint8Array, { below }: ReturnType<typeof chance>): Uint8Array {
  const bytes = message.slice(0, below(4) === 0 ? 7 + below(message.length - 6) : message.length);
  for (let i = below(4); i > 0; i--) bytes[4 + below(bytes.length - 4)] = below(256);
  new DataView(bytes.buffer).setUint32(0, bytes.length, true);
  return bytes;
}

test('random requests: each is answered once, and nothing gets out', async t => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const { client, session, folder, check, path } = await setUp(t);
    assert.ok(client);
    await client.send(T.version, '4s', 65536, '9P2000.L');
    const random = chance(seed);
    let answered = 0;
    let done = 0;
    const handle = (message: Uint8Array, tag: number): Promise<void> =>
      new Promise(resolve => {
        void session.handle(message, reply => {
          assert.equal(new DataView(reply.buffer, reply.byteOffset).getUint32(0, true), reply.length);
          assert.ok(reply.length <= 65536);
          assert.equal((reply[5] as number) | ((reply[6] as number) << 8), tag);
          answered += 1;
          if (reply[4] !== RLERROR) done += 1;
          resolve();
        });
      });
    await handle(encode(T.attach, 1, '44ss4', 0, NOFID, 'u', '', 0), 1);
    const waiting: Promise<void>[] = [];
    const count = 2000;
    for (let i = 0; i < count; i++) {
      const tag = 2 + i;
      const whole = randomRequest(random, tag);
      const message = random.below(8) === 0 ? spoil(whole, random) : whole;
      // A version forgets everything: not too often.
      if (message[4] === T.version) message[4] = T.clunk;
      waiting.push(handle(message, (message[5] as number) | ((message[6] as number) << 8)));
      if (i % 16 === 0) await Promise.all(waiting.splice(0));
      if (i % 200 === 0) {
        await handle(encode(T.attach, 1, '44ss4', 0, NOFID, 'u', '', 0), 1);
        answered -= 1;
      }
    }
    await Promise.all(waiting);
    assert.equal(answered, count + 1);
    assert.ok(done > count / 8, `only ${done} of ${count} did anything`);
    await session.close();
    assert.equal(folder.tree.nrAnchors, 1);
    assert.equal(folder.tree.root.references, 1);
    check();
    assert.ok(fs.readdirSync(path()).length <= 20);
  }
});

test('random bytes in the rings and in their counters: the host goes on', async t => {
  const { open, check } = await setUp(t);
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = chance(1000 + seed);
    const folder = await open();
    const world = setUpFrontend({ folder });
    const rings = world.connect(1 + random.below(4), 1 + random.below(4));
    for (let i = 0; i < 200; i++) {
      const ring = random.pick(rings);
      const kind = random.below(10);
      if (kind < 5) ring.put(spoil(randomRequest(random, random.below(50)), random));
      else if (kind === 5) ring.put(Uint8Array.from({ length: random.below(100) }, () => random.below(256)));
      else if (kind === 6)
        world.memory.view.setUint32(ring.page * 4096 + 4 * random.below(200), random.below(2 ** 32), true);
      else if (kind === 7)
        ring.put(encode(T.version, 0xffff, '4s', random.pick([4096, 8192, 65536, 0xffff_ffff]), '9P2000.L'));
      else if (kind === 8) ring.put(encode(T.attach, 3, '44ss4', random.below(5), NOFID, 'u', '', 0));
      try {
        if (kind === 9) takeAnything(ring);
        ring.raise();
      } catch (error) {
        // What the test itself cannot read.
        if (!/part of a message/.test(String(error))) throw error;
      }
      if (i % 20 === 0) await new Promise(resolve => setImmediate(resolve));
      world.pump();
    }
    world.device.remove(true);
    for (let i = 0; i < 50 && world.removed() === 0; i++) {
      await new Promise(resolve => setTimeout(resolve, 1));
      world.pump();
    }
    assert.equal(world.removed(), 1);
    assert.ok([...world.mapped.values()].every(count => count === 0));
    assert.equal(folder.tree.root.anchor, undefined);
    check();
  }
});

const takeAnything = (ring: FrontRing): void => {
  ring.counters.in_cons = ring.counters.in_prod;
};
