import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Seg } from '../vcpu/layout.ts';
import { createTestMachine, P, type TestMachine, W } from './test-machine.ts';

const RCX = 1;
const RSI = 6;
const RDI = 7;
const VA = 0x4000_0000n;
/** Guest-physical pages behind VA: scattered, so that crossing a page is noticed. */
const PAGES = [0x9000, 0x3000, 0x7000, 0x5000];

function stringMachine(): TestMachine {
  const machine = createTestMachine();
  machine.enterLongMode();
  for (const [i, page] of PAGES.entries()) machine.map(VA + BigInt(i) * 0x1000n, page, W);
  return machine;
}

const machineAt = (machine: TestMachine, offset: number) =>
  machine.guest(PAGES[offset >> 12]! + (offset & 0xfff));
const load = (machine: TestMachine, offset: number) => machine.memory.u8[machineAt(machine, offset)]!;

/** What the instruction means, byte by byte, on a flat array. */
function reference(
  bytes: Uint8Array,
  from: number,
  to: number,
  count: number,
  size: number,
  down: boolean,
): void {
  for (let i = 0; i < count; i++) {
    const distance = (down ? -i : i) * size;
    const element = bytes.slice(from + distance, from + distance + size);
    bytes.set(element, to + distance);
  }
}

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

test('REP MOVS equals the byte-wise definition, overlapping or not, in both directions', () => {
  const machine = stringMachine();
  const { runtime, cpu, vcpu } = machine;
  const next = random(7);
  for (let round = 0; round < 300; round++) {
    const size = 1 << Math.floor(next() * 4);
    const down = next() < 0.5;
    const count = 1 + Math.floor(next() * (3000 / size));
    const span = count * size;
    const start = () => Math.floor(next() * (PAGES.length * 4096 - span)) + (down ? span - size : 0);
    const from = start();
    const to =
      next() < 0.3
        ? Math.min(
            Math.max(from + Math.floor(next() * 32) - 16, down ? span - size : 0),
            PAGES.length * 4096 - (down ? size : span),
          )
        : start();
    const expected = new Uint8Array(PAGES.length * 4096);
    for (let i = 0; i < expected.length; i++) {
      expected[i] = next() * 256;
      machine.memory.u8[machineAt(machine, i)] = expected[i]!;
    }
    reference(expected, from, to, count, size, down);
    vcpu.flagSys = down ? 0x402 : 2;
    vcpu.gpr.set(RCX, BigInt(count));
    vcpu.gpr.set(RSI, VA + BigInt(from));
    vcpu.gpr.set(RDI, VA + BigInt(to));
    assert.equal(runtime.repMovs(cpu, size, 8, Seg.ds), 0);
    const what = `round ${round}: size ${size} count ${count} ${from} -> ${to} ${down ? 'down' : 'up'}`;
    const found = Uint8Array.from(expected, (_, i) => load(machine, i));
    assert.deepEqual(found, expected, what);
    assert.equal(vcpu.gpr.get(RCX), 0n);
    assert.equal(vcpu.gpr.get(RSI), VA + BigInt(from + (down ? -span : span)), what);
  }
});

test('a fault leaves the exact state, and long ones come back for interrupts', () => {
  const machine = stringMachine();
  const { runtime, cpu, vcpu } = machine;
  machine.write64(machine.entryAddress(VA + 0x2000n), 0n);
  runtime.tlbFlushAll(cpu);
  vcpu.gpr.set(0, 0x1122334455667788n);
  vcpu.gpr.set(RCX, 0x1000n);
  vcpu.gpr.set(RDI, VA + 0x1ffcn);
  assert.equal(runtime.repStos(cpu, 2, 8), 1);
  assert.deepEqual(machine.fault(), { vector: 14, error: 2, cr2: VA + 0x2000n });
  assert.equal(vcpu.gpr.get(RCX), 0xffen);
  assert.equal(vcpu.gpr.get(RDI), VA + 0x2000n);
  assert.deepEqual([load(machine, 0x1ffb), load(machine, 0x1ffc), load(machine, 0x1fff)], [0, 0x88, 0x77]);
  // An element that crosses into the missing page.
  vcpu.gpr.set(RDI, VA + 0x1ffdn);
  assert.equal(runtime.repStos(cpu, 8, 8), 1);
  assert.equal(vcpu.gpr.get(RDI), VA + 0x1ffdn);
  assert.equal(load(machine, 0x1ffd), 0x77, 'untouched');
  machine.fault();

  for (let i = 0n; i < 64n; i++) machine.map(VA + 0x10_0000n + i * 0x1000n, 0x3000, W);
  vcpu.gpr.set(RCX, 0x2_0000n);
  vcpu.gpr.set(RDI, VA + 0x10_0000n);
  assert.equal(runtime.repStos(cpu, 1, 8), 2);
  assert.equal(vcpu.gpr.get(RCX), 0x1_0000n);
  assert.equal(runtime.repStos(cpu, 1, 8), 0);
  assert.equal(load(machine, 0x1000), 0x88);
});

test('32-bit address size wraps and clears the upper halves', () => {
  const machine = stringMachine();
  const { runtime, cpu, vcpu } = machine;
  machine.map(0xffff_f000n, 0x3000, W);
  machine.map(0n, 0x5000, W);
  vcpu.gpr.set(0, 0xabn);
  vcpu.gpr.set(RCX, 0xdead_0000_0008n);
  vcpu.gpr.set(RDI, 0xbeef_ffff_fffcn);
  assert.equal(runtime.repStos(cpu, 1, 4), 0);
  assert.equal(vcpu.gpr.get(RDI), 4n);
  assert.equal(vcpu.gpr.get(RCX), 0n);
  assert.equal(machine.memory.u8[machine.guest(0x3fff)], 0xab);
  assert.equal(machine.memory.u8[machine.guest(0x5003)], 0xab);
  assert.equal(machine.memory.u8[machine.guest(0x5004)], 0);
  assert.equal(machine.read64(machine.entryAddress(0n)) & P, P);
});

test('REPE CMPS and REPNE SCAS stop where they must, with CMP’s flags', () => {
  const machine = stringMachine();
  const { runtime, cpu, vcpu, memory } = machine;
  memory.u8.set(new TextEncoder().encode('domus abcdef'), machineAt(machine, 0x100));
  memory.u8.set(new TextEncoder().encode('domus abzdef'), machineAt(machine, 0x2000));
  vcpu.gpr.set(RCX, 12n);
  vcpu.gpr.set(RSI, VA + 0x100n);
  vcpu.gpr.set(RDI, VA + 0x2000n);
  assert.equal(runtime.repCmps(cpu, 1, 8, Seg.ds, 1), 0);
  assert.equal(vcpu.gpr.get(RCX), 3n);
  // 'c' - 'z': borrow, negative.
  assert.equal(runtime.getFlags(cpu) & 0x8d5n, 0x91n);
  vcpu.gpr.set(0, BigInt('e'.charCodeAt(0)));
  vcpu.gpr.set(RCX, 100n);
  vcpu.gpr.set(RDI, VA + 0x100n);
  assert.equal(runtime.repScas(cpu, 1, 8, 0), 0);
  assert.equal(vcpu.gpr.get(RDI), VA + 0x100n + 11n);
  assert.equal(runtime.getFlags(cpu) & 0x8d5n, 0x44n);
  vcpu.gpr.set(RCX, 0n);
  assert.equal(runtime.repScas(cpu, 1, 8, 0), 0);
  assert.equal(runtime.getFlags(cpu) & 0x8d5n, 0x44n, 'nothing compared, nothing changed');
});
