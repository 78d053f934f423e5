import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HISTORY_BYTES, History } from './history.ts';

const bytes = (from: number, count: number): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => (from + i) % 251);

test('whatever pieces output comes in, its last bytes are kept', () => {
  for (const pieces of [[10], [1, 2, 3], [300, 5, 900, 1], [1000], [999, 1, 1], [2500, 7], [0, 4, 0]]) {
    const history = new History(1000);
    let total = 0;
    for (const count of pieces) {
      history.add(bytes(total, count));
      total += count;
      const kept = Math.min(total, 1000);
      assert.deepEqual(history.bytes(), bytes(total - kept, kept), `${pieces}`);
      assert.equal(history.totalBytes, total);
    }
  }
});

test('a console that says little takes little memory, and none more than the limit', () => {
  const history = new History();
  assert.equal(history.roomBytes, 0);
  history.add(bytes(0, 100));
  assert.ok(history.roomBytes < 1024);
  for (let i = 0; i < 100; i++) history.add(bytes(i, 4000));
  assert.equal(history.roomBytes, HISTORY_BYTES);
});
