import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createNodeClock } from '../../platform/node/clock.ts';
import { nodeFolderFiles } from '../../platform/node/folder-files.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { Client, encode } from './client.fixture.ts';
import { BACK, FRONT, type FrontendOptions, setUpFrontend } from './frontend.fixture.ts';
import { LockTable } from './locks.ts';
import { T } from './protocol.ts';
import { SharedFolder } from './shared-folder.ts';

async function setUp(t: TestContext, options: Omit<FrontendOptions, 'folder'> = {}) {
  const path = fs.mkdtempSync(join(tmpdir(), 'domus-p9-'));
  const folder = await SharedFolder.open({
    files: nodeFolderFiles,
    path,
    isReadOnly: false,
    clock: createNodeClock(),
    locks: new LockTable(),
  });
  t.after(() => {
    folder.close();
    fs.rmSync(path, { recursive: true, force: true });
  });
  return { ...setUpFrontend({ folder, ...options }), path };
}

const tagOf = (message: Uint8Array) => (message[5] as number) | ((message[6] as number) << 8);

test('the keys say what the device is', async t => {
  const { guest, device } = await setUp(t, { maxRingOrder: 9 });
  const expected = {
    state: '2',
    frontend: `/local/domain/5/${FRONT}`,
    security_model: 'mapped',
    versions: '1',
    'max-rings': '4',
    'max-ring-page-order': '9',
  };
  for (const [key, value] of Object.entries(expected)) assert.equal(guest.read(`${BACK}/${key}`), value, key);
  assert.equal(guest.read(`${FRONT}/tag`), 'domus0');
  // Where it is on the host is not the domain's to know.
  assert.equal(guest.read(`${BACK}/path`), 'ENOENT');
  assert.equal(guest.read(`${FRONT}/state`), '1');
  assert.equal(device.state, 2);
});

test('a kernel connects, transfers messages of all sizes over all rings, and closes', async t => {
  const world = await setUp(t);
  for (const [rings, order] of [
    [2, 2],
    [1, 1],
    [4, 4],
  ] as const) {
    const [first] = world.connect(rings, order);
    assert.ok(first);
    assert.equal(world.guest.read(`${BACK}/state`), '4');
    const client = new Client(world.transact);
    const root = await client.start(1 << 20);
    // As long as the rings allow.
    assert.equal(client.messageBytes, first.sizeBytes);
    const file = await client.create(root, `file-${rings}`);
    const most = client.messageBytes - 23;
    let offset = 0;
    for (let size = 1; size <= most; size = size === most ? most + 1 : Math.min(most, size * 3)) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 7 + size) & 0xff);
      assert.equal(await client.write(file, offset, bytes), size);
      assert.deepEqual(await client.read(file, offset, size), bytes);
      offset += size;
    }
    // A reply as long as a message may be, and not longer.
    assert.equal((await client.read(file, 0, 1 << 20)).length, Math.min(offset, client.messageBytes - 11));
    assert.equal(fs.statSync(join(world.path, `file-${rings}`)).size, offset);
    world.setState(5);
    world.setState(6);
    assert.equal(world.device.nrFids, 0);
    world.setState(1);
    assert.equal(world.device.state, 2);
  }
  world.connect();
  world.device.remove();
  assert.equal(world.guest.read(`${BACK}/state`), '5');
  world.setState(6);
  await new Promise(resolve => setImmediate(resolve));
  assert.equal(world.removed(), 1);
  assert.ok([...world.mapped.values()].every(count => count === 0));
  assert.equal(world.ports.size, 0);
  assert.equal(world.xs.exists(BACK), false);
});

test('replies wait for room, and requests behind them', async t => {
  const world = await setUp(t);
  const [ring] = world.connect(1, 1);
  assert.ok(ring);
  const client = new Client(world.transact);
  const root = await client.start(4096);
  const file = await client.create(root, 'file');
  await client.write(file, 0, new Uint8Array(4000));
  // Three replies of 3,000 bytes do not fit into 4,096; the messages do.
  for (let tag = 100; tag < 106; tag++) assert.ok(ring.put(encode(T.read, tag, '484', file, 0, 3000)));
  ring.raise();
  const tags: number[] = [];
  for (let turns = 0; tags.length < 6 && turns < 1000; turns++) {
    tags.push(...ring.take(1).map(tagOf));
    // On a host that is slow just now.
    await new Promise(resolve => setImmediate(resolve));
    world.pump();
  }
  assert.deepEqual(tags.sort(), [100, 101, 102, 103, 104, 105]);
  assert.ok(world.device.counters.deepest <= 64);
});

test('a flush is answered when the client has read what it has been given, on whatever ring', async t => {
  const world = await setUp(t);
  const [even, odd] = world.connect(2, 2);
  assert.ok(even && odd);
  const client = new Client(world.transact);
  const root = await client.start();
  const file = await client.create(root, 'file');
  even.put(encode(T.fsync, 100, '44', file, 0));
  even.raise();
  odd.put(encode(T.flush, 101, '2', 100));
  odd.raise();
  const settle = async () => {
    for (let i = 0; i < 50; i++) {
      await new Promise(resolve => setTimeout(resolve, 1));
      world.pump();
    }
  };
  // The reply is there, and not taken: so no answer to the flush.
  while (even.counters.in_prod === even.counters.in_cons) await settle();
  assert.deepEqual(odd.take(), []);
  assert.deepEqual(even.take().map(tagOf), [100]);
  await settle();
  assert.deepEqual(odd.take().map(tagOf), [101]);
});

test('nonsense of the frontend closes the device with a reason', async t => {
  const reasonFor = async (spoil: (world: Awaited<ReturnType<typeof setUp>>) => void) => {
    const world = await setUp(t);
    spoil(world);
    world.pump();
    assert.equal(world.device.state, 5);
    assert.ok([...world.mapped.values()].every(count => count === 0));
    assert.equal(world.ports.size, 0);
    return world.xs.read('/local/domain/0/error/backend/9pfs/5/0/error') ?? '';
  };
  const keys = (values: Record<string, string>) => (world: Awaited<ReturnType<typeof setUp>>) =>
    void world.connect(2, 2, values);
  assert.match(await reasonFor(keys({ version: '2' })), /only version 1/);
  assert.match(await reasonFor(keys({ 'num-rings': '0' })), /number of rings/);
  assert.match(await reasonFor(keys({ 'num-rings': '5' })), /number of rings/);
  assert.match(await reasonFor(keys({ 'ring-ref1': 'x' })), /not both numbers/);
  assert.match(await reasonFor(keys({ 'ring-ref1': '3' })), /cannot map grant 3/);
  assert.match(await reasonFor(keys({ 'event-channel-1': '500' })), /cannot bind/);
  assert.match(
    await reasonFor(world => {
      const ring = world.connect()[0];
      assert.ok(ring);
      ring.counters.out_prod = 1 << 20;
      ring.raise();
    }),
    /counters/,
  );
  for (const size of [0, 6, 8193, 0xffff_ffff]) {
    assert.match(
      await reasonFor(world => {
        const ring = world.connect()[0];
        const message = encode(T.version, 0, '4s', 8192, '9P2000.L');
        new DataView(message.buffer).setUint32(0, size, true);
        ring?.put(message);
        ring?.raise();
      }),
      /counters/,
    );
  }
  const world = await setUp(t);
  world.guest.write(`${FRONT}/version`, '1');
  world.connect(1, 0);
  assert.equal(world.device.state, 5);
});

test('injected faults delay, fail, and lose', async t => {
  let fault: Fault = 'none';
  const world = await setUp(t, { fault: transfer => (transfer === '9pfs-request' ? fault : 'none') });
  const [ring] = world.connect(1, 2);
  assert.ok(ring);
  const client = new Client(world.transact);
  const root = await client.start();
  fault = 'delay';
  assert.equal((await client.stat(root)).mode & 0o170000, 0o040000);
  fault = 'fail';
  await assert.rejects(client.stat(root), { errno: 5 });
  fault = 'lose';
  ring.put(encode(T.clunk, 200, '4', root));
  ring.raise();
  assert.equal(ring.reply(200), undefined);
  fault = 'none';
  assert.equal((await client.stat(root)).mode & 0o170000, 0o040000);
});
