/** Hostile guests: whatever they do, the host survives and the witness beside them never notices. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { guestsMissing, runHostile } from './harness.ts';

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
