/** A block that is given back while a write to it is under way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createImage } from './create.ts';
import { openDisk } from './open.ts';
import { simulatedHost } from './testing.fixture.ts';

const BLOCK = 64 * 1024;

test('the place of a block is not used again before the last write to it has come there', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: 8 * BLOCK, blockBytes: BLOCK });
  let release = () => {};
  let isHolding = false;
  // As a pool of threads may do it: this write comes to the medium late.
  const open = host.files.open.bind(host.files);
  host.files.open = async (path, mode) => {
    const file = await open(path, mode);
    return {
      ...file,
      write: (position, from) => {
        if (!isHolding) return file.write(position, from);
        isHolding = false;
        const bytes = from.slice();
        return new Promise<void>(resolve => {
          release = () => resolve(file.write(position, bytes));
        });
      },
    };
  };
  const disk = await openDisk(host, '/d/disk.vhd');
  await disk.write(0, new Uint8Array(BLOCK).fill(1));
  await disk.flush();
  isHolding = true;
  const late = disk.write(0, new Uint8Array(BLOCK).fill(2));
  await disk.discard(0, BLOCK);
  await disk.flush();
  const others = async (value: number) => {
    for (let block = 1; block < 4; block++) {
      const bytes = new Uint8Array(BLOCK);
      await disk.read(block * BLOCK, bytes);
      assert.ok(
        bytes.every(byte => byte === value),
        `block ${block}`,
      );
    }
  };
  for (let block = 1; block < 4; block++) await disk.write(block * BLOCK, new Uint8Array(BLOCK).fill(3));
  release();
  await late;
  await others(3);
  // After it the place is free: the file does not grow.
  const before = await host.files.allocatedBytes('/d/disk.vhd');
  await disk.flush();
  await disk.write(5 * BLOCK, new Uint8Array(BLOCK).fill(3));
  await disk.flush();
  assert.equal(await host.files.allocatedBytes('/d/disk.vhd'), before);
  await others(3);
  await disk.close();
});
