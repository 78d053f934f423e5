/** Who gets how much of a budget: bounds, budgets, need before comfort, and an end of all changes when nothing changes any more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_SIZE } from '../../base/brand.ts';
import { seeded } from '../../image/fuzz.fixture.ts';
import { type Budget, CHANGE_MIN, goalsOf, type PlannedGuest, targetsOf } from './plan.ts';

const MIB = 2 ** 20;
const PLENTY = 1e12;
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mib = (amounts: readonly number[]): number[] => amounts.map(bytes => Math.round(bytes / MIB));

/** In MiB: of a guest that has what it is asked to have, unless it is said otherwise. */
interface Amounts {
  min?: number;
  usual?: number;
  max?: number;
  target?: number;
  actual?: number;
  touched?: number;
}
function guest(wish: number | undefined, amounts: Amounts = {}): PlannedGuest {
  const { min = 64, usual = 256, max = 512, touched = 10_000 } = amounts;
  const { target = usual, actual = target } = amounts;
  return {
    minBytes: min * MIB,
    usualBytes: usual * MIB,
    maxBytes: max * MIB,
    targetBytes: target * MIB,
    actualBytes: actual * MIB,
    touchedBytes: touched * MIB,
    wishBytes: wish === undefined ? undefined : wish * MIB,
  };
}
const budget = (bytesMib: number, hostMib = PLENTY): Budget => ({
  bytes: bytesMib * MIB,
  hostBytes: hostMib * MIB,
});

test('as long as all can have what they usually have, they do', () => {
  assert.deepEqual(mib(goalsOf([guest(100), guest(200)], budget(512))), [256, 256]);
  assert.deepEqual(mib(goalsOf([guest(100), guest(200)], budget(2000))), [256, 256]);
});

test('amounts that are no whole pages leave nobody short of a page', () => {
  const odd = guest(100.123456789);
  const guests = [odd, { ...guest(77.7, { target: 190 }), wishBytes: 81_604_378.9 }];
  assert.deepEqual(mib(goalsOf(guests, budget(512))), [256, 256]);
  assert.deepEqual(targetsOf(guests, budget(512), false), [256 * MIB, 256 * MIB]);
});

test('who needs more has it from who needs less, down to its need', () => {
  assert.deepEqual(mib(goalsOf([guest(400), guest(100)], budget(512))), [400, 112]);
  assert.deepEqual(mib(goalsOf([guest(900), guest(30)], budget(600))), [512, 88]);
  assert.deepEqual(mib(goalsOf([guest(900, { max: 2000 }), guest(30)], budget(600))), [536, 64]);
});

test('what a guest needs of its usual amount goes before what others need beyond theirs', () => {
  assert.deepEqual(mib(goalsOf([guest(500), guest(250)], budget(512))), [262, 250]);
  // Both want more than there is: in the proportion of what they want.
  assert.deepEqual(mib(goalsOf([guest(356), guest(456)], budget(562))), [273, 289]);
  // Not even the usual amounts are there.
  assert.deepEqual(mib(goalsOf([guest(256), guest(256)], budget(300))), [150, 150]);
});

test('a guest of which nothing is known keeps what it has', () => {
  assert.deepEqual(mib(goalsOf([guest(400), guest(undefined)], budget(512))), [256, 256]);
  assert.deepEqual(
    mib(targetsOf([guest(400), guest(undefined, { target: 300 })], budget(512), true)),
    [212, 300],
  );
});

test('a guest that boots has all that it ever may have at first: nobody gives for that, and nothing is given meanwhile', () => {
  const boots = guest(undefined, { usual: 128, actual: 512 });
  const comfortable = guest(100);
  assert.deepEqual(mib(targetsOf([comfortable, boots], budget(384), true)), [256, 128]);
  assert.deepEqual(mib(targetsOf([guest(300), boots, comfortable], budget(640), false)), [256, 128, 212]);
});

test('a raise waits until the memory is there', () => {
  const first = targetsOf([guest(400), guest(100)], budget(512), false);
  assert.deepEqual(mib(first), [256, 112], 'the one gives, the other has to wait');
  const later = targetsOf([guest(400), guest(100, { target: 112, actual: 200 })], budget(512), false);
  assert.deepEqual(mib(later), [312, 112], 'as far as it has given');
  const last = targetsOf([guest(400, { target: 312 }), guest(100, { target: 112 })], budget(512), false);
  assert.deepEqual(mib(last), [400, 112]);
});

test('what nobody waits for goes in steps, and comes back as it is given', () => {
  const has = (target: number, usual = 256) => guest(100, { target, usual });
  const still = targetsOf([has(400), has(112)], budget(512), false);
  assert.deepEqual(mib(still), [400, 112], 'not yet');
  assert.deepEqual(mib(targetsOf([has(400), has(112)], budget(512), true)), [364, 112]);
  const given = targetsOf([guest(100, { target: 364 }), guest(100, { target: 112 })], budget(512), true);
  assert.deepEqual(mib(given), [337, 148]);
});

test('the host promises no more than it has, and need less is asked for what it has not used', () => {
  // Both have used 100 MiB of their 256; the host has 200 left.
  const unused = { touched: 100 };
  assert.deepEqual(mib(goalsOf([guest(120, unused), guest(150, unused)], budget(512, 200))), [193, 207]);
  const [a, b] = targetsOf([guest(120, unused), guest(150, unused)], budget(512, 200), false);
  assert.ok(a! <= 256 * MIB && b! <= 256 * MIB, 'nobody waits, so nothing is taken at once');
  // The one that needs more can only have what the host has, and what the other gives up of its promise.
  const wants = guest(400, unused);
  assert.deepEqual(mib(targetsOf([wants, guest(120, unused)], budget(900, 250), false)), [256, 120]);
  assert.deepEqual(
    mib(targetsOf([wants, guest(120, { touched: 100, target: 120 })], budget(900, 250), false)),
    [330, 120],
  );
});

const SEEDS = 100;
const ROUNDS = 400;

test('whatever guests need, targets stay within their bounds and the budget, and settle when needs do', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const chance = seeded(seed);
    const random = () => chance(1 << 30) / (1 << 30);
    const pick = (least: number, most: number): number =>
      Math.floor((least + random() * (most - least)) / PAGE_SIZE) * PAGE_SIZE;
    let guests: PlannedGuest[] = Array.from({ length: 1 + Math.floor(random() * 6) }, () => {
      const minBytes = pick(16 * MIB, 200 * MIB);
      const usualBytes = pick(minBytes, 600 * MIB);
      const maxBytes = pick(usualBytes, 1500 * MIB);
      const touchedBytes = pick(0, maxBytes);
      const amounts = { targetBytes: usualBytes, actualBytes: usualBytes, touchedBytes };
      return { minBytes, usualBytes, maxBytes, ...amounts, wishBytes: undefined };
    });
    const whole: Budget = {
      bytes: Math.max(
        sum(guests.map(({ minBytes }) => minBytes)),
        random() * 1.5 * sum(guests.map(g => g.usualBytes)),
      ),
      hostBytes: random() < 0.5 ? PLENTY : random() * 800 * MIB,
    };
    let quiet = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const needsChange = round < ROUNDS / 2 && random() < 0.1;
      if (needsChange || round === 0)
        guests = guests.map(each => ({
          ...each,
          wishBytes: random() < 0.1 && round < ROUNDS / 2 - 50 ? undefined : pick(0, 1.2 * each.maxBytes),
        }));
      const before = guests;
      const eases = round % 5 === 0;
      const targets = targetsOf(before, whole, eases);
      const goals = goalsOf(before, whole);
      const bound = (amounts: readonly number[]) =>
        sum(amounts.map((amount, i) => Math.max(amount, before[i]!.actualBytes)));
      const host = (amounts: readonly number[]) =>
        sum(
          amounts.map((amount, i) =>
            Math.max(0, Math.max(amount, before[i]!.actualBytes) - before[i]!.touchedBytes),
          ),
        );
      const wereTargets = before.map(({ targetBytes }) => targetBytes);
      assert.ok(bound(targets) <= Math.max(whole.bytes, bound(wereTargets)) + 1, `seed ${seed}: the budget`);
      assert.ok(host(targets) <= Math.max(whole.hostBytes, host(wereTargets)) + 1, `seed ${seed}: the host`);
      for (const [i, target] of targets.entries()) {
        const { minBytes, maxBytes, targetBytes, wishBytes } = before[i]!;
        assert.ok(
          target >= minBytes && target <= maxBytes && target % PAGE_SIZE === 0,
          `seed ${seed}: bounds`,
        );
        if (wishBytes === undefined) assert.equal(target, targetBytes, `seed ${seed}: nobody knows`);
        // Never past the goal, and never away from it.
        const [from, to] = [Math.min(targetBytes, goals[i]!), Math.max(targetBytes, goals[i]!)];
        assert.ok(target >= from && target <= to, `seed ${seed}: ${targetBytes} ${target} ${goals[i]}`);
      }
      quiet = targets.every((target, i) => target === wereTargets[i]) ? quiet + 1 : 0;
      // Balloons are slow, and some guests are slower than others.
      guests = before.map((each, i) => {
        const missing = targets[i]! - each.actualBytes;
        const pace = (16 + 64 * i) * MIB;
        const actualBytes = each.actualBytes + Math.min(pace, Math.max(-pace, missing));
        const touchedBytes = Math.max(each.touchedBytes, actualBytes * 0.7);
        return { ...each, targetBytes: targets[i]!, actualBytes, touchedBytes };
      });
    }
    assert.ok(quiet >= 20, `seed ${seed}: it still changes`);
    const goals = goalsOf(guests, whole);
    const isEnough = sum(guests.map(({ usualBytes }, i) => Math.max(goals[i]!, usualBytes))) <= whole.bytes;
    if (isEnough && whole.hostBytes === PLENTY)
      for (const { targetBytes, usualBytes } of guests)
        assert.ok(targetBytes >= usualBytes, `seed ${seed}: ${targetBytes} of its usual ${usualBytes}`);
    for (const [i, { targetBytes, wishBytes, maxBytes }] of guests.entries()) {
      if (wishBytes === undefined) continue;
      const missing = Math.min(goals[i]!, wishBytes, maxBytes) - targetBytes;
      assert.ok(missing <= CHANGE_MIN * guests.length, `seed ${seed}: guest ${i} lacks ${missing} bytes`);
    }
  }
});
