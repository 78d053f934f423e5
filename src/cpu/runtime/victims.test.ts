/** Pages that share an entry of the TLB: all of them stay known, and whatever throws one away finds it wherever it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestMachine, GLOBAL, W } from './test-machine.ts';

const DISTANCE = 0x40_0000n;
const PAGES = [0, 1, 2].map(i => 0x4000_0000n + BigInt(i) * DISTANCE);
const physical = (va: bigint): number => 0x1000 + Number((va - 0x4000_0000n) / DISTANCE) * 0x1000;

/** They are mapped, were read and written, and are in no page table any more. */
function begin(rights = W) {
  const machine = createTestMachine();
  const { runtime, cpu, vcpu } = machine;
  vcpu.cr4 = 0x80n;
  machine.enterLongMode();
  for (const va of PAGES) machine.map(va, physical(va), rights);
  runtime.tlbFlushAll(cpu);
  for (const va of PAGES) assert.equal(runtime.writeSlow(cpu, va, 8), machine.guest(physical(va)));
  for (const va of PAGES) machine.write64(machine.entryAddress(va), 0n);
  const reads = () => PAGES.map(va => runtime.checkRead(cpu, va, 1) === 0);
  const writes = () => PAGES.map(va => runtime.checkWrite(cpu, va, 1) === 0);
  return { machine, runtime, cpu, vcpu, reads, writes };
}
const ALL = [true, true, true];
const NONE = [false, false, false];

test('they stay in the TLB, and change places without end', () => {
  const { machine, runtime, cpu, reads, writes } = begin();
  for (let i = 0; i < 4; i++) {
    assert.deepEqual([reads(), writes()], [ALL, ALL]);
    const va = PAGES[i % 3] as bigint;
    assert.equal(runtime.readSlow(cpu, va + 5n, 1), machine.guest(physical(va) + 5));
  }
});

test('INVLPG takes one away, wherever it is', () => {
  for (const [i, va] of PAGES.entries()) {
    const { runtime, cpu, reads, writes } = begin();
    runtime.tlbInvalidate(cpu, va);
    const others = ALL.with(i, false);
    assert.deepEqual([reads(), writes()], [others, others]);
  }
});

test('INVLPG of a large page takes all of it away', () => {
  const machine = createTestMachine();
  const { runtime, cpu } = machine;
  machine.enterLongMode();
  for (const va of PAGES) machine.map(va, 0x20_0000, W, 1);
  for (const va of PAGES) runtime.writeSlow(cpu, va + 0x3000n, 1);
  for (const va of PAGES) machine.write64(machine.entryAddress(va, 1), 0n);
  for (const va of PAGES) {
    assert.equal(runtime.checkWrite(cpu, va + 0x3000n, 1), 0);
    runtime.tlbInvalidate(cpu, va);
    assert.equal(runtime.checkWrite(cpu, va + 0x3000n, 1), 1);
    assert.equal(runtime.checkRead(cpu, va + 0x3000n, 1), 1);
  }
});

test('a load of CR3 takes all away that are not global, and flushing takes all', () => {
  const local = begin();
  assert.equal(local.runtime.writeCr3(local.cpu, local.vcpu.cr3), 0);
  assert.deepEqual([local.reads(), local.writes()], [NONE, NONE]);
  const global = begin(W | GLOBAL);
  global.runtime.tlbFlushAll(global.cpu);
  assert.deepEqual([global.reads(), global.writes()], [NONE, NONE]);
});

test('a frame that is to be watched is in no table for writing', () => {
  for (const [i, va] of PAGES.entries()) {
    const { machine, runtime, reads, writes } = begin();
    runtime.flushFrame(machine.guest(physical(va)) >>> 12);
    assert.deepEqual([reads(), writes()], [ALL, ALL.with(i, false)]);
  }
});

test('victims that nobody asks for again have a rest', () => {
  const machine = createTestMachine();
  const { runtime, cpu, vcpu } = machine;
  machine.enterLongMode();
  const far = (i: number) => 0x4000_0000n + BigInt(i) * DISTANCE;
  for (let i = 0; i < 100; i++) {
    machine.map(far(i), 0x1000, W);
    assert.equal(runtime.readSlow(cpu, far(i), 1), machine.guest(0x1000));
  }
  assert.ok(vcpu.tlbVictimsWorth < 0);
  assert.equal(vcpu.tlbVictims, 0);
  machine.write64(machine.entryAddress(far(98)), 0n);
  assert.equal(runtime.checkRead(cpu, far(98), 1), 1, 'driven out, and not kept');
});
