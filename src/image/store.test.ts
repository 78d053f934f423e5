import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { nodeBlockFiles } from '../platform/node/block-files.ts';
import { createNodeClock } from '../platform/node/clock.ts';
import { nodeEntropy } from '../platform/node/entropy.ts';
import { sha256Hex } from '../platform/node/native-codecs.ts';
import { PLAIN_CONFIG } from './config.ts';
import { hasCode, sampleBytes } from './fuzz.fixture.ts';
import { makeRootDisk, sealRootDisk } from './rootfs/make-root.ts';
import { throwawayChild } from './rootfs/root-disk.ts';
import { plainAttributes } from './rootfs/tree.ts';
import { ImageStore } from './store.ts';

const host = { files: nodeBlockFiles, clock: createNodeClock(), entropy: nodeEntropy };
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'domus-store-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const facts = (name: string, identity = name, blobs: readonly string[] = []) => ({
  name,
  identity,
  diskBytes: 1 << 20,
  blobs,
  config: PLAIN_CONFIG,
});

let nrFiles = 0;
async function add(store: ImageStore, name: string, seed: number, blobs: readonly string[] = []) {
  const path = join(folder, `new-${++nrFiles}`);
  writeFileSync(path, sampleBytes(5000, seed));
  return store.add(path, facts(name, `identity ${seed}`, blobs));
}

test('images are found by name and by identity, and share a root', async () => {
  const store = new ImageStore(folder, host);
  assert.deepEqual(await store.list(), []);
  const one = await add(store, 'dir:/a', 1);
  await add(store, 'two:1', 2);
  await store.alias(one, 'one:1');
  assert.deepEqual(
    (await store.list()).map(({ name }) => name),
    ['dir:/a', 'one:1', 'two:1'],
  );
  assert.equal((await store.find('one:1'))?.root, one.root);
  assert.equal((await store.findByIdentity('identity 1'))?.root, one.root);
  assert.equal(await store.find('three:1'), undefined);
  assert.equal(await store.isIntact(one), true);
  assert.equal(await store.remove('dir:/a'), true);
  assert.equal(await store.remove('dir:/a'), false);
  assert.equal(await store.collectGarbage(), 0);
  await store.remove('one:1');
  assert.equal(await store.collectGarbage(), 5000);
  assert.deepEqual(readdirSync(join(folder, 'roots')).length, 1);
});

test('what is damaged is not found, or is found out', async () => {
  const store = new ImageStore(folder, host);
  const image = await add(store, 'a:1', 1);
  const path = store.rootPath(image.root);
  const bytes = sampleBytes(5000, 1);
  bytes[1000]! ^= 1;
  writeFileSync(path, bytes);
  assert.equal(await store.isIntact(image), false);
  writeFileSync(path, bytes.subarray(1));
  assert.equal(await store.find('a:1'), undefined);
  rmSync(path);
  assert.equal(await store.find('a:1'), undefined);
  assert.equal(await store.isIntact(image), false);
  for (const text of ['', '{', '[]', '{"name":"a:1"}', JSON.stringify({ ...image, root: '../../x' })]) {
    writeFileSync(join(folder, 'images', 'a_3a_1.json'), text);
    assert.equal(await store.find('a:1'), undefined, text);
    assert.deepEqual(await store.list(), []);
  }
});

test('blobs are believed by their hashes, and stay for a day', async () => {
  const store = new ImageStore(folder, host);
  const bytes = sampleBytes(3000, 7);
  const hash = sha256Hex(bytes);
  const path = join(folder, 'blob');
  writeFileSync(path, bytes);
  await assert.rejects(store.addBlob('0'.repeat(64), path), hasCode('E_IMAGE_CORRUPT'));
  await store.addBlob(hash, path);
  assert.equal(await store.findBlob(hash), join(folder, 'blobs', hash));
  await store.collectGarbage();
  assert.notEqual(await store.findBlob(hash), undefined);
  const old = new Date(Date.now() - 25 * 60 * 60_000);
  utimesSync(join(folder, 'blobs', hash), old, old);
  const image = await add(store, 'a:1', 1, [hash]);
  await store.collectGarbage();
  assert.notEqual(await store.findBlob(hash), undefined);
  await store.remove(image.name);
  await store.collectGarbage();
  assert.equal(await store.findBlob(hash), undefined);
});

test('many at once: every image is there, and none is lost to the collector', async () => {
  const stores = Array.from({ length: 6 }, () => new ImageStore(folder, host));
  await Promise.all(
    stores.flatMap((store, i) => [add(store, `n${i}:1`, i % 3), store.collectGarbage(), store.list()]),
  );
  for (const [i, store] of stores.entries()) assert.notEqual(await store.find(`n${i}:1`), undefined);
});

test('a root with children: each writes for itself, and the collector waits for them', async () => {
  const store = new ImageStore(folder, host);
  const path = join(folder, 'root.vhd');
  await makeRootDisk(host, path, 256 << 20, async (fs, tree) => {
    const contents = await fs.store(3, [new Uint8Array(3)]);
    tree.put('file', { kind: 'file', attributes: plainAttributes(0o644), contents });
  });
  await sealRootDisk(host, path);
  const image = await store.add(path, facts('root:1'));
  const [one, two] = await Promise.all(
    [1, 2].map(async () => {
      const child = await throwawayChild(host, store.rootPath(image.root), store.runsFolder);
      return { disk: await child.open(), child };
    }),
  );
  const wrote = sampleBytes(4096, 3);
  await one!.disk.write(1 << 20, wrote);
  const read = new Uint8Array(4096);
  await one!.disk.read(1 << 20, read);
  assert.deepEqual(read, wrote);
  await two!.disk.read(1 << 20, read);
  assert.notDeepEqual(read, wrote);
  assert.equal(await store.isIntact(image), true);
  await store.remove('root:1');
  assert.equal(await store.collectGarbage(), 0);
  for (const { disk, child } of [one!, two!]) {
    await disk.close();
    // Between two users the root is not taken away either.
    assert.equal(await store.collectGarbage(), 0);
    await (await child.open()).close();
    await child.remove();
  }
  assert.deepEqual(readdirSync(store.runsFolder), []);
  assert.equal(await store.collectGarbage(), image.fileBytes);
  assert.ok(!existsSync(store.rootPath(image.root)));
});
