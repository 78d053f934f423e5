/** Disks that are opened beside others which build on the same files. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createImage } from './create.ts';
import type { Disk } from './disk.ts';
import { openDisk } from './open.ts';
import { cloneDisk, snapshotDisk } from './snapshot.ts';
import { simulatedHost } from './testing.fixture.ts';
import type { VhdImage } from './vhd/image.ts';

const SIZE = 16 * 2 ** 30;
const tablesOf = (disk: Disk) => disk.layers.map(layer => (layer as VhdImage).meta.table);

/** `/d/child.vhd` over `/d/base.vhd` over `/d/below.vhd`, each with a sector of its own. */
async function newChain() {
  const host = simulatedHost();
  await createImage(host, '/d/base.vhd', { format: 'vhd', sizeBytes: SIZE });
  const disk = await openDisk(host, '/d/base.vhd');
  await disk.write(0, new Uint8Array(512).fill(1));
  await snapshotDisk(host, disk, '/d/below.vhd');
  await disk.write(512, new Uint8Array(512).fill(2));
  await disk.close();
  const base = await openDisk(host, '/d/base.vhd');
  await cloneDisk(host, base, '/d/child.vhd');
  await base.close();
  const child = await openDisk(host, '/d/child.vhd', { isReadOnly: true });
  const root = await openDisk(host, child.layers[1]!.path, { isReadOnly: true, format: 'vhd' });
  await child.close();
  return { host, root };
}

test('files that both read have one table; what is written has its own', async () => {
  const { host, root } = await newChain();
  const child = await openDisk(host, '/d/child.vhd', { beside: root });
  const [own, ...shared] = tablesOf(child);
  assert.deepEqual(
    shared.map((table, i) => table === tablesOf(root)[i]),
    [true, true],
  );
  await child.write(1024, new Uint8Array(512).fill(3));
  await child.flush();
  assert.ok(own?.some(entry => entry !== 0xffff_ffff));
  const bytes = new Uint8Array(2048);
  await child.read(0, bytes);
  assert.deepEqual([bytes[0], bytes[512], bytes[1024], bytes[1536]], [1, 2, 3, 0]);
  const other = await openDisk(host, '/d/base.vhd', { isReadOnly: true });
  assert.notEqual(tablesOf(other)[0], tablesOf(root)[0], 'opened for itself');
  for (const disk of [other, child, root]) await disk.close();
});

test('of a disk beside others little is its own', async () => {
  const { host, root } = await newChain();
  const before = process.memoryUsage().arrayBuffers;
  const disks: Disk[] = [];
  for (let i = 0; i < 20; i++)
    disks.push(await openDisk(host, root.path, { isReadOnly: true, format: 'vhd', beside: root }));
  const each = (process.memoryUsage().arrayBuffers - before) / disks.length;
  // A table alone is 32 KiB.
  assert.ok(each < 24 << 10, `${each} bytes`);
  for (const disk of [...disks, root]) await disk.close();
});
