/** Transfers that a backend has done before it goes on: when they are possible, and what they do. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeBlockFiles } from '../platform/node/block-files.ts';
import { createImage } from './create.ts';
import { openDisk } from './open.ts';
import { snapshotDisk } from './snapshot.ts';
import { simulatedHost } from './testing.fixture.ts';

const BLOCK = 64 * 1024;

test('a block that the image has in full is transferred at once, across blocks or with holes it is not', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: 4 * BLOCK, blockBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.vhd');
  const bytes = new Uint8Array(1024).fill(3);
  // There is no block yet: one must be made, and entered in the table.
  assert.equal(disk.writeNow(BLOCK, [bytes], 1024), false);
  await disk.write(BLOCK, bytes);
  assert.equal(disk.writeNow(BLOCK + 4096, [bytes.subarray(0, 512), bytes.subarray(512)], 1024), true);
  const into = [new Uint8Array(512), new Uint8Array(512)];
  assert.equal(disk.readNow(BLOCK + 4096, into, 1024), true);
  assert.deepEqual(into[1], bytes.subarray(512));
  assert.equal(disk.readNow(2 * BLOCK - 512, into, 1024), false);
  assert.equal(disk.readNow(0, into, 1024), false);
  const { reads, readBytes, writes, writtenBytes } = disk.counters;
  assert.deepEqual([reads, readBytes, writes, writtenBytes], [1, 1024, 2, 2048]);
  await disk.close();
});

test('in a chain the owner of the block is read, and what is written at once is seen', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: 2 * BLOCK, blockBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.vhd');
  await disk.write(0, new Uint8Array(2 * BLOCK).fill(1));
  await snapshotDisk(host, disk, '/d/old.vhd');
  const into = new Uint8Array(512);
  await disk.read(0, into);
  assert.equal(disk.readNow(512, [into.fill(0)], 512), true);
  assert.equal(into[0], 1);
  // The new file has nothing of the block, then all of it.
  assert.equal(disk.writeNow(0, [into], 512), false);
  await disk.write(0, new Uint8Array(BLOCK).fill(2));
  assert.equal(disk.writeNow(512, [into.fill(3)], 512), true);
  await disk.read(512, into.fill(0));
  assert.equal(into[0], 3);
  await disk.close();
});

test('nothing is done at once while the chain is being changed', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.raw', { format: 'raw', sizeBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.raw');
  const into = new Uint8Array(512);
  assert.equal(disk.readNow(0, [into], 512), true);
  await disk.exclusively(async () => {
    assert.equal(disk.readNow(0, [into], 512), false);
    assert.equal(disk.writeNow(0, [into], 512), false);
  });
  await disk.close();
});

test('a read-only disk is not written, and errors of the medium come out', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.raw', { format: 'raw', sizeBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.raw', { isReadOnly: true });
  const into = new Uint8Array(512);
  assert.throws(() => disk.writeNow(0, [into], 512), { code: 'E_DISK_READ_ONLY' });
  host.files.onTransfer = () => {
    throw new Error('broken');
  };
  assert.throws(() => disk.readNow(0, [into], 512), /broken/);
  assert.equal(disk.counters.errors, 1);
  host.files.onTransfer = undefined;
  await disk.close();
});

test("files of the host: one piece or several, from memory that threads share, and not beyond the file's end", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'domus-at-once-'));
  try {
    const path = join(folder, 'file');
    writeFileSync(path, new Uint8Array(8192));
    const file = await nodeBlockFiles.open(path, 'write');
    const memory = new Uint8Array(new SharedArrayBuffer(8192));
    for (let i = 0; i < memory.length; i++) memory[i] = i % 251;
    const pieces = [memory.subarray(5000, 6024), memory.subarray(0, 2048), memory.subarray(100, 612)];
    const expected = Buffer.concat(pieces);
    assert.equal(file.writeNow(512, pieces, expected.length), true);
    assert.equal(file.writeNow(0, [memory.subarray(7, 519)], 512), true);
    assert.deepEqual(readFileSync(path).subarray(512, 512 + expected.length), expected);
    assert.deepEqual(readFileSync(path).subarray(0, 512), Buffer.from(memory.subarray(7, 519)));
    const into = [new Uint8Array(1024), new Uint8Array(2048), new Uint8Array(512)];
    assert.equal(file.readNow(512, into, expected.length), true);
    assert.deepEqual(Buffer.concat(into), expected);
    assert.equal(file.readNow(512, [into[2] as Uint8Array], 512), true);
    assert.deepEqual(Buffer.from(into[2] as Uint8Array), expected.subarray(0, 512));
    assert.equal(file.readNow(7168, into, expected.length), false);
    // More than is done inline.
    assert.equal(file.readNow(0, [new Uint8Array(2 << 20)], 2 << 20), false);
    await file.close();
    assert.throws(() => file.readNow(0, into, expected.length), { code: 'E_DISK_IO' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
