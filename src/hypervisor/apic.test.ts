import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApicRegister as R } from '../abi/x86/apic.ts';
import { Msr } from '../abi/x86/msr.ts';
import { Vcpu } from '../cpu/vcpu/layout.ts';
import { createMachineMemory } from '../machine/memory.ts';
import { createLapics, x2apicLogicalId } from './apic.ts';
import { LAPIC_STATE_BYTES } from './apic-state.ts';

const BLOCKS = 0x10000;
const STATES = 0x40000;

function machine(vcpus: number) {
  const memory = createMachineMemory(1 << 20);
  const blocks = Array.from({ length: vcpus }, (_, i) => BLOCKS + i * 0x1000);
  const log: string[] = [];
  const timers = new Map<number, number>();
  const clock = { now: 1000 };
  const make = () =>
    createLapics(memory, STATES, blocks, {
      nowNs: () => clock.now,
      // Two ticks a nanosecond.
      tsc: () => BigInt(clock.now * 2),
      nsAtTsc: (_, tsc) => Number(tsc / 2n),
      setTimer: (id, at) => (at < 0 ? timers.delete(id) : timers.set(id, at)),
      initVcpu: id => log.push(`init ${id}`),
      startVcpu: (id, vector) => log.push(`start ${id} ${vector.toString(16)}`),
      nmi: id => log.push(`nmi ${id}`),
      enabled: id => log.push(`enabled ${id}`),
      wake: id => log.push(`wake ${id}`),
    });
  const apics = make();
  apics.initialise();
  const vcpus_ = blocks.map(block => Vcpu.at(memory.view, block));
  /** Let time pass, firing timers as they come due. */
  const advance = (ns: number) => {
    const end = clock.now + ns;
    for (;;) {
      const next = [...timers].filter(([, at]) => at <= end).sort((a, b) => a[1] - b[1])[0];
      if (!next) break;
      timers.delete(next[0]);
      clock.now = Math.max(clock.now, next[1]);
      apics.timerFired(next[0]);
    }
    clock.now = end;
  };
  const read = (id: number, register: number) => apics.mmioRead(id, register, 4);
  const write = (id: number, register: number, value: number) => apics.mmioWrite(id, register, 4, value);
  const enable = () => {
    for (let id = 0; id < vcpus; id++) write(id, R.svr, 0x1ff);
  };
  return { memory, apics, make, vcpus: vcpus_, log, timers, clock, advance, read, write, enable };
}

test('power-on state', () => {
  const m = machine(3);
  assert.equal(m.read(2, R.id), 4 << 24);
  assert.equal(m.read(0, R.version), 0x50014);
  assert.equal(m.read(0, R.svr), 0xff);
  assert.equal(m.read(0, R.lvtTimer), 0x10000);
  assert.equal(m.read(0, R.dfr), 0xffffffff);
  assert.equal(m.apics.readMsr(0, Msr.apicBase), 0xfee00900n);
  assert.equal(m.apics.readMsr(1, Msr.apicBase), 0xfee00800n);
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
});

test('an upcall waits while the APIC is disabled and comes when it is enabled', () => {
  const m = machine(1);
  m.apics.raise(0, 0xf3);
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
  m.enable();
  assert.equal(m.vcpus[0]!.pendingInterrupt, 0xf3);
  assert.ok(m.log.includes('wake 0'));
  assert.equal(m.apics.accept(0), 0xf3);
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
  assert.equal(m.read(0, R.isr + 0x70), 1 << 19);
  m.write(0, R.eoi, 0);
  assert.equal(m.read(0, R.isr + 0x70), 0);
  assert.equal(m.apics.accept(0), -1);
});

test('priorities: nesting, TPR, EOI order', () => {
  const m = machine(1);
  m.enable();
  m.apics.raise(0, 0x41);
  m.apics.raise(0, 0x45);
  assert.equal(m.vcpus[0]!.pendingInterrupt, 0x45);
  assert.equal(m.apics.accept(0), 0x45);
  // 0x41 is of the same class: held back. 0x51 is above: it may nest.
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
  assert.equal(m.read(0, R.ppr), 0x40);
  m.apics.raise(0, 0x51);
  assert.equal(m.apics.accept(0), 0x51);
  assert.equal(m.read(0, R.ppr), 0x50);
  m.apics.eoi(0);
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
  m.apics.eoi(0);
  assert.equal(m.vcpus[0]!.pendingInterrupt, 0x41);
  m.write(0, R.tpr, 0x40);
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
  assert.equal(m.vcpus[0]!.cr8, 4n);
  m.vcpus[0]!.cr8 = 3n;
  m.apics.update(0);
  assert.equal(m.vcpus[0]!.pendingInterrupt, 0x41);
  assert.equal(m.read(0, R.tpr), 0x30);
});

test('an engine may say that it delivered by clearing pendingInterrupt', () => {
  const m = machine(1);
  const vcpu = m.vcpus[0]!;
  m.enable();
  m.apics.raise(0, 0x60);
  vcpu.pendingInterrupt = -1;
  // The same vector again, before anybody looked: one in service, one waiting.
  m.apics.raise(0, 0x60);
  assert.equal(vcpu.pendingInterrupt, -1);
  assert.equal(m.read(0, R.ppr), 0x60);
  m.write(0, R.eoi, 0);
  assert.equal(vcpu.pendingInterrupt, 0x60);
  vcpu.pendingInterrupt = -1;
  m.write(0, R.eoi, 0);
  assert.equal(vcpu.pendingInterrupt, -1);
  assert.equal(m.read(0, R.irr + 0x30), 0);
  assert.equal(m.read(0, R.isr + 0x30), 0);
  // A vector put there by somebody else is none of the APIC's business.
  vcpu.pendingInterrupt = 0xf3;
  vcpu.pendingInterrupt = -1;
  m.apics.update(0);
  assert.equal(m.read(0, R.ppr), 0);
});

test('a vector raised while in service is delivered again after EOI', () => {
  const m = machine(1);
  m.enable();
  m.apics.raise(0, 0x60);
  m.apics.accept(0);
  m.apics.raise(0, 0x60);
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
  m.apics.eoi(0);
  assert.equal(m.vcpus[0]!.pendingInterrupt, 0x60);
});

test('INIT and SIPI start a waiting vCPU once', () => {
  const m = machine(2);
  // As Xen does for a guest's upcall vector, an interrupt may be made pending before the processor starts.
  m.apics.raise(1, 0xf3);
  m.write(0, R.icrHigh, 2 << 24);
  m.write(0, R.icrLow, 0xc500);
  m.write(0, R.icrLow, 0x8500);
  m.write(0, R.icrLow, 0x069a);
  m.write(0, R.icrLow, 0x069a);
  assert.deepEqual(
    m.log.filter(line => !line.startsWith('wake')),
    ['start 1 9a'],
  );
  m.write(1, R.svr, 0x1ff);
  assert.equal(m.apics.accept(1), 0xf3);
  m.apics.eoi(1);
  // INIT again resets the APIC and waits again.
  m.write(1, R.svr, 0x1ff);
  m.apics.raise(1, 0x44);
  assert.equal(m.vcpus[1]!.pendingInterrupt, 0x44);
  m.write(0, R.icrLow, 0xc500);
  assert.equal(m.vcpus[1]!.pendingInterrupt, -1);
  assert.equal(m.read(1, R.svr), 0xff);
  assert.equal(m.read(1, R.id), 2 << 24);
  m.write(0, R.icrLow, 0x0601);
  assert.deepEqual(m.log.slice(-2), ['init 1', 'start 1 1']);
});

test('destinations: physical, logical flat and cluster, shorthands', () => {
  const m = machine(4);
  m.enable();
  const reached = (low: number, high = 0): number[] => {
    m.write(1, R.icrHigh, high);
    m.write(1, R.icrLow, low);
    const hit: number[] = [];
    for (let id = 0; id < 4; id++) {
      if (m.apics.accept(id) >= 0) hit.push(id);
      m.apics.eoi(id);
    }
    return hit;
  };
  assert.deepEqual(reached(0x50, 6 << 24), [3]);
  assert.deepEqual(reached(0x50, 5 << 24), []);
  assert.deepEqual(reached(0x50, 0xff << 24), [0, 1, 2, 3]);
  assert.deepEqual(reached(0x40050), [1]);
  assert.deepEqual(reached(0x80050), [0, 1, 2, 3]);
  assert.deepEqual(reached(0xc0050), [0, 2, 3]);
  for (let id = 0; id < 4; id++) m.write(id, R.ldr, (1 << id) << 24);
  assert.deepEqual(reached(0x850, 0b1010 << 24), [1, 3]);
  // Lowest priority: exactly one of them.
  assert.deepEqual(reached(0x950, 0b1010 << 24), [1]);
  for (let id = 0; id < 4; id++) {
    m.write(id, R.dfr, 0x0fffffff);
    m.write(id, R.ldr, ((id < 2 ? 0x10 : 0x20) | (1 << (id & 1))) << 24);
  }
  assert.deepEqual(reached(0x850, 0x23 << 24), [2, 3]);
  assert.deepEqual(reached(0x850, 0x11 << 24), [0]);
  m.log.length = 0;
  m.write(1, R.icrHigh, 0);
  m.write(1, R.icrLow, 0x400);
  assert.deepEqual(m.log, ['nmi 0']);
  // Nobody is home before the SIPI.
  m.write(1, R.icrHigh, 4 << 24);
  m.write(1, R.icrLow, 0x400);
  assert.deepEqual(m.log, ['nmi 0']);
  // A target disabled by software takes no interprocessor interrupts.
  m.write(3, R.svr, 0xff);
  assert.deepEqual(reached(0x80050), [0, 1, 2]);
  // Whoever has events waiting hears that it takes them again.
  m.log.length = 0;
  m.write(3, R.svr, 0x1ff);
  assert.deepEqual(m.log, ['enabled 3']);
});

test('errors are reported through ESR and its interrupt', () => {
  const m = machine(1);
  m.enable();
  m.write(0, R.lvtError, 0xfe);
  m.write(0, R.icrLow, 0x40005);
  assert.equal(m.vcpus[0]!.pendingInterrupt, 0xfe);
  assert.equal(m.read(0, R.esr), 0);
  m.write(0, R.esr, 0);
  assert.equal(m.read(0, R.esr), 0x20);
  m.read(0, 0x3d0);
  m.write(0, R.esr, 0);
  assert.equal(m.read(0, R.esr), 0x80);
  m.write(0, R.esr, 0);
  assert.equal(m.read(0, R.esr), 0);
  // An error entry that is itself illegal does not recurse.
  m.write(0, R.lvtError, 0x03);
  m.write(0, R.icrLow, 0x40005);
});

test('timer: one-shot and current count', () => {
  const m = machine(1);
  m.enable();
  m.write(0, R.lvtTimer, 0x30);
  m.write(0, R.timerDivide, 0xb);
  m.write(0, R.timerInitial, 1000);
  m.advance(4_000);
  assert.equal(m.read(0, R.timerCurrent), 600);
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
  m.advance(6_000);
  assert.equal(m.vcpus[0]!.pendingInterrupt, 0x30);
  assert.equal(m.read(0, R.timerCurrent), 0);
  m.apics.accept(0);
  m.apics.eoi(0);
  m.advance(1_000_000);
  assert.equal(m.apics.accept(0), -1);
  // Divide by 16; stopping the count stops the timer.
  m.write(0, R.timerDivide, 0x3);
  m.write(0, R.timerInitial, 10);
  m.advance(800);
  assert.equal(m.read(0, R.timerCurrent), 5);
  m.write(0, R.timerInitial, 0);
  assert.equal(m.timers.size, 0);
});

test('timer: periodic, masked, and never faster than the limit', () => {
  const m = machine(1);
  m.enable();
  m.write(0, R.timerDivide, 0xb);
  m.write(0, R.lvtTimer, 0x20031);
  m.write(0, R.timerInitial, 100_000);
  let ticks = 0;
  for (let i = 0; i < 10; i++) {
    m.advance(1_000_000);
    if (m.apics.accept(0) === 0x31) ticks++;
    m.apics.eoi(0);
  }
  assert.equal(ticks, 10);
  m.write(0, R.lvtTimer, 0x30031);
  m.advance(5_000_000);
  assert.equal(m.apics.accept(0), -1);
  m.write(0, R.lvtTimer, 0x20031);
  m.write(0, R.timerInitial, 1);
  assert.ok(m.timers.get(0)! >= m.clock.now + 50_000);
});

test('timer: TSC deadline, in the future and in the past', () => {
  const m = machine(1);
  m.enable();
  assert.equal(m.apics.writeMsr(0, Msr.tscDeadline, 99n), true);
  assert.equal(m.apics.readMsr(0, Msr.tscDeadline), 0n);
  m.write(0, R.lvtTimer, 0x40032);
  m.apics.writeMsr(0, Msr.tscDeadline, BigInt((m.clock.now + 500) * 2));
  m.advance(499);
  assert.equal(m.vcpus[0]!.pendingInterrupt, -1);
  m.advance(1);
  assert.equal(m.apics.accept(0), 0x32);
  m.apics.eoi(0);
  assert.equal(m.apics.readMsr(0, Msr.tscDeadline), 0n);
  m.apics.writeMsr(0, Msr.tscDeadline, 5n);
  assert.equal(m.apics.accept(0), 0x32);
  m.apics.eoi(0);
  m.apics.writeMsr(0, Msr.tscDeadline, 1n << 40n);
  m.apics.writeMsr(0, Msr.tscDeadline, 0n);
  assert.equal(m.timers.size, 0);
});

test('timers can be armed again from the state alone', () => {
  const m = machine(1);
  m.enable();
  m.write(0, R.lvtTimer, 0x30);
  m.write(0, R.timerInitial, 1000);
  const due = m.timers.get(0);
  m.timers.clear();
  m.make().rearmTimers();
  assert.equal(m.timers.get(0), due);
});

test('x2APIC: mode changes, ids, ICR in one write, self IPI', () => {
  const m = machine(20);
  assert.equal(m.apics.readMsr(0, 0x802), undefined);
  for (let id = 0; id < 20; id++) {
    const bsp = id === 0 ? 0x100n : 0n;
    assert.equal(m.apics.writeMsr(id, Msr.apicBase, 0xfee00c00n | bsp), true);
    assert.equal(m.apics.writeMsr(id, 0x80f, 0x1ffn), true);
    assert.equal(m.apics.readMsr(id, 0x802), BigInt(id * 2));
    assert.equal(m.apics.readMsr(id, 0x80d), BigInt(x2apicLogicalId(id * 2)));
  }
  assert.equal(m.read(0, R.version), 0xffffffff);
  m.apics.writeMsr(0, 0x830, (38n << 32n) | 0x55n);
  assert.equal(m.vcpus[19]!.pendingInterrupt, 0x55);
  assert.equal(m.apics.readMsr(0, 0x830), (38n << 32n) | 0x55n);
  // Logical, cluster 1 (ids 16..31), bits 2 and 4: vCPUs 9 and 10.
  m.apics.writeMsr(0, 0x830, (0x10014n << 32n) | 0x856n);
  const reached = m.vcpus.flatMap((v, i) => (v.pendingInterrupt === 0x56 ? [i] : []));
  assert.deepEqual(reached, [9, 10]);
  m.apics.writeMsr(3, 0x83f, 0x77n);
  assert.equal(m.vcpus[3]!.pendingInterrupt, 0x77);
  m.apics.accept(3);
  assert.equal(m.apics.writeMsr(3, 0x80b, 1n), false);
  assert.equal(m.apics.writeMsr(3, 0x80b, 0n), true);
  m.apics.writeMsr(0, 0x830, (0xffffffffn << 32n) | 0x99n);
  assert.ok(m.vcpus.every(v => v.pendingInterrupt === 0x99));
});

test('x2APIC and APIC_BASE refuse what the manual forbids', () => {
  const m = machine(1);
  const write = (value: bigint) => m.apics.writeMsr(0, Msr.apicBase, value);
  assert.equal(write(0xfee00500n), false);
  assert.equal(write(0xfee01900n), false);
  assert.equal(write(0xfee00901n), false);
  assert.equal(write(0x1_fee00900n), false);
  assert.equal(write(0xfee00d00n), true);
  assert.equal(write(0xfee00900n), false);
  for (const index of [0x80e, 0x801, 0x831, 0x83f, 0x80b]) assert.equal(m.apics.readMsr(0, index), undefined);
  for (const index of [0x802, 0x803, 0x80d, 0x80e, 0x831, 0x839])
    assert.equal(m.apics.writeMsr(0, index, 0n), false);
  assert.equal(m.apics.writeMsr(0, 0x80f, 1n << 32n), false);
  assert.equal(write(0xfee00100n), true);
  assert.equal(write(0xfee00d00n), false);
  assert.equal(write(0xfee00900n), true);
  assert.equal(m.read(0, R.svr), 0xff);
});

test('accesses that hit no register', () => {
  const m = machine(1);
  assert.equal(m.apics.mmioRead(0, R.version, 1), 0x14);
  assert.equal(m.apics.mmioRead(0, R.version + 2, 2), 5);
  assert.equal(m.apics.mmioRead(0, R.version + 4, 4), 0);
  m.apics.mmioWrite(0, R.svr, 1, 0xff);
  m.apics.mmioWrite(0, R.svr + 4, 4, 0x1ff);
  assert.equal(m.read(0, R.svr), 0xff);
});

test('fuzz: any access sequence keeps pendingInterrupt right and neighbours whole', () => {
  let x = 0xbadcafe;
  const next = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
  const m = machine(3);
  const after = STATES + 3 * LAPIC_STATE_BYTES;
  m.enable();
  for (let i = 0; i < 50_000; i++) {
    const id = next() % 3;
    const value = next() % 3 ? next() : next() & 0x1ff;
    switch (next() % 6) {
      case 0:
        m.apics.mmioWrite(id, next() & 0xfff, 4, value);
        break;
      case 1:
        m.apics.mmioWrite(id, next() & 0xff0, 4, value);
        break;
      case 2:
        m.apics.mmioRead(id, next() & 0xfff, 1 << (next() % 3));
        break;
      case 3:
        m.apics.writeMsr(id, 0x800 + (next() % 64), BigInt(value) | (BigInt(next() % 7) << 32n));
        break;
      case 4:
        if (next() % 8 === 0) m.apics.writeMsr(id, Msr.apicBase, 0xfee00000n | BigInt(next() & 0xd00));
        else m.apics.readMsr(id, 0x800 + (next() % 64));
        break;
      default:
        if (next() % 2) m.apics.accept(id);
        else m.vcpus[id]!.pendingInterrupt = -1;
        m.apics.update(id);
        if (next() % 2) m.apics.eoi(id);
        m.advance(next() % 100_000);
    }
    if (next() % 64 === 0) m.apics.mmioWrite(id, R.svr, 4, 0x1ff);
    for (let v = 0; v < 3; v++) assert.equal(m.vcpus[v]!.pendingInterrupt, m.apics.highestPending(v));
    if (m.log.length > 1000) m.log.length = 0;
  }
  assert.ok(m.memory.u8.subarray(after, after + 4096).every(b => b === 0));
});
