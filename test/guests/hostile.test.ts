/** Hostile guests: whatever they do, the host survives and the witness beside them never notices. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SHUTDOWN_crash } from '../../src/abi/xen/sched.ts';
import { type Ending, guestsMissing, isFullRun, runHostile } from './harness.ts';

const skip = guestsMissing();

describe('a guest that does nothing useful', { skip }, () => {
  test('loops with interrupts off: the others have their time', async () => {
    const ending = await runHostile({ guest: 'idle', scenario: 0 });
    assert.equal(ending.code, undefined);
    assert.ok(ending.rounds > 100_000);
  });
  test('loops with interrupts on', async () => {
    assert.equal((await runHostile({ guest: 'idle', scenario: 1 })).code, undefined);
  });
  test('triple fault', async () => {
    const ending = await runHostile({ guest: 'idle', scenario: 2 });
    assert.equal(ending.code, 3);
    assert.match(ending.reason, /triple fault/);
  });
  test('HLT with interrupts off is the end of a vCPU', async () => {
    assert.equal((await runHostile({ guest: 'idle', scenario: 3 })).code, 0);
  });
  test('sleeps for ever', async () => {
    assert.equal((await runHostile({ guest: 'idle', scenario: 4 })).code, undefined);
  });
  test('nothing but PAUSE, nothing but yielding', async () => {
    assert.equal((await runHostile({ guest: 'idle', scenario: 5 })).code, undefined);
    assert.equal((await runHostile({ guest: 'idle', scenario: 6 })).code, undefined);
  });
  test('its own page tables taken away', async () => {
    assert.equal((await runHostile({ guest: 'idle', scenario: 7 })).code, 3);
  });
});

const SEEDS = isFullRun ? 40 : 2;
const seeds = Array.from({ length: SEEDS }, (_, i) => 0x9e3779b97f4a7c15n ^ (BigInt(i + 1) << 17n));

/** Ends that are no surprise for a guest that does anything at all. */
function knownEnd(ending: Ending): void {
  if (ending.code === SHUTDOWN_crash) assert.notEqual(ending.reason + ending.output, '');
  assert.doesNotMatch(ending.reason, /exit \d/);
}

describe('a guest that calls the hypervisor with anything', { skip }, () => {
  const what = ['any number', 'known numbers', 'multicalls', 'its memory goes', '32-bit code'];
  for (const [scenario, name] of what.entries()) {
    test(name, async () => {
      for (const [index, seed] of seeds.entries()) {
        const ending = await runHostile({
          guest: 'hypercalls',
          scenario,
          seed,
          iterations: 3000,
          slices: 3000,
        });
        if (process.env.DOMUS_TEST_SHOW) console.log(name, ending);
        knownEnd(ending);
        // Answers of hypercalls may land on the guest's own counter, and then it goes on until the bound. These seeds
        // are known to come through, so that the test is sure to have done its work.
        if (scenario !== 3 && index < 2) assert.equal(ending.output, 'DONE', `${JSON.stringify(ending)}`);
      }
    });
  }
});

/** What the guest prints at its end, for each scenario of memory.S. */
const MEMORY: readonly (readonly [string, RegExp])[] = [
  ['a page that goes in a multicall', /^DONE$/],
  ['the page it runs on', /^(DONE|FAULT|)$/],
  ['its page tables', /^(DONE|FAULT|)$/],
  ['its stacks', /^(DONE)?(FAULT)*/],
  ['the page of its vcpu_info', /^DONE$/],
  ['its FIFO pages, full of garbage', /^DONE$/],
  ['shared_info over its code', /^(DONE|FAULT|)$/],
  ['shared_info over its page tables', /^(DONE|FAULT|)$/],
  ['its code moved away', /^(DONE|FAULT|)$/],
  ['the ring pages of its backends', /^DONE$/],
  ['all of its memory', /^$/],
  ['the page of the local APIC', /^DONE$/],
  ['garbage in all grant frames', /^DONE$/],
  ['runstate and time areas', /^(DONE|FAULT)$/],
  ['the ACPI tables, and jumps there', /^(DONE|FAULT|)$/],
  ['down and up again', /^DONE$/],
  ['moved over itself', /^(DONE|FAULT)$/],
];

describe('a guest that takes its own memory away', { skip }, () => {
  for (const [scenario, [name, output]] of MEMORY.entries()) {
    test(name, async () => {
      const ending = await runHostile({ guest: 'memory', scenario, slices: 500 });
      if (process.env.DOMUS_TEST_SHOW) console.log(name, ending);
      knownEnd(ending);
      assert.match(ending.output.slice(0, 40), output);
    });
  }
});

const CHAOS = [
  '64-bit code',
  '32-bit code',
  '16-bit code',
  'code that modifies itself',
  'values in control registers',
  'values in MSRs',
  'real-mode code by INIT and SIPI',
  'interprocessor interrupts',
  'page tables',
  'page tables in MMIO, beyond memory and in themselves',
  'descriptor tables',
  'rings and shared pages',
  'places for code and stack',
] as const;

describe('a guest of random', { skip }, () => {
  for (const [scenario, name] of CHAOS.entries()) {
    test(name, async () => {
      for (const seed of seeds) {
        const ending = await runHostile({
          guest: 'chaos',
          scenario,
          seed,
          iterations: 1000,
          vcpus: name.includes('INIT') || name.includes('interprocessor') ? 4 : 1,
          slices: 100,
        });
        if (process.env.DOMUS_TEST_SHOW) console.log(name, ending);
        knownEnd(ending);
      }
    });
  }
});
