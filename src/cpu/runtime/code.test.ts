import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameAddress, mfn } from '../../base/brand.ts';
import { FrameFlag } from '../../machine/frames.ts';
import { CodePage, CodeRecord, GRANULE_SHIFT, TABLE_PART_BYTES } from '../decode/record.ts';
import { slotOf } from '../decode/record-table.ts';
import { HEAT_ENTRIES, HEAT_OFFSET, TLB_WRITE_OFFSET } from '../vcpu/layout.ts';
import { createTestMachine, NX, U, W } from './test-machine.ts';

const VA = 0x4000_0000n;

/** A machine whose decoder makes every instruction three bytes long. */
function codeMachine() {
  const decoded: { hostPage: number; offset: number; record: number }[] = [];
  const machine: ReturnType<typeof createTestMachine> = createTestMachine({
    decode: (_cpu, hostPage, codePage, offset) => {
      const record = machine.header.codeNext;
      machine.header.codeNext += CodeRecord.size;
      const at = CodeRecord.at(machine.memory.view, record);
      at.handler = 7;
      at.length = 3;
      const page = CodePage.at(machine.memory.view, codePage);
      page.granules |= (1n << BigInt(offset >> 6)) | (1n << BigInt(Math.min(offset + 2, 4095) >> 6));
      const part = machine.header.codeNext;
      if (page.table.get(offset >> GRANULE_SHIFT) === 0) {
        page.table.set(offset >> GRANULE_SHIFT, part);
        machine.header.codeNext += TABLE_PART_BYTES;
        machine.memory.u8.fill(0, part, part + TABLE_PART_BYTES);
      }
      machine.memory.u32[slotOf(machine.memory.u32, codePage, offset) >>> 2] = record;
      decoded.push({ hostPage, offset, record });
      return record;
    },
  });
  machine.enterLongMode();
  machine.map(VA, 0x3000, W);
  const lookup = (va: bigint) => {
    machine.vcpu.rip = va;
    return machine.runtime.lookup(machine.cpu);
  };
  const handler = (record: number) => CodeRecord.at(machine.memory.view, record).handler;
  const isCode = () => (machine.frameOf(0x3000).flags & FrameFlag.code) !== 0;
  /** A guest store through the slow path. */
  const write = (va: bigint, size: number) => {
    const at = machine.runtime.writeSlow(machine.cpu, va, size);
    if (at === machine.vcpu.scratch.byteOffset) machine.runtime.commit(machine.cpu);
    return at;
  };
  return { machine, decoded, lookup, handler, isCode, write };
}

test('lookup decodes once and finds the record again', () => {
  const { machine, decoded, lookup } = codeMachine();
  const record = lookup(VA + 0x10n);
  assert.deepEqual(decoded, [{ hostPage: machine.guest(0x3000), offset: 0x10, record }]);
  assert.equal(machine.vcpu.codePage, VA);
  assert.equal(lookup(VA + 0x10n), record);
  machine.runtime.tlbFlushAll(machine.cpu);
  assert.equal(lookup(VA + 0x10n), record);
  assert.equal(decoded.length, 1);
});

test('fetch faults', () => {
  const { machine, lookup } = codeMachine();
  machine.map(VA + 0x1000n, 0x4000, NX);
  assert.equal(lookup(VA + 0x1004n), 0);
  assert.deepEqual(machine.fault(), { vector: 14, error: 0x11, cr2: VA + 0x1004n });
  assert.equal(lookup(0x8000_0000_0000n), 0);
  assert.equal(machine.fault().vector, 13);
  machine.map(VA, 0x3000, U | W);
  machine.vcpu.cr4 |= 1n << 20n;
  machine.runtime.tlbFlushAll(machine.cpu);
  assert.equal(lookup(VA), 0);
  assert.equal(machine.fault().error, 0x11);
});

test('a store invalidates the instructions it overlaps, and only those', () => {
  const { machine, lookup, handler, isCode, write } = codeMachine();
  const a = lookup(VA + 0x3en);
  const b = lookup(VA + 0x41n);
  const c = lookup(VA + 0x200n);
  assert.ok(isCode());
  assert.equal(write(VA + 0x800n, 8), machine.vcpu.scratch.byteOffset, 'data beside code goes the slow way');
  assert.equal(write(VA + 0x800n, 8), machine.guest(0x3800), 'until the page is known');
  assert.equal(write(VA + 0x1f8n, 8), machine.guest(0x31f8), 'up to the granule with code');
  assert.equal(write(VA + 0x1f9n, 8), machine.vcpu.scratch.byteOffset, 'and no further');
  assert.deepEqual([a, b, c].map(handler), [7, 7, 0]);
  assert.notEqual(lookup(VA + 0x200n), c);
  const d = lookup(VA + 0x200n);
  assert.deepEqual([a, b, d].map(handler), [7, 7, 7]);
  write(VA + 0x40n, 1);
  assert.deepEqual([a, b, d].map(handler), [0, 7, 7], 'the last byte of the first instruction');
  const page = CodePage.at(machine.memory.view, machine.frameOf(0x3000).code);
  assert.equal(page.granules, (1n << 1n) | (1n << 8n));
  assert.notEqual(lookup(VA + 0x3en), a);
  write(VA + 0x38n, 16);
  assert.deepEqual([b, d].map(handler), [0, 7]);
  assert.equal(page.granules, 1n << 8n);
  assert.ok(isCode());
  write(VA + 0x202n, 1);
  assert.ok(!isCode(), 'no instruction is left');
  assert.equal(write(VA + 0x202n, 1), machine.guest(0x3202), 'fast again');
  // The execute TLB still knows the page; decoding again must watch the frame again.
  assert.notEqual(lookup(VA + 0x200n), 0);
  assert.ok(isCode());
  assert.equal(write(VA + 0x800n, 8), machine.vcpu.scratch.byteOffset);
});

test('a write by the hypervisor, and decoding under two modes', () => {
  const { machine, lookup, handler, isCode } = codeMachine();
  const first = lookup(VA);
  machine.vcpu.cr0 |= 8n;
  machine.runtime.updateMode(machine.cpu);
  const second = lookup(VA);
  assert.notEqual(first, second);
  machine.runtime.invalidateCode(machine.mfnOf(0x3000), 0, 4096);
  assert.deepEqual([first, second].map(handler), [0, 0]);
  assert.ok(!isCode());
});

test('a full code cache is thrown away', () => {
  const { machine, lookup, decoded, isCode } = codeMachine();
  const record = lookup(VA);
  const { header } = machine;
  header.codeNext = header.codeLimit - 100;
  assert.equal(lookup(VA), record, 'what is decoded is found');
  assert.notEqual(lookup(VA + 8n), 0);
  assert.equal(header.codeGeneration, 1);
  assert.ok(header.codeNext < header.codeBase + 20000);
  assert.ok(isCode());
  lookup(VA);
  assert.equal(decoded.length, 3, 'decoded again');
  assert.equal(CodePage.at(machine.memory.view, machine.frameOf(0x3000).code).mfn, machine.mfnOf(0x3000));
  assert.equal(frameAddress(mfn(machine.mfnOf(0x3000))), machine.guest(0x3000));
});

test('a small code cache is thrown away while that is cheap, and else made larger, up to all of it', () => {
  const { machine, lookup } = codeMachine();
  const { header, vcpu } = machine;
  const SMALL = 0x2_0000;
  const sizes: number[] = [];
  header.codeLimit = header.codeBase + SMALL;
  /** Fill it, and have something decoded that is not there yet. */
  const overfill = (offset: number) => {
    header.codeNext = header.codeLimit - 100;
    assert.notEqual(lookup(VA + BigInt(offset)), 0);
    sizes.push(header.codeLimit - header.codeBase);
    return header.codeGeneration;
  };
  let offset = 0;
  const next = () => {
    offset += 16;
    return overfill(offset);
  };
  for (let count = 1; count <= 32; count++) assert.equal(next(), count, 'at first it is thrown away');
  assert.deepEqual(new Set(sizes), new Set([SMALL]));
  const known = lookup(VA + 0x800n);
  assert.equal(next(), 32);
  assert.equal(sizes.at(-1), 2 * SMALL);
  assert.equal(lookup(VA + 0x800n), known, 'what is there stays');
  vcpu.retired += BigInt(8 * 2 * SMALL);
  assert.equal(next(), 33, 'much has been done since it was full');
  assert.equal(sizes.at(-1), 2 * SMALL);
  vcpu.retired += BigInt(8 * 2 * SMALL - 1);
  assert.equal(next(), 33);
  assert.deepEqual([next(), sizes.at(-1)], [33, header.codeEnd - header.codeBase]);
  assert.equal(next(), 34, 'there is no more');
  assert.equal(sizes.at(-1), header.codeEnd - header.codeBase);
});

test('what goes with the code cache', () => {
  const { machine, lookup, isCode } = codeMachine();
  const { memory, cpu, runtime } = machine;
  lookup(VA);
  // A frame below the code cache: that of the vCPU's own memory is above.
  const below = machine.frames.entry(mfn((machine.header.codeBase >>> 12) - 1));
  below.flags |= FrameFlag.code;
  below.code = machine.frameOf(0x3000).code;
  memory.u8.fill(1, cpu + HEAT_OFFSET, cpu + HEAT_OFFSET + 2 * HEAT_ENTRIES);
  runtime.discardCode();
  assert.deepEqual([below.flags & FrameFlag.code, below.code], [0, 0]);
  assert.ok(!isCode() && machine.frameOf(0x3000).code === 0);
  const heat = memory.u8.subarray(cpu + HEAT_OFFSET, cpu + HEAT_OFFSET + 2 * HEAT_ENTRIES);
  assert.ok(
    heat.every(byte => byte === 0),
    'jumps were counted by addresses of records',
  );
});

test('a frame that nobody has written to is in no table to be searched when it is marked', () => {
  const { machine } = codeMachine();
  const { memory, cpu, runtime } = machine;
  const mark = (physical: number) => {
    const entry = cpu + TLB_WRITE_OFFSET;
    memory.view.setBigUint64(entry, VA, true);
    memory.view.setInt32(entry + 8, (machine.guest(physical) - Number(VA)) | 0, true);
    runtime.markCode(machine.mfnOf(physical));
    return memory.view.getBigUint64(entry, true) === VA;
  };
  machine.frameOf(0x5000).flags |= FrameFlag.unread;
  machine.vcpu.tlbFilled = 1;
  assert.equal(mark(0x4000), false);
  assert.equal(mark(0x5000), true);
  assert.equal(machine.frameOf(0x5000).flags, FrameFlag.unread | FrameFlag.code);
});
