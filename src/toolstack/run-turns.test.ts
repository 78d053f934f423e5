/** Run loops that share a thread, in virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Platform } from '../platform/platform.ts';
import { RunTurns, type ScheduledTurn } from './run-turns.ts';

/** Time passes when loops work, and when there is nothing to do but wait. */
function virtualPlatform() {
  const time = { nowNs: 0 };
  const breathe = () => new Promise<void>(resolve => setImmediate(resolve));
  const pacer = {
    breathe,
    async idle(deadlineNs: number) {
      time.nowNs = Math.max(time.nowNs, deadlineNs);
      await breathe();
    },
    wake() {},
    retired() {},
  };
  const platform: Platform = {
    clock: { monotonicNs: () => time.nowNs, wallNs: () => 0n },
    entropy: { fill() {} },
    pacer,
    timers: { after: () => () => {}, every: () => () => {} },
    isDeterministic: false,
  };
  return { platform, time };
}

/** A loop that always has something to do, in slices, until the time is over. */
async function busyLoop(turn: ScheduledTurn, time: { nowNs: number }, untilNs: number): Promise<void> {
  while (time.nowNs < untilNs) {
    await turn.next(false);
    do time.nowNs += 1_000_000;
    while (turn.mayGoOn());
  }
  turn.rest();
}

test('busy loops share by weight, a capped one leaves the thread idle', async () => {
  const { platform, time } = virtualPlatform();
  const turns = new RunTurns(platform);
  const loops = [256, 512, 1024].map(weight => turns.join({ weight, cap: 0 }));
  await Promise.all(loops.map(turn => busyLoop(turn, time, 10e9)));
  const used = loops.map(({ usedNs }) => usedNs / time.nowNs);
  for (const [i, share] of used.entries()) assert.ok(Math.abs(share - 2 ** i / 7) < 0.01, `${used}`);
  const [alone] = loops;
  const [startNs, beforeNs] = [time.nowNs, alone!.usedNs];
  alone!.share = { weight: 256, cap: 25 };
  await busyLoop(alone!, time, startNs + 10e9);
  const share = (alone!.usedNs - beforeNs) / (time.nowNs - startNs);
  assert.ok(Math.abs(share - 0.25) < 0.01, String(share));
});

test('one that wakes gets a free thread at once, and a busy one at the next turn', async () => {
  const { platform, time } = virtualPlatform();
  const turns = new RunTurns(platform);
  const [a, b] = [turns.join({ weight: 256, cap: 0 }), turns.join({ weight: 256, cap: 0 })];
  const order: string[] = [];
  await a!.next(true);
  const waiting = b!.next(true).then(() => order.push('b'));
  time.nowNs += 1;
  await new Promise<void>(resolve => setImmediate(resolve));
  assert.equal(order.length, 0, 'one at a time');
  const again = a!.next(false).then(() => order.push('a'));
  await waiting;
  b!.rest();
  await again;
  assert.deepEqual(order, ['b', 'a']);
  a!.leave();
  b!.leave();
  assert.equal(a!.usedNs, 1);
});

test('who leaves while it has the turn, or waits for it, is in nobody’s way', async () => {
  const { platform } = virtualPlatform();
  const turns = new RunTurns(platform);
  const [a, b, c] = [0, 1, 2].map(() => turns.join({ weight: 256, cap: 0 }));
  await a!.next(true);
  void b!.next(false);
  const last = c!.next(false);
  b!.leave();
  a!.leave();
  await last;
  c!.leave();
});
