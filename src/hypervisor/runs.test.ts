import assert from 'node:assert/strict';
import { test } from 'node:test';
import { giveRunBack, takeRun } from './runs.ts';
import { testMachine } from './testing.ts';

test('runs come back zeroed, joined with their neighbours, and never overlap', () => {
  const { hypervisor } = testMachine({}, 16);
  const { frames, memory, state } = hypervisor;
  let seed = 99;
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed >>> 8;
  };
  const held: [number, number][] = [];
  for (let i = 0; i < 3000; i++) {
    if (held.length < 20 && random() % 2 === 0) {
      const count = 1 + (random() % 30);
      const address = takeRun(hypervisor, count);
      for (const [other, size] of held) {
        assert.ok(address + count * 4096 <= other || other + size * 4096 <= address, 'runs overlap');
      }
      assert.equal(memory.u32[address / 4], 0);
      assert.equal(memory.u32[address / 4 + 1], 0);
      memory.u8.fill(0xff, address, address + count * 4096);
      held.push([address, count]);
    } else if (held.length > 0) {
      const [[address, count]] = held.splice(random() % held.length, 1) as [[number, number]];
      giveRunBack(hypervisor, address, count);
    }
  }
  for (const [address, count] of held) giveRunBack(hypervisor, address, count);
  // All in one piece again: the largest request that ever was possible is possible now.
  const whole = memory.u32[state.freeRuns / 4]!;
  assert.equal(memory.u32[state.freeRuns / 4 + 1], 0);
  const before = frames.nrFree;
  takeRun(hypervisor, whole);
  assert.equal(state.freeRuns, 0);
  assert.equal(frames.nrFree, before);
});
