/** Decoded instructions in the code cache: where they are found, and what they take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestMachine, W } from '../runtime/test-machine.ts';
import { RECORD_BYTES, TABLE_PART_BYTES } from './record.ts';
import { recordAt } from './record-table.ts';
import { RecordWriter } from './records.ts';

const VA = 0x4000_0000n;
const PHYSICAL = 0x3000;
const [NOP, RET] = [0x90, 0xc3];

function decodingMachine() {
  const machine: ReturnType<typeof createTestMachine> = createTestMachine({
    decode: (cpu, hostPage, codePage, offset) => writer.decode(cpu, hostPage, codePage, offset),
  });
  const { runtime, memory, cpu, header } = machine;
  const writer: RecordWriter = new RecordWriter(memory, {
    codeBehind: (vcpu, page) => runtime.codeBehind(vcpu, page),
    markCode: mfn => runtime.markCode(mfn),
    readPage: () => {},
    decoded: () => {},
  });
  machine.enterLongMode();
  machine.map(VA, PHYSICAL, W);
  const host = machine.guest(PHYSICAL);
  memory.u8.fill(RET, host, host + 4096);
  const lookup = (offset: number) => {
    machine.vcpu.rip = VA + BigInt(offset);
    return runtime.lookup(cpu);
  };
  const found = (offset: number) => recordAt(memory.u32, machine.frameOf(PHYSICAL).code, offset);
  return { machine, header, lookup, found, host };
}

test('a page takes what is decoded of it', () => {
  const { header, lookup, found } = decodingMachine();
  const used = () => header.codeNext - header.codeBase;
  const first = lookup(0x10);
  const whole = used();
  assert.ok(whole < 1024, `${whole} bytes for one instruction`);
  assert.equal(found(0x10), first);
  assert.equal(found(0x11), 0);
  assert.equal(found(0x800), 0, 'nothing is decoded in that granule');
  const near = lookup(0x20);
  assert.notEqual(near, first);
  assert.ok(used() - whole <= 2 * RECORD_BYTES, 'the granule has its part of the table');
  const beforeFar = used();
  assert.equal(found(0xfff), 0);
  assert.equal(lookup(0xfff), found(0xfff));
  assert.ok(used() - beforeFar >= TABLE_PART_BYTES);
});

test('a run over several granules is found at each of its instructions, and no other offset', () => {
  const { machine, host, lookup, found } = decodingMachine();
  machine.memory.u8.fill(NOP, host + 0x7d, host + 0x85);
  lookup(0x7d);
  for (let offset = 0x70; offset < 0x90; offset++) {
    const isDecoded = offset >= 0x7d && offset <= 0x85;
    assert.equal(found(offset) !== 0, isDecoded, offset.toString(16));
  }
});

test('what was in the code cache before is not found after it was thrown away', () => {
  const { machine, lookup, found } = decodingMachine();
  for (let offset = 0; offset < 4096; offset += 7) lookup(offset);
  machine.runtime.discardCode();
  lookup(0x123);
  for (let offset = 0; offset < 4096; offset++) {
    assert.equal(found(offset) !== 0, offset === 0x123, offset.toString(16));
  }
});
