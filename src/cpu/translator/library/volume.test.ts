import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storedRegion } from './volume.fixture.ts';
import { keysOf, readVolume, type Volume, VolumeHeader, writeVolume } from './volume.ts';

const region = (number: number) => storedRegion(0xfedcba98 - number, number);
const volume: Volume = {
  regions: [region(0), region(1)],
  module: new Uint8Array([9, 8, 7]),
  native: new Uint8Array(100).fill(3),
  nrOptimised: 1,
};

test('a volume is read as it was written', () => {
  const file = writeVolume(volume);
  assert.deepEqual(readVolume(file), volume);
  assert.deepEqual(keysOf(file), [0xfedcba98, 0xfedcba97]);
  const bare = { ...volume, native: undefined, nrOptimised: 0 };
  assert.deepEqual(readVolume(writeVolume(bare)), bare);
});

test('a damaged volume is no volume, wherever the damage is', () => {
  const file = writeVolume(volume);
  for (let at = 0; at < file.length; at++) {
    const damaged = file.slice();
    damaged[at] = (damaged[at] as number) ^ 0x41;
    // What the header says of the native code is V8's to check.
    if (at >= VolumeHeader.offsets.nrOptimised && at < VolumeHeader.offsets.digest) continue;
    assert.equal(readVolume(damaged), undefined, `byte ${at}`);
  }
  for (let length = 0; length < file.length; length++) {
    assert.equal(readVolume(file.subarray(0, length)), undefined, `${length} bytes`);
  }
});
