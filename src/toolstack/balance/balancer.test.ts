/** Guests are asked when they may have changed, and get targets; ranges and budgets that make no sense are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../../image/fuzz.fixture.ts';
import { type BalancedGuest, MemoryBalancer } from './balancer.ts';
import type { MemoryFacts } from './facts.ts';

const MIB = 2 ** 20;
const KERNEL = 40;
const settled = () => new Promise(resolve => setImmediate(resolve));

/** A guest that says the truth; its balloon does at once, or `pace` MiB at each look, what it is asked for. */
class TestGuest implements BalancedGuest {
  actual: number;
  target: number;
  used = 20;
  touched: number;
  executed = 0;
  asked = 0;
  isPaused = false;
  hasStopped = false;
  isSilent = false;
  pace = Number.POSITIVE_INFINITY;
  readonly told: string[] = [];
  /** The least that it has had beyond what it used. */
  least = Number.POSITIVE_INFINITY;

  constructor(actual = 256, touched = 10_000) {
    this.actual = this.target = actual;
    this.touched = touched;
  }
  get balloon() {
    return {
      actualBytes: this.actual * MIB,
      targetBytes: this.target * MIB,
      maxBytes: 512 * MIB,
      isPaused: this.isPaused,
    };
  }
  get touchedBytes() {
    return this.touched * MIB;
  }
  instructions() {
    return this.executed;
  }
  async memoryFacts(): Promise<MemoryFacts | undefined> {
    this.asked += 1;
    if (this.isSilent) return new Promise(() => {});
    const usedBytes = this.used * MIB;
    return { usedBytes, heldBytes: usedBytes, totalBytes: (this.actual - KERNEL) * MIB, source: 'agent' };
  }
  balance(bytes: number, why: string) {
    assert.ok(!this.hasStopped);
    this.target = bytes / MIB;
    if (why !== '') this.told.push(why);
  }
  run() {
    if (!this.isPaused) this.executed += 20_000_000;
    const missing = this.target - this.actual;
    this.actual += Math.min(this.pace, Math.max(-this.pace, missing));
    this.least = Math.min(this.least, this.actual - KERNEL - this.used);
  }
}

function scene(spareMib = 1e6) {
  let nowNs = 0;
  let look: (() => void) | undefined;
  const host = { spareBytes: spareMib * MIB };
  const clock = { monotonicNs: () => nowNs, wallNs: () => 0n };
  const timers = {
    after: () => () => {},
    every(_ms: number, call: () => void) {
      look = call;
      return () => {
        look = undefined;
      };
    },
  };
  const balancer = new MemoryBalancer({ clock, timers }, host);
  const guests: TestGuest[] = [];
  return {
    host,
    balancer,
    isLooking: () => look !== undefined,
    add(guest: TestGuest, min = 96) {
      guests.push(guest);
      balancer.join(guest, { minBytes: min * MIB, usualBytes: guest.target * MIB });
      return guest;
    },
    async pass(seconds: number, each: () => void = () => {}) {
      for (let i = 0; i < seconds * 10; i++) {
        nowNs += 100e6;
        each();
        for (const guest of guests) guest.run();
        look?.();
        await settled();
      }
    },
  };
}

test('memory goes to the one that needs it and comes back; the one that grows never runs out', async () => {
  const { add, pass, balancer } = scene();
  const [a, b] = [add(new TestGuest()), add(new TestGuest())];
  for (const guest of [a, b]) guest.pace = 10;
  await pass(2);
  assert.deepEqual([a.target, b.target], [256, 256]);
  assert.deepEqual(balancer.factsOf(a), {
    minBytes: 96 * MIB,
    usualBytes: 256 * MIB,
    neededBytes: (20 + KERNEL) * MIB,
    source: 'agent',
  });
  await pass(5, () => {
    a.used = Math.min(a.used + 6, 290);
    assert.ok(a.actual + b.actual <= 512, 'the budget');
  });
  await pass(2);
  assert.ok(a.actual > 370 && b.actual < 145 && b.actual >= 96, `${a.actual} and ${b.actual}`);
  assert.ok(a.least > 0, `it lacked ${-a.least} MiB`);
  a.used = 30;
  await pass(40);
  assert.deepEqual([a.actual, b.actual], [256, 256]);
  assert.deepEqual(new Set(a.told), new Set(['it needs more', 'it needs no more']));
  assert.deepEqual(new Set(b.told), new Set(['others need it more', 'nobody needs it more']));
  assert.ok(a.told.length + b.told.length < 40, 'not every step is told');
});

test('who does nothing is not asked, who does little is asked seldom', async () => {
  const { add, pass } = scene();
  const [idle, busy] = [add(new TestGuest()), add(new TestGuest())];
  idle.run = () => {};
  await pass(1);
  assert.equal(idle.asked, 1);
  await pass(20);
  assert.equal(idle.asked, 1);
  assert.ok(busy.asked > 50);
  idle.executed += 1;
  await pass(1);
  assert.equal(idle.asked, 2, 'now and then in any case');
});

test('nothing is taken from a guest that does not answer, or is paused', async () => {
  const { add, pass } = scene();
  const [a, mute, paused] = [add(new TestGuest()), add(new TestGuest()), add(new TestGuest())];
  await pass(1);
  mute.isSilent = true;
  paused.isPaused = true;
  await pass(5);
  a.used = 400;
  await pass(10);
  assert.deepEqual([a.target, mute.target, paused.target], [256, 256, 256]);
  paused.isPaused = false;
  await pass(3);
  assert.ok(a.target > 380 && paused.target < 130);
});

test('a guest that begins takes nothing from those that are there', async () => {
  const { add, pass } = scene();
  const [a, b] = [add(new TestGuest()), add(new TestGuest())];
  await pass(2);
  const late = new TestGuest();
  late.actual = 512;
  late.isSilent = true;
  late.pace = 0;
  add(late);
  await pass(5);
  assert.deepEqual([a.target, b.target, late.target], [256, 256, 256]);
  late.pace = 50;
  await pass(2);
  a.used = 350;
  await pass(5);
  assert.ok(a.target > 400 && b.target < 256 && late.target === 256);
});

test("the host's reserve is kept: no target promises what is not there", async () => {
  const { add, pass, host } = scene(50);
  const [a, b] = [add(new TestGuest(256, 200), 64), add(new TestGuest(256, 200), 64)];
  await pass(20);
  // Together they could take 112 MiB that the host has not given yet; it has 50.
  assert.ok(a.target + b.target <= 400 + 50 + 1, `${a.target} and ${b.target}`);
  a.used = 400;
  await pass(5);
  assert.ok(a.target <= 250 && b.target < 250);
  host.spareBytes = 1000 * MIB;
  await pass(10);
  assert.ok(a.target > 380, `${a.target}`);
});

test('with a budget of its own there is more to have, and guests that leave free theirs', async () => {
  const { add, pass, balancer, isLooking } = scene();
  const [a, b] = [add(new TestGuest()), add(new TestGuest())];
  balancer.setBudget(700 * MIB);
  a.used = 300;
  await pass(5);
  assert.ok(a.target > 420 && b.target === 256, 'nothing has to be taken');
  assert.ok(balancer.status.boundBytes <= balancer.status.budgetBytes);
  balancer.setBudget(undefined);
  await pass(5);
  assert.ok(a.target + b.target <= 512 && b.target < 256);
  b.hasStopped = true;
  await pass(1);
  assert.equal(balancer.status.budgetBytes, 256 * MIB);
  balancer.leave(b);
  assert.equal(balancer.status.budgetBytes, 256 * MIB);
  await pass(5);
  assert.equal(a.target, 256, 'what it needs beyond is not there');
  balancer.leave(a);
  assert.ok(!isLooking());
});

test('ranges and budgets that make no sense are refused, and change nothing', () => {
  const { add, balancer } = scene();
  const guest = add(new TestGuest());
  const range = (min: number, usual: number) => ({ minBytes: min * MIB, usualBytes: usual * MIB });
  for (const wrong of [range(300, 256), range(100, 600)])
    assert.throws(() => balancer.join(guest, wrong), { code: 'E_MEMORY_RANGE' });
  for (const wrong of [95 * MIB, -1, 0, Number.NaN, 1e300])
    assert.throws(() => balancer.setBudget(wrong), { code: 'E_MEMORY_BUDGET' });
  balancer.setBudget(96 * MIB);
  assert.throws(() => balancer.join(guest, range(97, 256)), { code: 'E_MEMORY_BUDGET' });
  assert.throws(() => balancer.join(new TestGuest(), range(16, 256)), { code: 'E_MEMORY_BUDGET' });
  assert.equal(balancer.factsOf(guest)?.minBytes, 96 * MIB);
});

test('random needs: all stay within the budget, and a guest that gives in time keeps enough', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const random = seeded(seed);
    const { add, pass, balancer } = scene();
    const guests = Array.from({ length: 2 + random(4) }, () => add(new TestGuest()));
    for (const guest of guests) guest.pace = 10 + random(60);
    await pass(1);
    for (let round = 0; round < 30; round++) {
      // No more than all of them can have at the same time.
      const wanted = guests.map(() => random(150));
      await pass(2, () => {
        for (const [i, guest] of guests.entries())
          guest.used += Math.min(4, Math.max(-200, wanted[i]! - guest.used));
        assert.ok(balancer.status.boundBytes <= balancer.status.budgetBytes, `seed ${seed}`);
      });
      for (const guest of guests) assert.ok(guest.least > 0, `seed ${seed}: it lacked ${-guest.least} MiB`);
    }
  }
});
