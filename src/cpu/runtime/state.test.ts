import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Mode } from '../decode/mode.ts';
import { createTestMachine, W } from './test-machine.ts';

const VA = 0x4000_0000n;

test('RFLAGS round trip of every combination of status flags', () => {
  const { runtime, cpu, vcpu } = createTestMachine();
  const bits = [0, 2, 4, 6, 7, 11];
  for (let i = 0; i < 64; i++) {
    const flags = bits.reduce((sum, bit, n) => sum | ((i >> n) & 1 ? 1n << BigInt(bit) : 0n), 2n);
    runtime.setFlags(cpu, flags, -1n);
    assert.equal(runtime.getFlags(cpu), flags);
    assert.equal(vcpu.flagRes === 0n, (flags & 0x40n) !== 0n);
    assert.equal(vcpu.flagAux & ~0x895, 0);
  }
  runtime.setFlags(cpu, 0n, 0x40n);
  assert.equal(runtime.getFlags(cpu), 0x8d7n & ~0x40n);
  // From a result, as instructions leave it.
  vcpu.flagRes = -256n;
  vcpu.flagAux = 1;
  assert.equal(runtime.getFlags(cpu), 0x87n);
});

test('control registers refuse reserved and inconsistent values', () => {
  const machine = createTestMachine();
  const { runtime, cpu, vcpu } = machine;
  machine.enterLongMode();
  const refused = (status: number) => {
    assert.equal(status, 1);
    assert.deepEqual(machine.fault(), { vector: 13, error: 0, cr2: null });
  };
  refused(runtime.writeCr0(cpu, 0x8000_0000n));
  refused(runtime.writeCr0(cpu, 0xa000_0001n));
  refused(runtime.writeCr0(cpu, 1n << 32n));
  refused(runtime.writeCr0(cpu, 1n));
  refused(runtime.writeCr4(cpu, vcpu.cr4 | (1n << 22n)));
  refused(runtime.writeCr4(cpu, 0n));
  refused(runtime.writeCr3(cpu, 1n << 50n));
  refused(runtime.writeCr8(cpu, 16n));
  vcpu.cr3 |= 0x18n;
  refused(runtime.writeCr4(cpu, vcpu.cr4 | (1n << 17n)));
  assert.equal(runtime.writeCr0(cpu, vcpu.cr0 | 8n), 0);
  assert.equal((vcpu.mode >> 3) & 7, 0b101, 'TS: #NM for x87 and SSE');
  assert.equal(runtime.clts(cpu), 0);
  assert.equal((vcpu.mode >> 3) & 7, 0);
  vcpu.cpl = 3;
  refused(runtime.writeCr3(cpu, 0n));
});

test('model-specific registers', () => {
  const seen: number[] = [];
  const machine = createTestMachine({
    rdmsr: (cpu, index) => {
      seen.push(index);
      machine.vcpu.temp.set(0, 0x1_0000_0002n);
      return cpu === machine.cpu && index === 0x10 ? 0 : 1;
    },
  });
  const { runtime, cpu, vcpu } = machine;
  const write = (index: number, value: bigint) => {
    vcpu.gpr.set(1, BigInt(index));
    vcpu.gpr.set(0, value & 0xffffffffn);
    vcpu.gpr.set(2, value >> 32n);
    return runtime.wrmsr(cpu);
  };
  assert.equal(write(0xc0000101, 0xffff_8880_0000_0000n), 0);
  assert.equal(BigInt.asUintN(64, vcpu.segBase.get(5)), 0xffff_8880_0000_0000n);
  assert.equal(write(0xc0000100, 0x8000_0000_0000n), 1);
  assert.equal(write(0x277, 0x0007_0406_0007_0406n), 0);
  assert.equal(write(0x277, 2n), 1);
  assert.equal(write(0xc0000080, 2n), 1);
  vcpu.gpr.set(1, 0x10n);
  assert.equal(runtime.rdmsr(cpu), 0);
  assert.deepEqual([vcpu.gpr.get(0), vcpu.gpr.get(2)], [2n, 1n]);
  vcpu.gpr.set(1, 0x11n);
  assert.equal(runtime.rdmsr(cpu), 1);
  assert.deepEqual(seen, [0x10, 0x11]);
});

function fpuMachine() {
  const machine = createTestMachine();
  const { vcpu } = machine;
  vcpu.cr4 = 0x4_0000n;
  machine.enterLongMode();
  vcpu.xcr0 = 7n;
  machine.map(VA, 0x3000, W);
  machine.map(VA + 0x1000n, 0x7000, W);
  vcpu.fcw = 0x27f;
  vcpu.fsw = 5 << 11;
  vcpu.ftw = 0xffff & ~(3 << 10) & ~(3 << 12);
  vcpu.fop = 0x123;
  vcpu.fip = 0x1111_2222_3333n;
  vcpu.mxcsr = 0x1fa0;
  vcpu.fpr.get(5).set([1, 2, 3, 4, 5, 6, 7, 0x88, 0xff, 0x3f]);
  vcpu.fpr.get(6).fill(0);
  for (let i = 0; i < 16; i++)
    vcpu.ymm
      .get(i)
      .fill(0x10 + i, 0, 16)
      .fill(0x80 + i, 16);
  const state = () => ({
    fcw: vcpu.fcw,
    fsw: vcpu.fsw,
    ftw: vcpu.ftw,
    fop: vcpu.fop,
    fip: vcpu.fip,
    mxcsr: vcpu.mxcsr,
    fpr: Array.from({ length: 8 }, (_, i) => [...vcpu.fpr.get(i).subarray(0, 10)]),
    ymm: Array.from({ length: 16 }, (_, i) => [...vcpu.ymm.get(i)]),
  });
  return { machine, state };
}

test('FXSAVE lays the state out as the manual says, and FXRSTOR brings it back', () => {
  const { machine, state } = fpuMachine();
  const { runtime, cpu, vcpu, memory } = machine;
  const before = state();
  // Across a page boundary.
  const at = VA + 0xf00n;
  assert.equal(runtime.fxsave(cpu, at, 1), 0);
  const view = memory.view;
  const low = machine.guest(0x3f00);
  assert.equal(view.getUint16(low, true), 0x27f);
  assert.equal(view.getUint16(low + 2, true), 5 << 11);
  assert.equal(view.getUint8(low + 4), 0x60, 'R5 and R6 are in use');
  assert.equal(view.getUint16(low + 6, true), 0x123);
  assert.equal(view.getBigUint64(low + 8, true), 0x1111_2222_3333n);
  assert.equal(view.getUint32(low + 24, true), 0x1fa0);
  assert.equal(view.getUint32(low + 28, true), 0xffff);
  assert.equal(view.getUint8(low + 32), 1, 'ST0 is R5');
  assert.equal(view.getUint16(low + 40, true), 0x3fff);
  assert.equal(view.getUint8(low + 160), 0x10);
  assert.equal(view.getUint8(machine.guest(0x7000) + 160 + 15 * 16 - 0x100), 0x1f);
  vcpu.fcw = 0x37f;
  vcpu.ftw = 0xffff;
  vcpu.mxcsr = 0x1f80;
  vcpu.fpr.get(5).fill(9);
  for (let i = 0; i < 16; i++) vcpu.ymm.get(i).fill(0, 0, 16);
  assert.equal(runtime.fxrstor(cpu, at, 1), 0);
  assert.deepEqual(state(), before);
  view.setUint32(low + 24, 0x10000, true);
  vcpu.fcw = 0x1234;
  assert.equal(runtime.fxrstor(cpu, at, 1), 1);
  assert.deepEqual(machine.fault(), { vector: 13, error: 0, cr2: null });
  assert.equal(vcpu.fcw, 0x1234);
  assert.equal(runtime.fxsave(cpu, at + 8n, 1), 1);
  assert.equal(machine.fault().vector, 13);
});

test('XSAVE and XRSTOR, standard and compacted', () => {
  const { machine, state } = fpuMachine();
  const { runtime, cpu, vcpu } = machine;
  const before = state();
  const area = 0x3000;
  for (const form of ['xsave', 'xsaveopt', 'xsavec'] as const) {
    for (let i = 0; i < 832; i += 8) machine.write64(area + i, 0n);
    assert.equal(runtime[form](cpu, VA, 7n, 1), 0);
    assert.equal(machine.read64(area + 512), 7n);
    assert.equal(machine.read64(area + 520), form === 'xsavec' ? (1n << 63n) | 7n : 0n);
    assert.equal(machine.read64(area + 576) & 0xffn, 0x80n);
    for (let i = 0; i < 16; i++) vcpu.ymm.get(i).fill(0);
    vcpu.fpr.get(5).fill(0);
    vcpu.mxcsr = 0x1f80;
    assert.equal(runtime.xrstor(cpu, VA, 7n, 1), 0);
    assert.deepEqual(state(), before);
  }
  // Components that the area does not have are initialised, those not asked for stay.
  machine.write64(area + 512, 1n);
  assert.equal(runtime.xrstor(cpu, VA, 4n, 1), 0);
  assert.deepEqual([...vcpu.ymm.get(3)].slice(14, 18), [0x13, 0x13, 0, 0]);
  assert.equal(runtime.xrstor(cpu, VA, 2n, 1), 0);
  assert.deepEqual([...vcpu.ymm.get(3)], Array(32).fill(0));
  assert.equal(vcpu.mxcsr, 0x1f80);
  // Nothing of SSE and AVX in use: the compacted form says so.
  assert.equal(runtime.xsavec(cpu, VA, 7n, 1), 0);
  assert.equal(machine.read64(area + 512), 1n);
  for (const [offset, value] of [
    [512, 8n],
    [520, 1n],
    [520, (1n << 63n) | 8n],
    [560, 1n],
  ] as const) {
    const saved = machine.read64(area + offset);
    machine.write64(area + offset, value);
    assert.equal(runtime.xrstor(cpu, VA, 7n, 1), 1, `header ${offset}`);
    assert.deepEqual(machine.fault(), { vector: 13, error: 0, cr2: null });
    machine.write64(area + offset, saved);
  }
  vcpu.cr0 |= 8n;
  assert.equal(runtime.xsave(cpu, VA, 7n, 1), 1);
  assert.equal(machine.fault().vector, 7);
});

test('reset state', () => {
  const { vcpu, segmentOf } = createTestMachine();
  assert.equal(vcpu.rip, 0xfff0n);
  assert.equal(vcpu.segBase.get(1), 0xffff0000n);
  assert.equal(segmentOf(1).attributes, 0x9b);
  assert.equal(vcpu.cr0, 0x60000010n);
  const { real, noSse, limited } = Mode;
  assert.equal(vcpu.mode, real | noSse | limited, 'real mode, 16-bit, no SSE');
  assert.equal(vcpu.p2mCount, 2048, 'the machine behind it stays');
});
