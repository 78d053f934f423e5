import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClockAt, createNodeClock, originOf } from './clock.ts';

test('clocks of one origin show the same, in whole nanoseconds, however long ago it was', () => {
  const [seconds, ns] = process.hrtime();
  const month = 30 * 86_400e9;
  const clock = createClockAt({ seconds, ns, wallNs: 0n });
  const same = createClockAt({ seconds: seconds - 1, ns: ns + 1e9, wallNs: 0n });
  const older = createClockAt({ seconds, ns: ns - month, wallNs: 0n });
  for (let i = 0; i < 1000; i++) {
    const times = [clock.monotonicNs(), same.monotonicNs(), older.monotonicNs() - month, clock.monotonicNs()];
    assert.ok(times.every(Number.isSafeInteger));
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
    assert.ok(same.wallNs() <= BigInt(clock.monotonicNs()));
  }
});

test('a clock made in another thread is never ahead of this one', () => {
  const clock = createNodeClock();
  const other = createClockAt(originOf(clock));
  for (let i = 0; i < 1000; i++) {
    const time = other.monotonicNs();
    assert.ok(0 <= time && time <= clock.monotonicNs());
    const wall = other.wallNs();
    assert.ok(wall <= clock.wallNs());
  }
});

test('the time of day is that of the system', () => {
  const before = BigInt(Date.now() - 1) * 1_000_000n;
  const clock = createNodeClock();
  assert.ok(before <= clock.wallNs() && clock.wallNs() <= BigInt(Date.now() + 2) * 1_000_000n);
});
