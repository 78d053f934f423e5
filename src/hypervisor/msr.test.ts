import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Msr } from '../abi/x86/msr.ts';
import { createMachineMemory } from '../machine/memory.ts';
import { createLapics } from './apic.ts';
import { createMsrs } from './msr.ts';

function machine() {
  const memory = createMachineMemory(1 << 20);
  const pages = new Map<number, Uint8Array>();
  const clock = { tsc: 1234n };
  const lapics = createLapics(memory, 0x40000, [0x10000, 0x11000], {
    nowNs: () => 0,
    tsc: () => clock.tsc,
    nsAtTsc: () => 0,
    setTimer: () => {},
    initVcpu: () => {},
    startVcpu: () => {},
    nmi: () => {},
    enabled: () => {},
    wake: () => {},
  });
  const msrs = createMsrs(memory, 0x50000, 2, {
    lapics,
    tsc: () => clock.tsc,
    setTsc: (_, value) => {
      clock.tsc = value;
    },
    writeGuestPage: (frame, page) => frame < 0x100 && pages.set(frame, page).has(frame),
  });
  lapics.initialise();
  msrs.initialise();
  return { msrs, pages, clock };
}

test('registers Linux reads without a safety net', () => {
  const { msrs } = machine();
  const expected: [number, bigint][] = [
    [Msr.tsc, 1234n],
    [Msr.apicBase, 0xfee00900n],
    [Msr.mtrrCap, 0x508n],
    [Msr.mtrrDefType, 0x806n],
    [Msr.mtrrFix64k00000, 0x0606060606060606n],
    [Msr.mtrrFix4kF8000, 0x0606060606060606n],
    [Msr.mtrrPhysMask7, 0n],
    [Msr.mcgCap, 2n],
    [Msr.mc0Ctl, 0xffffffffffffffffn],
    [Msr.mc0Ctl + 5, 0n],
    [Msr.syscfg, 0n],
    [Msr.xenHypercallPage, 0n],
  ];
  for (const [index, value] of expected) assert.equal(msrs.readMsr(0, index), value, index.toString(16));
  assert.equal((msrs.readMsr(0, Msr.hwcr)! >> 24n) & 1n, 1n);
  assert.equal(msrs.readMsr(0, Msr.deCfg)! & 2n, 2n);
  assert.equal((msrs.readMsr(0, Msr.nbCfg)! >> 46n) & 1n, 1n);
});

test('unknown registers raise #GP', () => {
  const { msrs } = machine();
  for (const index of [
    0, 0x3b, 0x48, 0x49, 0xce, 0x10a, 0x17b, 0x210, 0x251, 0x270, 0x408, 0x802, 0xc0010000, 0xffffffff,
  ]) {
    assert.equal(msrs.readMsr(0, index), undefined, index.toString(16));
    assert.equal(msrs.writeMsr(0, index, 0n), false, index.toString(16));
  }
  assert.equal(msrs.writeMsr(0, Msr.mtrrCap, 0n), false);
  assert.equal(msrs.writeMsr(0, Msr.mcgCap, 0n), false);
});

test('MTRRs hold legal values only, each vCPU its own', () => {
  const { msrs } = machine();
  assert.equal(msrs.writeMsr(0, Msr.mtrrDefType, 0xc00n), true);
  assert.equal(msrs.readMsr(0, Msr.mtrrDefType), 0xc00n);
  assert.equal(msrs.readMsr(1, Msr.mtrrDefType), 0x806n);
  for (const bad of [0x802n, 0x807n, 0x1806n]) assert.equal(msrs.writeMsr(0, Msr.mtrrDefType, bad), false);
  assert.equal(msrs.writeMsr(0, Msr.mtrrPhysBase0, 0xff_0000_0001n), true);
  assert.equal(msrs.writeMsr(0, Msr.mtrrPhysBase0, 0x100_0000_0001n), false);
  assert.equal(msrs.writeMsr(0, Msr.mtrrPhysBase0, 0x102n), false);
  assert.equal(msrs.writeMsr(0, Msr.mtrrPhysBase0 + 1, 0xff_fff0_0800n), true);
  assert.equal(msrs.writeMsr(0, Msr.mtrrPhysBase0 + 1, 1n), false);
  assert.equal(msrs.writeMsr(0, Msr.mtrrFix16k80000, 0x0506_0605_0606_0606n), true);
  assert.equal(msrs.writeMsr(0, Msr.mtrrFix16k80000, 0x0206_0605_0606_0606n), false);
  assert.equal(msrs.readMsr(0, Msr.mtrrFix16k80000), 0x0506_0605_0606_0606n);
});

test('machine check banks and TSC', () => {
  const { msrs, clock } = machine();
  assert.equal(msrs.writeMsr(0, Msr.mc0Ctl, 5n), true);
  assert.equal(msrs.readMsr(0, Msr.mc0Ctl), 5n);
  assert.equal(msrs.writeMsr(0, Msr.mc0Ctl + 1, 0n), true);
  assert.equal(msrs.writeMsr(0, Msr.mc0Ctl + 1, 1n), false);
  assert.equal(msrs.writeMsr(0, Msr.mcgStatus, 8n), false);
  assert.equal(msrs.writeMsr(0, Msr.tsc, 99n), true);
  assert.equal(clock.tsc, 99n);
});

test('the hypercall page', () => {
  const { msrs, pages } = machine();
  assert.equal(msrs.writeMsr(0, Msr.xenHypercallPage, 0x5001n), false);
  assert.equal(msrs.writeMsr(0, Msr.xenHypercallPage, 0x100000n), false);
  assert.equal(msrs.writeMsr(0, Msr.xenHypercallPage, 0xffff_ffff_ffff_f000n), false);
  assert.equal(msrs.writeMsr(0, Msr.xenHypercallPage, 0x5000n), true);
  const page = pages.get(5)!;
  assert.deepEqual(
    [...page.subarray(17 * 32, 17 * 32 + 10)],
    [0xb8, 17, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3, 0xcc],
  );
  assert.deepEqual([...page.subarray(23 * 32, 23 * 32 + 3)], [0x0f, 0x0b, 0xcc]);
  assert.equal(page[127 * 32 + 1], 127);
  assert.equal(page.length, 4096);
});
