/** The background scan keeps to its budget, leaves alone who is alone, and comes back less often where it finds little. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_SIZE } from '../base/brand.ts';
import type { DomusError } from '../base/errors.ts';
import { writePhysical } from '../hypervisor/guest-physical.ts';
import { testDomain, testMachine } from '../hypervisor/testing.ts';
import type { Clock, Timers } from '../platform/platform.ts';
import { Sharer, type SharingOptions } from './sharer.ts';

const MS = 1e6;
/** What a look at the processor's clock costs: so steps take time. */
const LOOK_NS = 200_000;

/** A scan whose time passes as it is told, and stands still but for the looks at it. */
function scene(options?: SharingOptions) {
  let nowNs = 1;
  let workedNs = 0;
  let waiting: { readonly atNs: number; readonly call: () => void } | undefined;
  const clock: Clock = { monotonicNs: () => nowNs, wallNs: () => 0n };
  const timers: Timers = {
    after(delayMs, call) {
      const mine = { atNs: nowNs + delayMs * MS, call };
      waiting = mine;
      return () => {
        if (waiting === mine) waiting = undefined;
      };
    },
    every: () => () => {},
  };
  const threadTimeNs = () => {
    workedNs += LOOK_NS;
    nowNs += LOOK_NS;
    return workedNs;
  };
  const sharer = new Sharer({ clock, timers, threadTimeNs }, options);
  const join = (values: readonly number[]) => {
    const domain = testDomain(testMachine({}, 32, sharer.store));
    for (const [i, value] of values.entries())
      writePhysical(domain, (1 + i) * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(value));
    return { domain, member: sharer.join(domain) };
  };
  /** Let time pass. Returns how often the scan was called. */
  const pass = (ms: number): number => {
    const endNs = nowNs + ms * MS;
    let calls = 0;
    while (waiting && waiting.atNs <= endNs) {
      const { atNs, call } = waiting;
      waiting = undefined;
      nowNs = Math.max(nowNs, atNs);
      call();
      calls += 1;
    }
    nowNs = Math.max(nowNs, endNs);
    return calls;
  };
  return { sharer, join, pass, isWaiting: () => waiting !== undefined };
}

test('two guests share what they have not looked at for the time that was given, within the budget', () => {
  const { sharer, join, pass } = scene({ cpuPercent: 1, idleMs: 1000 });
  const pages = Array.from({ length: 60 }, (_, i) => i + 1);
  const guests = [join(pages), join(pages)];
  assert.equal(pass(999), 0);
  pass(900);
  assert.deepEqual(
    guests.map(({ member }) => member.facts.shared),
    [0, 0],
  );
  pass(3000);
  assert.deepEqual(
    guests.map(({ member }) => member.facts.shared),
    [60, 60],
  );
  const { processorTimeNs, storeBytes, cpuPercent } = sharer.status;
  assert.equal(storeBytes, 60 * PAGE_SIZE);
  assert.equal(cpuPercent, 1);
  pass(95_000);
  // Of a hundred seconds, with the step that is under way when the budget is used up.
  assert.ok(processorTimeNs > 0 && sharer.status.processorTimeNs <= 1e9 + 2e6);
});

test('a guest that is alone is left alone; so are all when the budget is 0', () => {
  const { sharer, join, pass, isWaiting } = scene();
  const first = join([1, 2]);
  assert.ok(!isWaiting());
  const second = join([1, 2]);
  assert.ok(isWaiting());
  sharer.setCpuPercent(0);
  assert.equal(pass(60_000), 0);
  assert.equal(first.member.facts.shared, 0);
  sharer.setCpuPercent(50);
  pass(60_000);
  assert.equal(first.member.facts.shared, 2);
  sharer.setCpuPercent(0);
  assert.equal(first.member.facts.shared, 2, 'what is shared stays so');
  second.member.leave();
  sharer.setCpuPercent(50);
  assert.ok(!isWaiting());
  assert.equal(sharer.store.usesOf(1), 1);
});

test('passes that find little come less often', () => {
  const { join, pass } = scene({ cpuPercent: 100, idleMs: 100 });
  join([1]);
  join([2]);
  const early = pass(1000);
  pass(60_000);
  const late = pass(5000) / 5;
  assert.ok(late > 0 && 2 * late < early, `${early} calls at first, ${late} later`);
});

test('a budget that is none is refused', () => {
  const { sharer } = scene();
  for (const percent of [-1, 101, Number.NaN]) {
    assert.throws(
      () => sharer.setCpuPercent(percent),
      (error: DomusError) => error.code === 'E_SHARING',
    );
  }
});

test('a guest that rests is not looked at any more, and keeps what it shares until it leaves', () => {
  const { sharer, join, pass, isWaiting } = scene({ cpuPercent: 50, idleMs: 100 });
  const [first, second] = [join([1, 2]), join([1, 2])];
  pass(1000);
  second.member.rest();
  writePhysical(second.domain, 3 * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(1));
  pass(60_000);
  assert.ok(!isWaiting());
  assert.deepEqual([first.member.facts.shared, second.member.facts.shared], [2, 2]);
  second.member.leave();
  assert.equal(sharer.store.usesOf(1) + sharer.store.usesOf(2), 2);
});
