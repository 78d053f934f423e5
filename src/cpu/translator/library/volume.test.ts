import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIRST_CALLED, FORMS } from '../../isa/forms.ts';
import type { Instruction } from '../instruction.ts';
import { keysOf, readVolume, type StoredRegion, type Volume, VolumeHeader, writeVolume } from './volume.ts';

const formOf = (isCalled: boolean) => {
  const form = FORMS.find(({ id }) => id >= FIRST_CALLED === isCalled);
  assert.ok(form);
  return form;
};
const instruction = (isCalled: boolean, offset: number): Instruction => ({
  record: 0,
  form: formOf(isCalled),
  length: 3,
  offset,
  segment: 1,
  reg: 16,
  rm: 24,
  base: 32,
  index: 40,
  scale: 2,
  displacement: -5n,
  immediate: 7n,
});
const region = (number: number): StoredRegion => ({
  key: 0xfedcba98 - number,
  number,
  image: {
    mode: 2,
    pages: [0, -3],
    entries: [
      { number: 0, place: { page: 0, offset: 16 }, instruction: instruction(false, 16) },
      { number: 2, place: { page: -3, offset: 4000 }, instruction: instruction(true, 4000) },
    ],
    called: [instruction(true, 4000)],
    runs: [
      { page: 0, from: 16, to: 19 },
      { page: 1, from: 4000, to: 4005 },
    ],
    grows: number === 1,
  },
  code: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]),
});
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
