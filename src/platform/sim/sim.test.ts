import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createNodePlatform } from '../node/platform.ts';
import {
  createSimulatedClock,
  createSimulatedPacer,
  NS_PER_INSTRUCTION,
  SIMULATED_START_NS,
} from './clock.ts';
import { createSeededEntropy } from './entropy.ts';
import { createSimulatedPlatform } from './platform.ts';

const bytesOf = (seed: number, length = 64) => {
  const bytes = new Uint8Array(length);
  createSeededEntropy(seed).fill(bytes);
  return bytes;
};

test('the same seed gives the same bytes, another seed others', () => {
  assert.deepEqual(bytesOf(7), bytesOf(7));
  assert.notDeepEqual(bytesOf(7), bytesOf(8));
  assert.notDeepEqual(bytesOf(1), bytesOf(1 + 2 ** 32), 'the upper half of a seed counts');
});

test('seeded bytes are spread evenly', () => {
  const bytes = bytesOf(42, 65536);
  let ones = 0;
  for (const byte of bytes) for (let bit = 0; bit < 8; bit++) ones += (byte >> bit) & 1;
  assert.ok(Math.abs(ones - 262144) < 2000, `${ones} of 524288 bits are set`);
  assert.equal(new Set(bytes).size, 256);
});

test('virtual time passes by instructions and by idling, and never by itself', async () => {
  const clock = createSimulatedClock();
  let nrBreaths = 0;
  const pacer = createSimulatedPacer(clock, async () => {
    nrBreaths += 1;
  });
  assert.equal(clock.monotonicNs(), 0);
  pacer.retired(1000);
  assert.equal(clock.monotonicNs(), 1000 * NS_PER_INSTRUCTION);
  await pacer.idle(3_600_000_000_000);
  assert.equal(clock.monotonicNs(), 3_600_000_000_000);
  assert.equal(clock.wallNs(), SIMULATED_START_NS + 3_600_000_000_000n);
  assert.equal(nrBreaths, 1);
  await pacer.idle(5);
  assert.equal(clock.monotonicNs(), 3_600_000_000_000, 'a deadline in the past does not turn time back');
});

test('a wake ends an idle without a timer, also when it came first', async () => {
  const clock = createSimulatedClock();
  const pacer = createSimulatedPacer(clock, async () => {});
  const idle = pacer.idle(Number.POSITIVE_INFINITY);
  pacer.wake();
  await idle;
  pacer.wake();
  await pacer.idle(1000);
  assert.equal(clock.monotonicNs(), 0, 'the wake came before the timer');
  await pacer.idle(1000);
  assert.equal(clock.monotonicNs(), 1000, 'one wake ends one idle');
});

test('the real pacer ends an idle on a wake and on a deadline', async () => {
  const { clock, pacer } = createNodePlatform();
  const idle = pacer.idle(Number.POSITIVE_INFINITY);
  pacer.wake();
  await idle;
  const deadlineNs = clock.monotonicNs() + 3_000_000;
  await pacer.idle(deadlineNs);
  assert.ok(clock.monotonicNs() >= deadlineNs);
});

test('a wake for one run loop is none for another', async () => {
  const platform = createNodePlatform();
  const [a, b] = [platform.newPacer!(), platform.newPacer!()];
  const ended: string[] = [];
  const idleA = a.idle(Number.POSITIVE_INFINITY).then(() => ended.push('a'));
  const idleB = b.idle(Number.POSITIVE_INFINITY).then(() => ended.push('b'));
  a.wake();
  await idleA;
  assert.deepEqual(ended, ['a']);
  b.wake();
  await idleB;
});

test('a simulated platform says so and keeps the timers of the host', () => {
  const host = createNodePlatform();
  const platform = createSimulatedPlatform(1, host);
  assert.equal(platform.isDeterministic, true);
  assert.equal(platform.timers, host.timers);
});
