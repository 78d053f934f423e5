import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit, Unsupported } from '../vcpu/exit.ts';
import { createTestMachine, type TestMachine } from './test-machine.ts';

const IDT = 0x5000;
const GDT = 0x6000;
const TSS = 0x7000;

const write32 = (machine: TestMachine, address: number, value: number) =>
  machine.memory.view.setUint32(machine.guest(address), value, true);
const read32 = (machine: TestMachine, address: number) =>
  machine.memory.view.getUint32(machine.guest(address), true);
const read16 = (machine: TestMachine, address: number) =>
  machine.memory.view.getUint16(machine.guest(address), true);

/** 32-bit protected mode without paging: 1 code, 2 data, 3 user code, 4 user data, all flat. */
function protectedMachine(cpl: number): TestMachine {
  const machine = createTestMachine();
  const { vcpu, runtime, cpu } = machine;
  [
    0n,
    0x00cf_9b00_0000_ffffn,
    0x00cf_9300_0000_ffffn,
    0x00cf_fb00_0000_ffffn,
    0x00cf_f300_0000_ffffn,
  ].forEach((d, i) => {
    machine.write64(GDT + i * 8, d);
  });
  vcpu.cr0 = 0x11n;
  vcpu.gdtBase = BigInt(GDT);
  vcpu.gdtLimit = 0x7f;
  vcpu.idtBase = BigInt(IDT);
  vcpu.idtLimit = 0x7ff;
  machine.segment(7, 0x50, BigInt(TSS), 0x67, 0x8b);
  write32(machine, TSS + 4, 0x1_0000);
  write32(machine, TSS + 8, 0x10);
  const dpl = cpl << 5;
  machine.segment(1, (cpl === 0 ? 8 : 0x18) | cpl, 0n, 0xffffffff, 0xc09b | dpl);
  machine.segment(2, (cpl === 0 ? 0x10 : 0x20) | cpl, 0n, 0xffffffff, 0xc093 | dpl);
  machine.segment(3, (cpl === 0 ? 0x10 : 0x20) | cpl, 0n, 0xffffffff, 0xc093 | dpl);
  for (const seg of [0, 4, 5]) machine.segment(seg, 0, 0n, 0, 0x10000);
  vcpu.cpl = cpl;
  vcpu.gpr.set(4, 0x2_0000n);
  vcpu.rip = 0x1234n;
  vcpu.flagSys = 0x202;
  runtime.updateMode(cpu);
  runtime.selectTlb(cpu);
  runtime.tlbFlushAll(cpu);
  return machine;
}

const gate = (machine: TestMachine, vector: number, type: number, dpl = 0, selector = 8) =>
  machine.write64(
    IDT + vector * 8,
    (BigInt(selector) << 16n) | 0x4000n | (BigInt(0x80 | (dpl << 5) | type) << 40n) | (1n << 48n),
  );

test('32-bit: from user mode to the stack of the TSS and back', () => {
  const machine = protectedMachine(3);
  const { vcpu, runtime, cpu } = machine;
  gate(machine, 13, 14);
  vcpu.exVector = 13;
  vcpu.exHasError = 1;
  vcpu.exError = 0x18;
  assert.equal(runtime.deliver(cpu), 0);
  assert.equal(vcpu.rip, 0x1_4000n);
  assert.equal(vcpu.gpr.get(4), 0x1_0000n - 24n);
  const words = Array.from({ length: 6 }, (_, i) => read32(machine, 0xffe8 + i * 4));
  assert.deepEqual(words, [0x18, 0x1234, 0x1b, 0x10202, 0x2_0000, 0x23]);
  assert.deepEqual([vcpu.cpl, machine.segmentOf(1).selector, machine.segmentOf(2).selector], [0, 8, 0x10]);
  vcpu.gpr.set(4, vcpu.gpr.get(4) + 4n);
  assert.equal(runtime.loadSegment(cpu, 0, 0x10), 0);
  assert.equal(runtime.iret(cpu, 4), 0);
  assert.deepEqual([vcpu.cpl, vcpu.rip, vcpu.gpr.get(4)], [3, 0x1234n, 0x2_0000n]);
  assert.deepEqual([machine.segmentOf(0).selector, machine.segmentOf(3).selector], [0, 0x23]);
  assert.equal(machine.segmentOf(0).attributes & 0x10000, 0x10000, 'the kernel’s ES became null');
});

test('16-bit gates push words; task gates are not supported', () => {
  const machine = protectedMachine(0);
  const { vcpu, runtime, cpu } = machine;
  gate(machine, 32, 6);
  assert.equal(runtime.interrupt(cpu, 32, 0), 0);
  assert.equal(vcpu.rip, 0x4000n);
  assert.deepEqual(
    [0, 2, 4].map(i => read16(machine, 0x1_fffa + i)),
    [0x1234, 8, 0x202],
  );
  assert.equal(runtime.iret(cpu, 2), 0);
  assert.equal(vcpu.rip, 0x1234n);
  gate(machine, 33, 5);
  assert.equal(runtime.interrupt(cpu, 33, 0), 1);
  assert.deepEqual([vcpu.exVector, vcpu.exError], [13, 9], 'a code segment is no task');
  machine.write64(GDT + 5 * 8, 0x0000_8900_7000_0067n);
  gate(machine, 34, 5, 0, 5 * 8);
  assert.equal(runtime.interrupt(cpu, 34, 0), 1);
  assert.equal(runtime.deliver(cpu), Exit.unsupported);
  assert.equal(vcpu.exitInfo, Unsupported.taskSwitch);
});

test('virtual-8086 mode: out through a gate, back by IRET', () => {
  const machine = protectedMachine(0);
  const { vcpu, runtime, cpu } = machine;
  gate(machine, 32, 14);
  const frame = [0x77, 0x1000, 0x2_3202, 0x8000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000];
  vcpu.gpr.set(4, 0xf000n);
  for (const [i, word] of frame.entries()) write32(machine, 0xf000 + i * 4, word);
  assert.equal(runtime.iret(cpu, 4), 0);
  assert.deepEqual([vcpu.rip, vcpu.gpr.get(4), vcpu.cpl, vcpu.mode & 7], [0x77n, 0x8000n, 3, 4]);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].map(seg => Number(vcpu.segBase.get(seg))),
    [0x30000, 0x10000, 0x20000, 0x40000, 0x50000, 0x60000],
  );
  assert.equal(runtime.interrupt(cpu, 32, 0), 0);
  assert.equal(vcpu.gpr.get(4), 0x1_0000n - 36n);
  assert.deepEqual(
    Array.from({ length: 9 }, (_, i) => read32(machine, 0xffdc + i * 4)),
    frame,
  );
  assert.deepEqual([vcpu.cpl, machine.segmentOf(3).selector, vcpu.flagSys & 0x2_0200], [0, 0, 0]);
});

test('real mode: vector table, far call and return, IRET', () => {
  const machine = createTestMachine();
  const { vcpu, runtime, cpu } = machine;
  runtime.sipi(cpu, 0x12);
  assert.deepEqual([vcpu.segBase.get(1), vcpu.rip], [0x12000n, 0n]);
  assert.equal(runtime.loadSegment(cpu, 2, 0x3000), 0);
  vcpu.gpr.set(4, 0xffff_0004n);
  vcpu.rip = 0x55n;
  write32(machine, 0x10 * 4, (0x4000 << 16) | 0x20);
  assert.equal(runtime.interrupt(cpu, 0x10, 1), 0);
  assert.deepEqual([vcpu.segBase.get(1), vcpu.rip], [0x40000n, 0x20n]);
  assert.equal(vcpu.gpr.get(4), 0xffff_fffen, 'SP wraps in 16 bits, the upper half stays');
  assert.equal(read16(machine, 0x3_fffe), 0x55);
  assert.equal(runtime.iret(cpu, 2), 0);
  assert.deepEqual([vcpu.segBase.get(1), vcpu.rip, vcpu.gpr.get(4)], [0x12000n, 0x55n, 0xffff_0004n]);
  assert.equal(runtime.farCall(cpu, 0x2000, 0x30n, 2), 0);
  assert.deepEqual([vcpu.segBase.get(1), vcpu.rip], [0x20000n, 0x30n]);
  assert.equal(runtime.farReturn(cpu, 2, 0), 0);
  assert.deepEqual([vcpu.segBase.get(1), vcpu.rip], [0x12000n, 0x55n]);
});

test('a 32-bit call gate switches stacks and copies parameters', () => {
  const machine = protectedMachine(3);
  const { vcpu, runtime, cpu } = machine;
  machine.write64(GDT + 0x28, (8n << 16n) | 0x4000n | (0xecn << 40n) | (2n << 32n));
  write32(machine, 0x2_0000, 0xaaaa);
  write32(machine, 0x2_0004, 0xbbbb);
  assert.equal(runtime.farCall(cpu, 0x2b, 0n, 4), 0);
  assert.deepEqual([vcpu.cpl, vcpu.rip, vcpu.gpr.get(4)], [0, 0x4000n, 0xffe8n]);
  assert.deepEqual(
    Array.from({ length: 6 }, (_, i) => read32(machine, 0xffe8 + i * 4)),
    [0x1234, 0x1b, 0xaaaa, 0xbbbb, 0x2_0000, 0x23],
  );
  assert.equal(runtime.farReturn(cpu, 4, 8), 0);
  assert.deepEqual([vcpu.cpl, vcpu.rip, vcpu.gpr.get(4)], [3, 0x1234n, 0x2_0008n]);
});

test('LAR, LSL, VERR, VERW look without touching', () => {
  const machine = protectedMachine(3);
  const { vcpu, runtime, cpu } = machine;
  const zero = () => (runtime.getFlags(cpu) & 0x40n) !== 0n;
  assert.equal(runtime.lar(cpu, 0x23), 0);
  assert.ok(zero());
  assert.equal(vcpu.temp.get(0), 0xcff300n);
  runtime.lsl(cpu, 0x23);
  assert.equal(vcpu.temp.get(0), 0xffffffffn);
  for (const [name, selector, expected] of [
    ['lar', 0x10, false],
    ['lar', 0x88, false],
    ['verr', 0x1b, true],
    ['verw', 0x1b, false],
    ['verw', 0x23, true],
    ['verr', 0, false],
  ] as const) {
    runtime[name](cpu, selector);
    assert.equal(zero(), expected, `${name} ${selector.toString(16)}`);
  }
});
