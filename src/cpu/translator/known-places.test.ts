import assert from 'node:assert/strict';
import { test } from 'node:test';
import { machineHeader } from '../../machine/header.ts';
import { createMachineMemory } from '../../machine/memory.ts';
import { heatIndex } from '../interpreter/heat-index.ts';
import { HEAT_ENTRIES, HEAT_OFFSET } from '../vcpu/layout.ts';
import { KnownPlaces } from './known-places.ts';

const CPU = 0x10000;
const HOT = 48_000;
const RECORD = 0x8000;
/** Another record with the same counter. */
const OTHER = RECORD + 32 * HEAT_ENTRIES;

/** Jumps to places as the interpreter counts them (heat.ts): what came of the last one, and how many there were. */
function begin(hotJumps = HOT) {
  const memory = createMachineMemory(1 << 20);
  const header = machineHeader(memory);
  header.hotJumps = hotJumps;
  const known = new KnownPlaces(memory);
  const jump = (record: number) => {
    const counter = ((CPU + HEAT_OFFSET) >>> 1) + heatIndex(record);
    memory.u16[counter] = (memory.u16[counter] as number) + 1;
    if (memory.u16[counter] !== hotJumps) return undefined;
    memory.u16[counter] = 0;
    return known.reached(CPU, record);
  };
  const until = (wanted: string, record: number): number => {
    for (let jumps = 1; jumps <= 3 * hotJumps; jumps++) if (jump(record) === wanted) return jumps;
    return Number.POSITIVE_INFINITY;
  };
  return { header, known, jump, until };
}

test('a known place is warm after some jumps, once; others are hot after many', () => {
  const { known, until } = begin();
  known.add(CPU, RECORD);
  assert.equal(until('warm', RECORD), 2048);
  assert.equal(until('hot', RECORD), HOT);
  assert.equal(until('hot', RECORD), HOT);
});

test('who shares a counter with a known place is neither warm nor hot sooner, and hot not much later', () => {
  const { known, until, jump } = begin();
  known.add(CPU, RECORD);
  const jumps = until('hot', OTHER);
  assert.ok(jumps >= HOT && jumps <= 1.5 * HOT, `${jumps}`);
  known.add(CPU, RECORD);
  for (let i = 1; i < 2048; i++) assert.equal(jump(OTHER), undefined);
  assert.equal(jump(RECORD), 'warm', 'the one that was waited for');
});

test('several places wait at one counter', () => {
  const { known, until } = begin();
  known.add(CPU, RECORD);
  known.add(CPU, OTHER);
  assert.equal(until('warm', OTHER), 2048);
  assert.equal(until('warm', RECORD), 2048);
  assert.equal(until('hot', OTHER), HOT);
});

test('nobody waits for what was decoded before the code cache was emptied', () => {
  const { header, known, until } = begin();
  known.add(CPU, RECORD);
  header.codeGeneration += 1;
  known.add(CPU, OTHER);
  assert.equal(until('warm', RECORD), Number.POSITIVE_INFINITY);
});

test('where little makes a place hot nothing waits', () => {
  const { known, until } = begin(100);
  known.add(CPU, RECORD);
  assert.equal(until('hot', RECORD), 100);
});
