/** Tables of a TLB whose memory was never touched: nothing is found in them, and they stay untouched while nothing is put in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  TLB_BYTES,
  TLB_EMPTY_TAG,
  TLB_JOURNAL_OFFSET,
  TLB_READ_OFFSET,
  TLB_VICTIMS_OFFSET,
  TlbEntry,
} from '../vcpu/layout.ts';
import { createTestMachine, GLOBAL, U, W } from './test-machine.ts';

const PAGE = 4096;
const NR_TABLES = (TLB_VICTIMS_OFFSET - TLB_READ_OFFSET) / TLB_BYTES;

function begin() {
  const machine = createTestMachine();
  machine.vcpu.cr4 = 0x80n;
  machine.enterLongMode();
  const { memory, cpu } = machine;
  /** 16-byte entries of which some byte is not zero. */
  const nrTouched = (): number => {
    const words = new BigUint64Array(
      memory.u8.buffer,
      cpu + TLB_READ_OFFSET,
      (TLB_JOURNAL_OFFSET - TLB_READ_OFFSET) / 8,
    );
    return words.reduce((count, word, i) => count + (i % 2 === 0 && (word || words[i + 1]) ? 1 : 0), 0);
  };
  return { machine, ...machine, nrTouched };
}

test('of a new vCPU two entries are written in each table and one among each of the victims, however it is flushed', () => {
  const { machine, runtime, cpu, vcpu, nrTouched } = begin();
  const expected = 2 * NR_TABLES + 6;
  assert.equal(nrTouched(), expected);
  runtime.tlbFlushAll(cpu);
  runtime.flushDomain(1);
  assert.equal(nrTouched(), expected);
  // So many that the journal does not have them all: then a load of CR3 looks at all entries.
  for (let i = 1; i < 3000; i++) {
    const va = 0x4000_0000n + BigInt(i % 8) * BigInt(PAGE);
    if (i <= 8) machine.map(va, 0x1000, W);
    runtime.tlbInvalidate(cpu, va);
    assert.notEqual(runtime.readSlow(cpu, va, 1), 0);
  }
  assert.ok(vcpu.tlbJournalCount > 2048);
  runtime.writeCr3(cpu, vcpu.cr3);
  assert.ok(nrTouched() <= expected + 16, `${nrTouched()} entries`);
});

test('a TLB is looked through when something was put in since all was thrown away', () => {
  const { machine, memory, runtime, cpu, vcpu } = begin();
  const entry = cpu + TLB_READ_OFFSET + 512 * TlbEntry.size;
  /** Whether a flush looks at an entry which nobody has told it of. */
  const isLookedThrough = (flush: () => void): boolean => {
    memory.view.setBigUint64(entry, 0x4020_0000n, true);
    flush();
    return memory.view.getBigUint64(entry, true) === TLB_EMPTY_TAG;
  };
  const flushes = [() => runtime.tlbFlushAll(cpu), () => runtime.flushDomain(1)];
  const fills = [
    () => runtime.readSlow(cpu, 0x4000_5000n, 1),
    () => runtime.writeSlow(cpu, 0x4000_5000n, 1),
    () => {
      vcpu.rip = 0x4000_5000n;
      runtime.lookup(cpu);
      return vcpu.tlbFilled;
    },
  ];
  machine.map(0x4000_5000n, 0x1000, W);
  for (const flush of flushes) {
    assert.equal(isLookedThrough(flush), false);
    for (const fill of fills) {
      assert.notEqual(fill(), 0);
      assert.equal(isLookedThrough(flush), true);
      assert.equal(isLookedThrough(flush), false);
    }
  }
});

test('page 0 is not found where nothing was put, in any class, also when others are victims', () => {
  for (const cpl of [0, 3] as const) {
    const { machine, runtime, cpu, vcpu } = begin();
    machine.enterLongMode(cpl);
    const reads = () => runtime.checkRead(cpu, 0x10n, 1) === 0;
    const writes = () => runtime.checkWrite(cpu, 0x10n, 1) === 0;
    assert.deepEqual([reads(), writes()], [false, false]);
    for (let i = 1n; i <= 3n; i++) {
      machine.map(i * 0x40_0000n, 0x1000, W | U);
      assert.notEqual(runtime.writeSlow(cpu, i * 0x40_0000n, 1), 0);
    }
    assert.equal(vcpu.tlbVictims, 1);
    assert.deepEqual([reads(), writes()], [false, false]);
  }
});

test('nor by bytes on both sides of the end of all addresses', () => {
  const { runtime, cpu } = begin();
  assert.equal(runtime.readSlow(cpu, -2n, 4), 0);
  assert.equal(runtime.writeSlow(cpu, -2n, 4), 0);
});

test('page 0 is found where it was put, until it is flushed', () => {
  for (const rights of [W, W | GLOBAL]) {
    const { machine, runtime, cpu, vcpu } = begin();
    const found = () => [runtime.checkRead(cpu, 0n, 1) === 0, runtime.checkWrite(cpu, 0n, 1) === 0];
    const put = () => {
      machine.map(0n, 0x1000, rights);
      assert.equal(runtime.writeSlow(cpu, 8n, 1), machine.guest(0x1008));
      assert.equal(runtime.readSlow(cpu, 8n, 1), machine.guest(0x1008));
      machine.write64(machine.entryAddress(0n), 0n);
      assert.deepEqual(found(), [true, true]);
    };
    put();
    runtime.tlbInvalidate(cpu, 0n);
    assert.deepEqual(found(), [false, false]);
    put();
    runtime.writeCr3(cpu, vcpu.cr3);
    const isGlobal = (rights & GLOBAL) !== 0n;
    assert.deepEqual(found(), [isGlobal, isGlobal]);
    if (!isGlobal) put();
    runtime.tlbFlushAll(cpu);
    assert.deepEqual(found(), [false, false]);
  }
});

test('the first page in an entry drives nothing out', () => {
  const { machine, runtime, cpu, vcpu } = begin();
  machine.map(0x4000_5000n, 0x1000, W);
  assert.notEqual(runtime.writeSlow(cpu, 0x4000_5000n, 1), 0);
  assert.equal(vcpu.tlbVictims, 0);
});
