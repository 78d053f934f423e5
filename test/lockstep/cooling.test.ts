/** What is executed often is translated, and what is executed seldom for a long time is not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coolEntries } from '../../src/cpu/translator/cooling.ts';
import {
  ENTRY_BYTES,
  ENTRY_COUNT_OFFSET,
  RegionRecord,
  translatorState,
} from '../../src/cpu/translator/layout.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { HEAT_ENTRIES, HEAT_OFFSET } from '../../src/cpu/vcpu/layout.ts';
import { createMachineMemory } from '../../src/machine/memory.ts';
import { Assembler, imm32 } from './assembler.ts';
import { CODE, createLockstepMachine, PAGE } from './machine.ts';

const HOT_JUMPS = 50;
/** Guest-physical address of the first code page (machine.ts). */
const CODE_AT = 8 * PAGE;
const PERIOD = 2n ** 34n;

/** A machine with a loop, and how to run it for so many jumps. */
function looping() {
  const machine = createLockstepMachine({ translates: true, hotJumps: HOT_JUMPS });
  const { engine, cpu, vcpu, guest } = machine;
  const run = (jumps: number): number => {
    const code = new Assembler(CODE, PAGE);
    code.bytes(0xb9, ...imm32(jumps + 1)); // mov ecx, jumps + 1
    const loop = code.here();
    code.bytes(0xff, 0xc9); // dec ecx
    code.jumpIf(5, loop);
    code.bytes(0xf4);
    guest.set(code.finish(), CODE_AT);
    engine.runtime.invalidateCode((guest.byteOffset + CODE_AT) >>> 12, 0, 5);
    vcpu.rip = BigInt(CODE);
    while (engine.run(cpu, 1000) !== Exit.halt);
    return translatorState(engine.memory).nrRegions;
  };
  return { ...machine, run };
}

test('jumps of an earlier period count half', () => {
  const { run, vcpu, engine, cpu } = looping();
  const heat = engine.memory.u16.subarray((cpu + HEAT_OFFSET) / 2, (cpu + HEAT_OFFSET) / 2 + HEAT_ENTRIES);
  assert.equal(run(30), 0);
  const other = heat.indexOf(0);
  heat[other] = 44;
  vcpu.retired += PERIOD;
  // Half of 50 at the twentieth jump, and ten more.
  assert.equal(run(30), 0);
  assert.equal(heat[other], 22);
  assert.equal(run(14), 0);
  assert.equal(run(1), 1);
});

test('after a long time what was counted is forgotten', () => {
  const { run, vcpu } = looping();
  assert.equal(run(HOT_JUMPS - 1), 0);
  vcpu.retired += 40n * PERIOD;
  assert.equal(run(1), 0);
  assert.equal(run(HOT_JUMPS - 1), 0);
  assert.equal(run(1), 1);
});

test('in one period what is executed often is translated', () => {
  const { run } = looping();
  assert.equal(run(HOT_JUMPS - 1), 0);
  assert.equal(run(1), 1);
});

test('entries of regions are halved as often as periods have passed', () => {
  const memory = createMachineMemory(1 << 16);
  const [first, entries] = [0x1000, 0x2000];
  const region = RegionRecord.at(memory.view, first);
  region.entries = entries;
  region.nrEntries = 2;
  const counts = [0, 1, 2].map(i => (entries + i * ENTRY_BYTES + ENTRY_COUNT_OFFSET) / 4);
  for (const count of counts) memory.u32[count] = 1000;
  const now = () => counts.map(count => memory.u32[count]);
  coolEntries(memory, [first], 2);
  assert.deepEqual(now(), [250, 250, 1000]);
  coolEntries(memory, [first], 1000);
  assert.deepEqual(now(), [0, 0, 1000]);
});
