import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Timers } from '../platform/platform.ts';
import type { GuestAgent, RunningCommand } from './boot.ts';
import { onlineByAgent } from './guest-helper.ts';

/** Time that passes at once. */
const timers: Timers = {
  after(_delayMs, callback) {
    setImmediate(callback);
    return () => {};
  },
  every: () => () => {},
};

/** A guest in which the tool of each try ends with the next of these codes, and with the last one from then on. */
function agentWith(codes: readonly number[], onTry: () => void = () => {}) {
  const counts: string[] = [];
  const run: GuestAgent['run'] = ({ argv }) => {
    counts.push(/-lt (\d+)/.exec(argv.join(' '))?.[1] ?? '');
    onTry();
    const exit = Promise.resolve(codes[counts.length - 1] ?? codes.at(-1) ?? 0);
    return { exit, onStdout() {}, onStderr() {} } as unknown as RunningCommand;
  };
  return { agent: { run } as GuestAgent, counts };
}

test('vCPUs that the kernel has not heard of yet are asked for again', async () => {
  const { agent, counts } = agentWith([1, 1, 0]);
  await onlineByAgent(agent, 4, timers, () => true);
  assert.deepEqual(counts, ['4', '4', '4']);
});

test('a kernel that never hears of them is not asked for ever', async () => {
  const { agent, counts } = agentWith([1]);
  await onlineByAgent(agent, 4, timers, () => true);
  assert.ok(counts.length > 1 && counts.length < 100, String(counts.length));
});

test('vCPUs that are not wanted any more, because fewer are, are not brought up', async () => {
  let wanted = 4;
  const { agent, counts } = agentWith([1], () => {
    if (counts.length === 3) wanted = 2;
  });
  await onlineByAgent(agent, 4, timers, () => wanted === 4);
  assert.deepEqual(counts, ['4', '4', '4']);
});
