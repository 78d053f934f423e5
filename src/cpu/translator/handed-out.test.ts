import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HandedOut } from './handed-out.ts';
import type { Kept } from './library/library.ts';

test('a module has its number as long as one of its regions is in use', () => {
  const handedOut = new HandedOut();
  const [one, other] = [{}, {}] as [Kept, Kept];
  assert.deepEqual(handedOut.add(one, [{ slot: 5 }, { slot: 6 }]), { id: 0, isNew: true });
  assert.deepEqual(handedOut.add(other, [{ slot: 7 }]), { id: 1, isNew: true });
  assert.deepEqual(handedOut.release([5, 99]), []);
  assert.deepEqual(handedOut.add(one, [{ slot: 8 }]), { id: 0, isNew: false });
  assert.deepEqual(handedOut.release([6]), []);
  assert.deepEqual(handedOut.release([8, 7]), [0, 1]);
  assert.deepEqual(handedOut.release([8]), []);
  assert.deepEqual(
    handedOut.add(one, [{ slot: 5 }]),
    { id: 2, isNew: true },
    'the threads have forgotten it',
  );
});
