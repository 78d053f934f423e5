/** Snapshots and clones of which everything is made before the moment. What they hold, and what cuts leave, is in model.test.ts and crash.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beginSnapshot } from './begun-snapshot.ts';
import { createImage } from './create.ts';
import { openDisk } from './open.ts';
import { resizeDisk } from './resize.ts';
import { beginClone, snapshotDisk } from './snapshot.ts';
import { simulatedHost } from './testing.fixture.ts';

const SIZE = 512 * 1024;

async function newDisk() {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: 16384 });
  const disk = await openDisk(host, '/d/disk.vhd');
  const write = (value: number) => disk.write(0, new Uint8Array(512).fill(value));
  const holds = async (path: string) => {
    const other = await openDisk(host, path, { isReadOnly: true });
    const bytes = new Uint8Array(512);
    await other.read(0, bytes);
    await other.close();
    return bytes[511];
  };
  await write(1);
  return { host, disk, write, holds };
}

test('what is written until the moment is in a snapshot and a clone, and nothing later', async () => {
  const { host, disk, write, holds } = await newDisk();
  for (const begin of [beginSnapshot, beginClone]) {
    const path = `/d/${begin.name}.vhd`;
    await write(2);
    const begun = await begin(host, disk, path);
    await begun.ready;
    await write(3);
    await begun.take();
    await write(4);
    assert.equal(await holds(path), 3);
    await begun.giveUp();
    assert.equal(await holds(path), 3);
  }
  assert.equal(disk.layers.length, 3);
  assert.deepEqual(
    disk.layers.map(({ path }) => path).filter(path => /tmp/.test(path)),
    [],
  );
  await disk.close();
});

test('what is given up leaves nothing, and the disk as it was', async () => {
  const { host, disk, write, holds } = await newDisk();
  const before = host.files.names();
  for (const begin of [beginSnapshot, beginClone]) {
    const begun = await begin(host, disk, '/d/other.vhd');
    await begun.giveUp();
    assert.deepEqual(host.files.names(), before);
  }
  await write(2);
  await disk.close();
  assert.equal(await holds('/d/disk.vhd'), 2);
});

test('a disk that somebody else has changed meanwhile is kept all the same', async () => {
  const { host, disk, write, holds } = await newDisk();
  const begun = await beginSnapshot(host, disk, '/d/first.vhd');
  await begun.ready;
  await snapshotDisk(host, disk, '/d/second.vhd');
  await write(2);
  await begun.take();
  const grown = await beginClone(host, disk, '/d/clone.vhd');
  await grown.ready;
  await write(3);
  await resizeDisk(disk, 2 * SIZE);
  await grown.take();
  await write(4);
  assert.deepEqual(
    [await holds('/d/second.vhd'), await holds('/d/first.vhd'), await holds('/d/clone.vhd')],
    [1, 2, 3],
  );
  const clone = await openDisk(host, '/d/clone.vhd');
  assert.equal(clone.sizeBytes, 2 * SIZE);
  await clone.close();
  await disk.close();
  assert.deepEqual(
    host.files.names().filter(name => /\.tmp-/.test(name)),
    [],
  );
});
