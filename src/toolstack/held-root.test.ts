/** What all clones of a call build on, with files of the host. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { createImage } from '../disk/create.ts';
import { openDisk } from '../disk/open.ts';
import { snapshotDisk } from '../disk/snapshot.ts';
import { nodeDiskHost } from './disk-host.ts';
import { HeldRoot } from './held-root.ts';
import { openKeptDisk } from './saved-disk.ts';

const facts = { device: 'xvda', isReadOnly: false, queueDepth: undefined, limits: undefined };
const BASE = 'base-0123456789ab.vhd';
let scratch = '';
let runs = '';
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'domus-held-root-'));
  runs = join(scratch, 'runs');
  mkdirSync(join(scratch, 'parent'));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

/** A parent's disk, and what it held when it was cloned. */
async function newBase(): Promise<string> {
  const host = nodeDiskHost();
  const [path, base] = ['root.vhd', BASE].map(name => join(scratch, 'parent', name)) as [string, string];
  await createImage(host, path, { format: 'vhd', sizeBytes: 64 << 20 });
  const disk = await openDisk(host, path);
  await disk.write(0, new Uint8Array(512).fill(7));
  await snapshotDisk(host, disk, base);
  await disk.close();
  return base;
}
const firstByte = async (disk: { read(offset: number, into: Uint8Array): unknown }) => {
  const bytes = new Uint8Array(512);
  await disk.read(0, bytes);
  return bytes[0];
};

test('it outlives the parent and who makes the clones, and goes with the last of them', async () => {
  const base = await newBase();
  const root = await HeldRoot.open(base, runs);
  const endMaking = root.retain();
  const clones = [];
  for (let i = 0; i < 2; i++) {
    const disk = await openKeptDisk(facts, base, runs, root.disk);
    clones.push({ ...disk, release: root.retain() });
  }
  await endMaking();
  rmSync(join(scratch, 'parent'), { recursive: true });
  for (const { machineDisk, remove, release } of clones) {
    assert.ok(!root.disk.isClosed);
    const { disk } = machineDisk;
    assert.equal(await firstByte(disk), 7);
    await disk.close();
    // As the backend's other process does it: what the disk builds on is the same.
    const again = await openDisk(nodeDiskHost(), disk.path, { root: machineDisk.root });
    assert.deepEqual(again.layers.slice(1), root.disk.layers);
    assert.equal(await firstByte(again), 7);
    await again.close();
    await remove();
    await release();
    await release();
  }
  assert.ok(root.disk.isClosed);
  assert.deepEqual(readdirSync(runs), [], 'nothing is left');
});

test('a clone of a clone goes on when those before it are gone', async () => {
  const root = await HeldRoot.open(await newBase(), runs);
  const release = root.retain();
  const first = await openKeptDisk(facts, join(scratch, 'parent', BASE), runs, root.disk);
  const { disk } = first.machineDisk;
  await disk.write(512, new Uint8Array(512).fill(8));
  const kept = join(disk.path, '..', 'base-ba9876543210.vhd');
  await snapshotDisk(nodeDiskHost(), disk, kept);
  const second = await HeldRoot.open(kept, runs);
  const releaseSecond = second.retain();
  const clone = await openKeptDisk(facts, kept, runs, second.disk);
  await disk.close();
  await first.remove();
  await release();
  rmSync(join(scratch, 'parent'), { recursive: true });
  const third = await HeldRoot.open(join(clone.machineDisk.disk.path, '..', 'base-ba9876543210.vhd'), runs);
  const releaseThird = third.retain();
  const bytes = new Uint8Array(1024);
  await third.disk.read(0, bytes);
  assert.deepEqual([bytes[0], bytes[512]], [7, 8]);
  await releaseThird();
  await clone.machineDisk.disk.close();
  await clone.remove();
  await releaseSecond();
  assert.deepEqual(readdirSync(runs), []);
});

test('what cannot be opened leaves nothing', async () => {
  await assert.rejects(HeldRoot.open(join(scratch, 'parent', BASE), runs), { code: 'E_DISK_NOT_FOUND' });
  assert.deepEqual(readdirSync(runs), []);
});
