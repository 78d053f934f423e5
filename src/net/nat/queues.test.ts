import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { BlockPool } from '../block-pool.ts';
import { pattern } from './guest.fixture.ts';
import { ReceiveQueue } from './receive-queue.ts';
import { SendQueue } from './send-queue.ts';

function chance(seed: number) {
  const entropy = createSeededEntropy(seed);
  const bytes = new Uint8Array(4);
  return (below: number) => {
    entropy.fill(bytes);
    return new DataView(bytes.buffer).getUint32(0) % below;
  };
}

test('a send queue gives back what was put in, in chunks of any size, while its head is acknowledged', () => {
  const pool = new BlockPool(16_384);
  for (let seed = 1; seed <= 20; seed++) {
    const number = chance(seed);
    const data = pattern(2_000_000, seed);
    // What one connection gives back, the next one gets.
    const queue = new SendQueue(pool);
    let put = 0;
    let dropped = 0;
    for (let i = 0; i < 1000; i++) {
      const size = Math.min(number(4) === 0 ? number(50_000) : number(20), data.length - put);
      queue.push(data.slice(put, put + size));
      put += size;
      if (number(3) === 0) {
        const count = number(queue.length + 1);
        queue.drop(count);
        dropped += count;
      }
      assert.equal(queue.length, put - dropped);
      const offset = number(queue.length + 1);
      const count = number(queue.length - offset + 1);
      const target = new Uint8Array(count);
      queue.copyTo(target, 0, offset, count);
      const expected = data.subarray(dropped + offset, dropped + offset + count);
      assert.equal(Buffer.compare(target, expected), 0);
    }
    queue.clear();
  }
});

test('a receive queue puts pieces in order, whatever their order and overlap, also around the end of numbers', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const number = chance(seed);
    const data = pattern(20_000, seed);
    const base = 0xffff_f000;
    const queue = new ReceiveQueue();
    let next = 0;
    for (let i = 0; i < 5000 && next < data.length; i++) {
      const start = next + number(4000);
      const bytes = data.slice(start, start + number(1500));
      queue.add((base + start) >>> 0, bytes);
      // The one that was missing arrives now and then.
      if (number(3) === 0) queue.add((base + next) >>> 0, data.slice(next, next + number(1500)));
      for (let taken = queue.take((base + next) >>> 0); taken; taken = queue.take((base + next) >>> 0)) {
        assert.deepEqual(taken, data.slice(next, next + taken.length));
        next += taken.length;
      }
      assert.ok(queue.bytes <= 6000);
    }
    assert.equal(next, data.length);
  }
});
