/** The credit scheduler in virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../image/fuzz.fixture.ts';
import { CreditAccount, CreditQueue, PERIOD_NS } from './credit.ts';

const MS = 1e6;

/** A load: how long it runs at a time, and how long it then sleeps (0: it never does). */
interface Load {
  readonly account: CreditAccount;
  runNs(): number;
  sleepNs(): number;
}

/** Let loads share a processor for some time; returns the shares of the time that each has had. */
function simulate(loads: readonly Load[], durationNs: number, lostNs = 0): number[] {
  const queue = new CreditQueue(0);
  const before = loads.map(({ account }) => account.usedNs);
  const wakes = new Map<Load, number>();
  for (const load of loads) {
    queue.join(load.account);
    queue.request(load.account, false);
  }
  let nowNs = 0;
  while (nowNs < durationNs) {
    for (const [load, atNs] of wakes) {
      if (atNs > nowNs) continue;
      wakes.delete(load);
      queue.request(load.account, true);
    }
    const account = queue.next(nowNs);
    // Between two turns the host does something else.
    nowNs += lostNs;
    if (!account) {
      nowNs = Math.max(nowNs, Math.min(queue.periodEndNs, ...wakes.values()));
      continue;
    }
    const load = loads.find(each => each.account === account)!;
    const ran = load.runNs();
    nowNs += ran;
    queue.charge(account, ran);
    const sleepNs = load.sleepNs();
    if (sleepNs > 0) wakes.set(load, nowNs + sleepNs);
    else queue.request(account, false);
  }
  for (const { account } of loads) queue.leave(account);
  return loads.map(({ account }, i) => (account.usedNs - before[i]!) / durationNs);
}

const busy = (weight: number, cap = 0, sliceNs = 2 * MS): Load => ({
  account: new CreditAccount({ weight, cap }),
  runNs: () => sliceNs,
  sleepNs: () => 0,
});
const near = (actual: number, wanted: number, within: number, what = '') =>
  assert.ok(Math.abs(actual - wanted) <= within, `${what} ${actual} is not ${wanted} within ${within}`);

test('weights 256:512:1024 give shares 1:2:4, whatever the slices and what else the host does', () => {
  const random = seeded(3);
  const loads = [256, 512, 1024].map(weight => ({
    ...busy(weight),
    runNs: () => (0.2 + random(200) / 10) * MS,
  }));
  for (const lostNs of [0, 0.3 * MS]) {
    const shares = simulate(loads, 20e9, lostNs);
    const sum = shares.reduce((a, b) => a + b);
    for (const [i, share] of shares.entries()) near(share / sum, 2 ** i / 7, 0.005);
  }
});

test('slices of one that are longer than those of another make no difference', () => {
  const [a, b] = simulate([busy(256, 0, 9 * MS), busy(256, 0, 1 * MS)], 20e9);
  near(a!, 0.5, 0.01);
  near(b!, 0.5, 0.01);
});

test('a cap holds alone and beside others, who have the rest', () => {
  const [alone] = simulate([busy(256, 25, 7 * MS)], 10e9);
  near(alone!, 0.25, 0.005);
  const [capped, other] = simulate([busy(1024, 25), busy(256)], 10e9);
  near(capped!, 0.25, 0.01);
  near(other!, 0.75, 0.01);
  const [low, wide] = simulate([busy(256, 90), busy(768, 0)], 10e9);
  near(low!, 0.25, 0.01, 'a cap above the fair share');
  near(wide!, 0.75, 0.01);
  const both = simulate([busy(256, 10), busy(256, 20)], 10e9);
  near(both[0]!, 0.1, 0.005);
  near(both[1]!, 0.2, 0.005);
});

test('who sleeps leaves its share to others, and goes first when it wakes', () => {
  const worker = busy(256, 0, 5 * MS);
  const sleeper: Load = { ...busy(256), runNs: () => 0.2 * MS, sleepNs: () => 10 * MS };
  const [most, little] = simulate([worker, sleeper], 10e9);
  // A wake waits for one slice at most.
  near(little!, 0.2 / (10 + 0.2 + 2.5), 0.004);
  assert.ok(most! + little! > 0.999);
  const queue = new CreditQueue(0);
  const [a, b, c] = [1, 1, 1].map(weight => new CreditAccount({ weight, cap: 0 })) as [
    CreditAccount,
    CreditAccount,
    CreditAccount,
  ];
  for (const account of [a, b, c]) queue.join(account);
  queue.request(a, false);
  queue.request(b, false);
  queue.request(c, true);
  assert.deepEqual([queue.next(0), queue.next(0), queue.next(0), queue.next(0)], [c, a, b, undefined]);
  queue.charge(c, 1);
  queue.request(a, false);
  queue.request(c, true);
  assert.equal(queue.next(0), a, 'one that has used its credit is not boosted');
});

test('long sleep earns one period, and long running is not held against anybody for ever', () => {
  const [old, young] = [busy(256), busy(256)];
  simulate([old], 60e9);
  const shares = simulate([old, young], 1e9);
  near(shares[0]!, 0.5, 0.06);
  assert.ok(Math.abs(old.account.creditNs) <= 10 * PERIOD_NS);
});

test('another share counts from then on', () => {
  const [a, b] = [busy(256), busy(256)];
  simulate([a, b], 5e9);
  a.account.share = { weight: 768, cap: 0 };
  near(simulate([a, b], 5e9)[0]!, 0.75, 0.01);
  a.account.share = { weight: 768, cap: 30 };
  near(simulate([a, b], 5e9)[0]!, 0.3, 0.01);
});
