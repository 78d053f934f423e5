import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit } from '../vcpu/exit.ts';
import { createTestMachine, type TestMachine, U, W } from './test-machine.ts';

const KERNEL_STACK = 0x1_0000n;
const USER_STACK = 0x2_0000n;
const IST_STACK = 0x3_0000n;
const IDT = 0x5000;
const GDT = 0x6000;
const TSS = 0x7000;
const HANDLER = 0xffff_8000_0000_1000n;

const CODE64 = 0x00af_9b00_0000_ffffn;
const DATA = 0x00cf_9300_0000_ffffn;
const USER_CODE64 = 0x00af_fb00_0000_ffffn;
const USER_DATA = 0x00cf_f300_0000_ffffn;
const USER_CODE32 = 0x00cf_fb00_0000_ffffn;

/** Long mode with GDT (1 code, 2 data, 3 user code 32, 4 user data, 5 user code 64), TSS, and an empty IDT. */
function longMachine(cpl = 0): TestMachine {
  const machine = createTestMachine();
  machine.enterLongMode(cpl);
  for (let page = 0; page < 0x40; page++) machine.map(BigInt(page) << 12n, page << 12, U | W);
  machine.map(HANDLER, 0x8000, W);
  [0n, CODE64, DATA, USER_CODE32, USER_DATA, USER_CODE64].forEach((d, i) => {
    machine.write64(GDT + i * 8, d);
  });
  const { vcpu } = machine;
  vcpu.gdtBase = BigInt(GDT);
  vcpu.gdtLimit = 0x7f;
  vcpu.idtBase = BigInt(IDT);
  vcpu.idtLimit = 0xfff;
  machine.segment(7, 0x30, BigInt(TSS), 0x67, 0x8b);
  machine.write64(TSS + 4, KERNEL_STACK);
  machine.write64(TSS + 36, IST_STACK);
  if (cpl === 0) {
    machine.segment(1, 8, 0n, 0xffffffff, 0xa09b);
    machine.segment(2, 0x10, 0n, 0xffffffff, 0xc093);
  } else {
    machine.segment(1, 0x2b, 0n, 0xffffffff, 0xa0fb);
    machine.segment(2, 0x23, 0n, 0xffffffff, 0xc0f3);
  }
  vcpu.gpr.set(4, cpl === 0 ? KERNEL_STACK - 0x100n : USER_STACK);
  vcpu.rip = 0x1234n;
  vcpu.flagSys = 0x202;
  machine.runtime.tlbFlushAll(machine.cpu);
  return machine;
}

function gate(
  machine: TestMachine,
  vector: number,
  { type = 14, dpl = 0, ist = 0, selector = 8, present = true } = {},
) {
  const offset = BigInt.asUintN(64, HANDLER + BigInt(vector * 16));
  const attributes = BigInt((present ? 0x80 : 0) | (dpl << 5) | type);
  const low =
    (offset & 0xffffn) |
    (BigInt(selector) << 16n) |
    (BigInt(ist) << 32n) |
    (attributes << 40n) |
    (((offset >> 16n) & 0xffffn) << 48n);
  machine.write64(IDT + vector * 16, low);
  machine.write64(IDT + vector * 16 + 8, offset >> 32n);
}

function raise(machine: TestMachine, vector: number, error: number | null, cr2 = 0n) {
  const { vcpu } = machine;
  vcpu.exVector = vector;
  vcpu.exHasError = error === null ? 0 : 1;
  vcpu.exError = error ?? 0;
  vcpu.exCr2 = cr2;
  return machine.runtime.deliver(machine.cpu);
}

const stackOf = (machine: TestMachine, words: number) =>
  Array.from({ length: words }, (_, i) => machine.read64(Number(machine.vcpu.gpr.get(4)) + i * 8));

test('a page fault from user mode switches to RSP0, and IRETQ returns', () => {
  const machine = longMachine(3);
  const { vcpu, runtime, cpu } = machine;
  gate(machine, 14);
  assert.equal(raise(machine, 14, 6, 0xdead000n), 0);
  assert.equal(vcpu.cr2, 0xdead000n);
  assert.equal(BigInt.asUintN(64, vcpu.rip), BigInt.asUintN(64, HANDLER + 14n * 16n));
  assert.equal(vcpu.cpl, 0);
  assert.equal(vcpu.gpr.get(4), KERNEL_STACK - 48n);
  assert.deepEqual(stackOf(machine, 6), [6n, 0x1234n, 0x2bn, 0x10202n, USER_STACK, 0x23n]);
  assert.equal(machine.segmentOf(1).selector, 8);
  assert.equal(machine.segmentOf(2).selector, 0);
  assert.equal(vcpu.flagSys, 2, 'IF is off behind an interrupt gate');
  vcpu.gpr.set(4, vcpu.gpr.get(4) + 8n);
  assert.equal(runtime.iret(cpu, 8), 0);
  assert.equal(vcpu.rip, 0x1234n);
  assert.equal(vcpu.cpl, 3);
  assert.equal(vcpu.gpr.get(4), USER_STACK);
  assert.deepEqual([machine.segmentOf(1).selector, machine.segmentOf(2).selector], [0x2b, 0x23]);
  assert.equal(runtime.getFlags(cpu) & 0xffffn, 0x202n);
});

test('same privilege: the stack is aligned and RSP saved as it was; trap gates leave IF', () => {
  const machine = longMachine();
  const { vcpu } = machine;
  gate(machine, 3, { type: 15, dpl: 3 });
  vcpu.gpr.set(4, KERNEL_STACK - 0xfdn);
  assert.equal(machine.runtime.interrupt(machine.cpu, 3, 2), 0);
  assert.equal(vcpu.gpr.get(4), KERNEL_STACK - 0x100n - 40n);
  assert.deepEqual(stackOf(machine, 5), [0x1234n, 8n, 0x202n, KERNEL_STACK - 0xfdn, 0x10n]);
  assert.equal(vcpu.flagSys & 0x200, 0x200);
});

test('IST is used whatever the privilege', () => {
  for (const cpl of [0, 3]) {
    const machine = longMachine(cpl);
    gate(machine, 2, { ist: 1 });
    assert.equal(machine.runtime.interrupt(machine.cpu, 2, 0), 0);
    assert.equal(machine.vcpu.gpr.get(4), IST_STACK - 40n);
    assert.equal(machine.vcpu.nmiBlocked, 1);
    assert.equal(machine.runtime.iret(machine.cpu, 8), 0);
    assert.equal(machine.vcpu.nmiBlocked, 0);
    assert.equal(machine.vcpu.cpl, cpl);
  }
});

test('INT n: DPL, missing gates and their error codes', () => {
  const machine = longMachine(3);
  const { runtime, cpu } = machine;
  gate(machine, 0x80, { dpl: 3 });
  gate(machine, 0x81, { dpl: 0 });
  gate(machine, 0x82, { dpl: 3, present: false });
  gate(machine, 0x83, { dpl: 3, selector: 0x10 });
  assert.equal(runtime.interrupt(cpu, 0x81, 1), 1);
  assert.deepEqual(machine.fault(), { vector: 13, error: 0x81 * 8 + 2, cr2: null });
  assert.equal(runtime.interrupt(cpu, 0x82, 1), 1);
  assert.deepEqual(machine.fault(), { vector: 11, error: 0x82 * 8 + 2, cr2: null });
  assert.equal(runtime.interrupt(cpu, 0x83, 1), 1);
  assert.deepEqual(machine.fault(), { vector: 13, error: 0x10, cr2: null });
  assert.equal(runtime.interrupt(cpu, 0x84, 0), 1);
  assert.deepEqual(machine.fault(), { vector: 13, error: 0x84 * 8 + 3, cr2: null });
  machine.vcpu.idtLimit = 0x80 * 16;
  assert.equal(runtime.interrupt(cpu, 0x80, 1), 1);
  assert.equal(machine.fault().error, 0x80 * 8 + 2);
  machine.vcpu.idtLimit = 0xfff;
  assert.equal(runtime.interrupt(cpu, 0x80, 1), 0);
  assert.equal(machine.vcpu.cpl, 0);
});

test('double and triple faults', () => {
  // #GP without a gate: contributory in contributory, so #DF, which has a gate with its own stack.
  const machine = longMachine();
  gate(machine, 8, { ist: 1 });
  assert.equal(raise(machine, 13, 0), 0);
  assert.equal(machine.vcpu.gpr.get(4), IST_STACK - 48n);
  assert.equal(stackOf(machine, 1)[0], 0n);
  assert.equal(BigInt.asUintN(64, machine.vcpu.rip), BigInt.asUintN(64, HANDLER + 128n));

  // A page fault while pushing for a page fault.
  const lost = longMachine();
  gate(lost, 14);
  gate(lost, 8, { ist: 1 });
  lost.vcpu.gpr.set(4, 0x7000_0000n);
  assert.equal(raise(lost, 14, 0, 0x123n), 0);
  assert.equal(lost.vcpu.gpr.get(4), IST_STACK - 48n);
  assert.equal(lost.vcpu.cr2, 0x123n, 'the second page fault does not reach CR2');

  // A benign exception first: the second one is delivered itself.
  const benign = longMachine();
  gate(benign, 13);
  assert.equal(raise(benign, 6, null), 0);
  assert.equal(BigInt.asUintN(64, benign.vcpu.rip), BigInt.asUintN(64, HANDLER + 13n * 16n));
  assert.equal(stackOf(benign, 1)[0], BigInt(6 * 8 + 3));

  const dead = longMachine();
  const before = dead.vcpu.gpr.get(4);
  assert.equal(raise(dead, 13, 0), Exit.tripleFault);
  assert.equal(dead.vcpu.gpr.get(4), before, 'nothing has moved');
  assert.equal(dead.vcpu.rip, 0x1234n);
});

test('IRETQ refuses what it must', () => {
  const machine = longMachine();
  const { vcpu, runtime, cpu } = machine;
  const sp = Number(KERNEL_STACK) - 0x100;
  const attempt = (rip: bigint, cs: bigint, flags: bigint, rsp: bigint, ss: bigint) => {
    vcpu.gpr.set(4, BigInt(sp));
    [rip, cs, flags, rsp, ss].forEach((value, i) => {
      machine.write64(sp + i * 8, value);
    });
    const status = runtime.iret(cpu, 8);
    return status === 0 ? null : machine.fault();
  };
  const gp = (error: number) => ({ vector: 13, error, cr2: null });
  assert.deepEqual(attempt(0n, 0n, 2n, 0n, 0n), gp(0));
  assert.deepEqual(attempt(0n, 0x10n, 2n, 0n, 0x10n), gp(0x10));
  assert.deepEqual(attempt(0x8000_0000_0000n, 8n, 2n, 0n, 0x10n), gp(0));
  assert.deepEqual(attempt(0n, 0x29n, 2n, 0n, 0x23n), gp(0x28), 'RPL differs from DPL');
  assert.deepEqual(attempt(0n, 0x2bn, 2n, 0n, 0x10n), gp(0x10), 'SS of another privilege');
  assert.deepEqual(attempt(0n, 0x2bn, 2n, 0n, 0n), gp(0), 'null SS for user mode');
  assert.deepEqual(attempt(0n, 0x88n, 2n, 0n, 0x10n), gp(0x88), 'beyond the GDT');
  vcpu.flagSys = 0x4002;
  assert.deepEqual(attempt(0n, 8n, 2n, 0n, 0x10n), gp(0), 'NT');
  vcpu.flagSys = 2;
  assert.equal(attempt(0x77n, 8n, 0x46n, 0x99n, 0n), null, 'null SS in ring 0');
  assert.equal(vcpu.rip, 0x77n);
  assert.equal(vcpu.gpr.get(4), 0x99n);
  // To 32-bit user code.
  assert.equal(attempt(0x1_0000n, 0x1bn, 0x3246n, 0x2_0000n, 0x23n), null);
  assert.equal(vcpu.mode & 3, 1);
  assert.equal(vcpu.cpl, 3);
  assert.equal(runtime.getFlags(cpu), 0x3246n);
});

test('SYSCALL and SYSRET', () => {
  const machine = longMachine(3);
  const { vcpu, runtime, cpu } = machine;
  vcpu.star = (0x1bn << 48n) | (8n << 32n);
  vcpu.lstar = HANDLER;
  vcpu.fmask = 0x4_7700n;
  runtime.setFlags(cpu, 0x4_0ad7n, -1n);
  assert.equal(runtime.syscall(cpu), 0);
  assert.equal(vcpu.gpr.get(1), 0x1234n);
  assert.equal(vcpu.gpr.get(11), 0x4_0ad7n);
  assert.equal(BigInt.asUintN(64, vcpu.rip), BigInt.asUintN(64, HANDLER));
  assert.equal(runtime.getFlags(cpu), (0x8d7n & ~0x700n) | 0x800n);
  assert.deepEqual([vcpu.cpl, machine.segmentOf(1).selector, machine.segmentOf(2).selector], [0, 8, 0x10]);
  assert.equal(runtime.sysret(cpu, 8), 0);
  assert.deepEqual([vcpu.cpl, machine.segmentOf(1).selector, machine.segmentOf(2).selector], [3, 0x2b, 0x23]);
  assert.equal(vcpu.rip, 0x1234n);
  assert.equal(runtime.getFlags(cpu), 0x4_0ad7n);
  assert.equal(runtime.sysret(cpu, 8), 1);
  assert.equal(machine.fault().vector, 13);
});

test('segment loads: checks, null, accessed bit', () => {
  const machine = longMachine(3);
  const { runtime, cpu, vcpu } = machine;
  const load = (seg: number, selector: number) =>
    runtime.loadSegment(cpu, seg, selector) === 0 ? null : machine.fault();
  machine.write64(GDT + 6 * 8, 0x00cf_f212_3400_ffffn);
  machine.write64(GDT + 7 * 8, 0x00cf_7200_0000_ffffn);
  machine.write64(GDT + 8 * 8, 0x00cf_f900_0000_ffffn);
  machine.write64(GDT + 9 * 8, 0x1040_f220_0000_0fffn);
  assert.equal(load(3, 0x33), null);
  assert.equal((machine.read64(GDT + 6 * 8) >> 40n) & 1n, 1n, 'accessed');
  assert.equal(vcpu.segBase.get(3), 0n, 'no base in 64-bit mode');
  assert.equal(load(4, 0x4b), null);
  assert.equal(vcpu.segBase.get(4), 0x1020_0000n);
  assert.equal(machine.segmentOf(4).limit, 0xfff);
  assert.deepEqual(load(3, 0x3b), { vector: 11, error: 0x38, cr2: null }, 'not present');
  assert.deepEqual(load(3, 0x43), { vector: 13, error: 0x40, cr2: null }, 'code that cannot be read');
  assert.deepEqual(load(3, 0x10), { vector: 13, error: 0x10, cr2: null }, 'privilege');
  assert.deepEqual(load(3, 0x84), { vector: 13, error: 0x84, cr2: null }, 'no LDT');
  assert.deepEqual(load(2, 0), { vector: 13, error: 0, cr2: null }, 'null SS in user mode');
  assert.deepEqual(load(2, 0x3b), { vector: 12, error: 0x38, cr2: null }, 'SS not present');
  assert.equal(load(4, 3), null);
  assert.equal(vcpu.segBase.get(4), 0n);
  // The base hidden in 64-bit mode is in force in compatibility mode.
  machine.segment(1, 0x1b, 0n, 0xffffffff, 0xc0fb);
  runtime.updateMode(cpu);
  assert.equal(vcpu.segBase.get(3), 0x12_3400n << 0n);
});

test('LTR takes a 16-byte descriptor and marks it busy', () => {
  const machine = longMachine();
  machine.write64(GDT + 0x30, 0x1200_8934_5678_0067n);
  machine.write64(GDT + 0x38, 0xffff_8000n);
  assert.equal(machine.runtime.ltr(machine.cpu, 0x30), 0);
  assert.equal(BigInt.asUintN(64, machine.vcpu.segBase.get(7)), 0xffff_8000_1234_5678n);
  assert.equal((machine.read64(GDT + 0x30) >> 40n) & 0xffn, 0x8bn);
  assert.equal(machine.runtime.ltr(machine.cpu, 0x30), 1);
  assert.deepEqual(machine.fault(), { vector: 13, error: 0x30, cr2: null });
});

test('the way of a PVH kernel: 32-bit protected mode, PAE, LME, PG, far jump to 64-bit code', () => {
  const machine = createTestMachine();
  const { vcpu, runtime, cpu } = machine;
  vcpu.cr0 = 0x11n;
  machine.segment(1, 8, 0n, 0xffffffff, 0xc09b);
  machine.segment(2, 0x10, 0n, 0xffffffff, 0xc093);
  runtime.updateMode(cpu);
  assert.equal(vcpu.mode & 7, 1);
  [0n, CODE64, DATA, 0x00cf_9b00_0000_ffffn].forEach((d, i) => {
    machine.write64(GDT + i * 8, d);
  });
  assert.equal(runtime.lgdt(cpu, BigInt(GDT), 0x1f), 0);
  for (let page = 0; page < 16; page++) machine.map(BigInt(page) << 12n, page << 12, W);
  assert.equal(runtime.writeCr4(cpu, 0x20n), 0);
  vcpu.gpr.set(1, 0xc000_0080n);
  vcpu.gpr.set(0, 0x900n);
  vcpu.gpr.set(2, 0n);
  assert.equal(runtime.wrmsr(cpu), 0);
  assert.equal(runtime.writeCr0(cpu, 0x8001_0011n), 0);
  assert.equal(vcpu.efer, 0xd00n);
  assert.equal(vcpu.mode & 3, 1, 'compatibility mode until the jump');
  assert.equal(runtime.farJump(cpu, 8, 0x2000n, 4), 0);
  assert.equal(vcpu.mode & 3, 2);
  assert.equal(vcpu.rip, 0x2000n);
  // And a far return, which is how others do it.
  vcpu.gpr.set(4, 0x8000n);
  machine.write64(0x8000, 0x3000n);
  machine.write64(0x8008, 0x18n);
  assert.equal(runtime.farReturn(cpu, 8, 0), 0);
  assert.equal(vcpu.mode & 3, 1);
  assert.equal(vcpu.gpr.get(4), 0x8010n);
});

test('SYSRET to a non-canonical address faults in the kernel', () => {
  const machine = longMachine();
  const { vcpu, runtime, cpu } = machine;
  vcpu.star = 0x1bn << 48n;
  vcpu.gpr.set(1, 0x8000_0000_0000n);
  vcpu.gpr.set(11, 0x202n);
  assert.equal(runtime.sysret(cpu, 8), 1);
  assert.deepEqual(machine.fault(), { vector: 13, error: 0, cr2: null });
  assert.deepEqual([vcpu.cpl, vcpu.rip], [0, 0x1234n]);
});

test('SYSENTER and SYSEXIT', () => {
  const machine = longMachine(3);
  const { vcpu, runtime, cpu } = machine;
  assert.equal(runtime.sysenter(cpu), 1, 'no selector is set');
  machine.fault();
  vcpu.sysenterCs = 8n;
  vcpu.sysenterEip = HANDLER;
  vcpu.sysenterEsp = KERNEL_STACK;
  assert.equal(runtime.sysenter(cpu), 0);
  assert.deepEqual([vcpu.cpl, vcpu.gpr.get(4), vcpu.flagSys & 0x200], [0, KERNEL_STACK, 0]);
  assert.equal(BigInt.asUintN(64, vcpu.rip), BigInt.asUintN(64, HANDLER));
  vcpu.gpr.set(1, USER_STACK);
  vcpu.gpr.set(2, 0x7777n);
  assert.equal(runtime.sysexit(cpu, 8), 0);
  assert.deepEqual([vcpu.cpl, vcpu.rip, vcpu.gpr.get(4)], [3, 0x7777n, USER_STACK]);
  assert.deepEqual([machine.segmentOf(1).selector, machine.segmentOf(2).selector], [0x2b, 0x33]);
});

test('a 64-bit call gate to ring 0, and the far return', () => {
  const machine = longMachine(3);
  const { vcpu, runtime, cpu } = machine;
  machine.write64(GDT + 0x40, 0x1000n | (8n << 16n) | (0xecn << 40n));
  machine.write64(GDT + 0x48, 0xffff_8000n);
  assert.equal(runtime.farCall(cpu, 0x43, 0n, 4), 0);
  assert.equal(BigInt.asUintN(64, vcpu.rip), BigInt.asUintN(64, HANDLER));
  assert.deepEqual([vcpu.cpl, vcpu.gpr.get(4), machine.segmentOf(2).selector], [0, KERNEL_STACK - 32n, 0]);
  assert.deepEqual(stackOf(machine, 4), [0x1234n, 0x2bn, USER_STACK, 0x23n]);
  assert.equal(runtime.farReturn(cpu, 8, 0), 0);
  assert.deepEqual([vcpu.cpl, vcpu.rip, vcpu.gpr.get(4)], [3, 0x1234n, USER_STACK]);
  machine.write64(GDT + 0x40, 0x1000n | (8n << 16n) | (0x8cn << 40n));
  assert.equal(runtime.farCall(cpu, 0x43, 0n, 4), 1);
  assert.deepEqual(machine.fault(), { vector: 13, error: 0x40, cr2: null });
});
