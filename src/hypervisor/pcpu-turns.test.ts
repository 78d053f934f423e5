/** Machines that share a pCPU, in virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Share } from './credit.ts';
import { PcpuTurns, type Turns } from './pcpu-turns.ts';

interface Machine {
  readonly name: string;
  readonly turns: Turns;
}
const MS = 1_000_000;
const machine = (name: string, share: Share = { weight: 256, cap: 0 }): Machine => ({
  name,
  turns: PcpuTurns.turnsOf(share),
});

/** Each uses all of its turns, which are as long as they may be. */
function busyNs(machines: readonly Machine[], totalNs: number): Map<string, number> {
  const turns = new PcpuTurns<Machine>(0);
  for (const each of machines) turns.join(each);
  for (let now = 0; now < totalNs; ) {
    const next = turns.next(now);
    if (!next) {
      now = turns.dueNs;
      continue;
    }
    const used = turns.turnNs;
    now += used;
    turns.ended(next, used, 0);
  }
  return new Map(machines.map(({ name, turns: { account } }) => [name, account.usedNs]));
}

test('machines that are busy have the pCPU by weight, and no more than their caps', () => {
  const byWeight = busyNs([machine('a'), machine('b', { weight: 512, cap: 0 })], 30_000 * MS);
  assert.ok(Math.abs(byWeight.get('b')! / byWeight.get('a')! - 2) < 0.03);
  const capped = busyNs([machine('a', { weight: 256, cap: 25 })], 30_000 * MS);
  assert.ok(Math.abs(capped.get('a')! / (30_000 * MS) - 0.25) < 0.02);
});

test('a machine without work has a turn when its timer is due, or when it is woken', () => {
  const turns = new PcpuTurns<Machine>(0);
  const [sleeper, other] = [machine('sleeper'), machine('other')];
  turns.join(sleeper);
  assert.equal(turns.next(0), sleeper);
  turns.ended(sleeper, MS, 50 * MS);
  assert.equal(turns.next(MS), undefined);
  assert.equal(turns.dueNs, 50 * MS);
  turns.join(other);
  assert.equal(turns.next(2 * MS), other);
  turns.ended(other, MS, Number.POSITIVE_INFINITY);
  assert.equal(turns.next(49 * MS), undefined);
  assert.equal(turns.next(50 * MS), sleeper);
  turns.ended(sleeper, MS, Number.POSITIVE_INFINITY);
  assert.equal(turns.dueNs, Number.POSITIVE_INFINITY);
  turns.wake(other);
  assert.equal(turns.next(60 * MS), other);
  turns.leave(other);
  turns.leave(sleeper);
  assert.equal(turns.dueNs, Number.POSITIVE_INFINITY);
});

test('who has just been woken goes before those that are busy', () => {
  const turns = new PcpuTurns<Machine>(0);
  const [busy, late] = [machine('busy'), machine('late')];
  for (const each of [busy, late]) turns.join(each);
  assert.equal(turns.next(0), busy);
  turns.ended(busy, 2 * MS, 0);
  assert.equal(turns.next(2 * MS), late);
  turns.ended(late, 0, Number.POSITIVE_INFINITY);
  for (let now = 2; now < 20; now += 2) {
    assert.equal(turns.next(now * MS), busy);
    turns.ended(busy, 2 * MS, 0);
  }
  turns.wake(late);
  assert.equal(turns.next(20 * MS), late);
});
