import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeEntropy, randomHex } from './entropy.ts';

test('random bytes fill all of what they are for, shared memory too, and are others each time', () => {
  for (const bytes of [new Uint8Array(70_000), new Uint8Array(new SharedArrayBuffer(70_000))]) {
    nodeEntropy.fill(bytes.subarray(0, 0));
    nodeEntropy.fill(bytes.subarray(1));
    assert.equal(bytes[0], 0);
    // By chance one in 2^64.
    for (let at = 1; at + 8 <= bytes.length; at += 8)
      assert.ok(bytes.subarray(at, at + 8).some(byte => byte !== 0));
  }
  const names = Array.from({ length: 100 }, () => randomHex(6));
  assert.equal(new Set(names).size, names.length);
  assert.ok(names.every(name => /^[0-9a-f]{12}$/.test(name)));
});
