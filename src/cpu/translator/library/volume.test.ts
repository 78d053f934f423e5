import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storedRegion } from './volume.fixture.ts';
import {
  catalogueBytes,
  HEAD_BYTES,
  keysOf,
  readCatalogue,
  readCode,
  VolumeHeader,
  type VolumeParts,
  writeVolume,
} from './volume.ts';

const region = (number: number) => storedRegion(0xfedcba98 - number, number);
const regions = [region(0), region(1)];
const code = { module: new Uint8Array([9, 8, 7]), native: new Uint8Array(100).fill(3), nrOptimised: 1 };
const volume: VolumeParts = { regions, ...code };

test('a volume is read as it was written, its catalogue by its beginning alone', () => {
  const file = writeVolume(volume);
  assert.deepEqual(readCode(file), code);
  assert.deepEqual(keysOf(file), [0xfedcba98, 0xfedcba97]);
  const size = catalogueBytes(file.subarray(0, VolumeHeader.size));
  assert.ok(size < file.length && size < HEAD_BYTES);
  assert.deepEqual(readCatalogue(file.subarray(0, size)), regions);
  const bare = { ...code, native: undefined, nrOptimised: 0 };
  assert.deepEqual(readCode(writeVolume({ regions, ...bare })), bare);
});

test('a damaged volume is no volume, wherever the damage is', () => {
  const file = writeVolume(volume);
  const codeAt = catalogueBytes(file);
  const { nrOptimised, catalogueDigest, codeDigest } = VolumeHeader.offsets;
  for (let at = 0; at < file.length; at++) {
    const damaged = file.slice();
    damaged[at] = (damaged[at] as number) ^ 0x41;
    // What the header says of the native code is V8's to check.
    if (at >= nrOptimised && at < catalogueDigest) continue;
    const isOfCode = at >= codeAt || (at >= codeDigest && at < VolumeHeader.size);
    if (!isOfCode && at >= VolumeHeader.size) assert.equal(readCatalogue(damaged), undefined, `byte ${at}`);
    else if (isOfCode) assert.equal(readCode(damaged), undefined, `byte ${at}`);
    else assert.ok(!readCatalogue(damaged) || !readCode(damaged), `byte ${at}`);
  }
  for (let length = 0; length < file.length; length++) {
    assert.equal(readCode(file.subarray(0, length)), undefined, `${length} bytes`);
    if (length < codeAt) assert.equal(readCatalogue(file.subarray(0, length)), undefined, `${length} bytes`);
  }
});
