/** Disks over a root that somebody else has open: its files are his, and stay so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedFiles } from '../platform/sim/block-files.ts';
import { coalesce } from './coalesce.ts';
import { createImage } from './create.ts';
import type { Disk } from './disk.ts';
import { openDisk } from './open.ts';
import { cloneDisk, snapshotDisk } from './snapshot.ts';
import { simulatedHost } from './testing.fixture.ts';

const SIZE = 16 * 2 ** 30;

const byteAt = async (disk: Disk, offset: number) => {
  const bytes = new Uint8Array(512);
  await disk.read(offset, bytes);
  return bytes[511];
};
/** Has the disk, below so many files of its own, those that the root has open, and not others that are like them? */
const isOver = (disk: Disk, root: Disk, own = 1) =>
  disk.layers.length === own + root.layers.length &&
  root.layers.every((layer, i) => layer === disk.layers[own + i]);
const pathsOf = (disk: Disk) => disk.layers.map(({ path }) => path);

class WatchedFiles extends SimulatedFiles {
  readonly used: string[] = [];
  override open(path: string, mode: 'read' | 'write') {
    this.used.push(`open ${path}`);
    return super.open(path, mode);
  }
  override lock(path: string, kind: 'shared' | 'exclusive') {
    this.used.push(`${kind} ${path}`);
    return super.lock(path, kind);
  }
}

/** `/d/root.vhd` over `/d/below.vhd`, each with a sector of its own. */
async function newRoot() {
  const files = new WatchedFiles();
  const host = simulatedHost(1, files);
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE });
  const disk = await openDisk(host, '/d/disk.vhd');
  await disk.write(0, new Uint8Array(512).fill(1));
  await snapshotDisk(host, disk, '/d/below.vhd');
  await disk.write(512, new Uint8Array(512).fill(2));
  await snapshotDisk(host, disk, '/d/root.vhd');
  await disk.close();
  await files.remove('/d/disk.vhd');
  const root = await openDisk(host, '/d/root.vhd', { isReadOnly: true, format: 'vhd' });
  /** `used` is what was opened and locked for the last of them. */
  const newChild = async (path: string) => {
    await cloneDisk(host, root, path);
    files.used.length = 0;
    return openDisk(host, path, { format: 'vhd', isOwn: true, root });
  };
  return { host, root, newChild, used: files.used };
}

test('what they build on is not opened and claimed again, and is there for the others when one is closed', async () => {
  const { root, newChild, used } = await newRoot();
  const one = await newChild('/d/one.vhd');
  assert.deepEqual(used, ['exclusive /d/one.vhd', 'open /d/one.vhd']);
  const other = await newChild('/d/other.vhd');
  assert.ok(isOver(one, root) && isOver(other, root));
  await one.write(1024, new Uint8Array(512).fill(3));
  await one.write(0, new Uint8Array(512).fill(4));
  assert.deepEqual([await byteAt(one, 0), await byteAt(one, 512), await byteAt(one, 1024)], [4, 2, 3]);
  await one.close();
  assert.deepEqual([await byteAt(other, 0), await byteAt(other, 512), await byteAt(other, 1024)], [1, 2, 0]);
  await other.close();
  assert.equal(await byteAt(root, 512), 2);
  await root.close();
});

test('a child that is kept and goes on has the same root, and what it has written is its own', async () => {
  const { host, root, newChild } = await newRoot();
  const child = await newChild('/d/child.vhd');
  await child.write(1024, new Uint8Array(512).fill(3));
  await snapshotDisk(host, child, '/d/kept.vhd');
  await child.write(1024, new Uint8Array(512).fill(4));
  assert.deepEqual(pathsOf(child), ['/d/child.vhd', '/d/kept.vhd', '/d/root.vhd', '/d/below.vhd']);
  await child.close();
  const again = await openDisk(host, '/d/child.vhd', { root });
  assert.ok(isOver(again, root, 2));
  assert.equal(await byteAt(again, 1024), 4);
  await again.close();
  await root.close();
  const alone = await openDisk(host, '/d/child.vhd');
  assert.deepEqual([await byteAt(alone, 0), await byteAt(alone, 1024)], [1, 4]);
  await alone.close();
});

test('it is found under another name, and a copy of it is another file', async () => {
  const { host, root, newChild } = await newRoot();
  const child = await newChild('/d/child.vhd');
  await child.close();
  for (const name of ['root.vhd', 'below.vhd']) await host.files.link(`/d/${name}`, `/e/${name}`);
  const named = await openDisk(host, '/e/root.vhd', { isReadOnly: true });
  const beside = await openDisk(host, '/d/child.vhd', { root: named });
  assert.ok(isOver(beside, named));
  await beside.close();
  await named.close();

  const original = await host.files.open('/d/root.vhd', 'read');
  const bytes = new Uint8Array(await original.size());
  await original.read(0, bytes);
  await original.close();
  const copy = await host.files.create('/d/copy.vhd');
  await copy.write(0, bytes);
  await copy.close();
  const copied = await openDisk(host, '/d/copy.vhd', { isReadOnly: true });
  const own = await openDisk(host, '/d/child.vhd', { root: copied });
  assert.deepEqual(pathsOf(own), ['/d/child.vhd', '/d/root.vhd', '/d/below.vhd']);
  for (const disk of [own, copied, root]) await disk.close();
});

test('it cannot be merged away under the others', async () => {
  const { host, root, newChild } = await newRoot();
  const child = await newChild('/d/child.vhd');
  await assert.rejects(coalesce(host, child, 1), { code: 'E_DISK_IN_USE' });
  assert.equal(await byteAt(child, 512), 2);
  await child.close();
  assert.equal(await byteAt(root, 512), 2);
  await root.close();
});
