/** Decoded instructions in the code cache: where they are found, and what they take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameFlag } from '../../machine/frames.ts';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { FIRST_REGION } from '../isa/form-numbers.ts';
import { W } from '../runtime/test-machine.ts';
import { type CodeOrigin, codePageIn } from './decoded-before.ts';
import {
  type DecodingMachine,
  decoded,
  decodingMachine,
  NOP,
  originIn,
  PAGE,
  PHYSICAL,
  RET,
  VA,
} from './decoding-machine.fixture.ts';
import { CodePage, CodeRecord, RECORD_BYTES, TABLE_PART_BYTES } from './record.ts';
import { slotOf } from './record-table.ts';

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

test('what was in use and is taken again is cleared, as far as it was in use', () => {
  const { machine, header, lookup, found } = decodingMachine();
  const { u32 } = machine.memory;
  for (const offset of [0, 0x100]) lookup(offset);
  const used = header.codeNext;
  machine.runtime.discardCode();
  assert.equal(header.codeUsed, used);
  // The last part of the table that was in use, and anything in the rest.
  u32.fill(0xffff_ffff, header.codeBase / 4, used / 4);
  for (let offset = 0; offset < PAGE; offset += 0x80) lookup(offset);
  assert.ok(header.codeNext > 2 * used - header.codeBase);
  for (let offset = 0; offset < PAGE; offset++)
    assert.equal(found(offset) !== 0, offset % 0x80 === 0, offset.toString(16));
  machine.runtime.discardCode();
  lookup(0);
  machine.runtime.discardCode();
  assert.ok(header.codeUsed > used, 'it was once');
});

test('an instruction over two pages is all that is decoded, and the code page behind has nothing else in it', () => {
  const { machine, host, lookup } = decodingMachine();
  const { memory } = machine;
  machine.map(VA + BigInt(PAGE), PHYSICAL + PAGE, W);
  memory.u8.set([0x48, 0x89, 0xc3], host + PAGE - 1);
  lookup(PAGE - 1);
  const { code: page } = machine.frameOf(PHYSICAL);
  const behind = CodePage.at(memory.view, machine.frameOf(PHYSICAL + PAGE).code);
  assert.deepEqual([behind.crossedFrom, behind.granules, behind.next], [page, 1n, 0]);
  assert.deepEqual([behind.extents, behind.changes], [0, 0]);
});

test('what was decoded in another machine is copied from there, and is what decoding makes of it', () => {
  const chance = createSeededEntropy(11);
  const numbers = new Uint16Array(400);
  chance.fill(new Uint8Array(numbers.buffer));
  const offsets = [...numbers].map(number => number % 4096);
  const code = new Uint8Array(4096);
  chance.fill(code);
  // Half of it is what compilers write, the rest is what chance says.
  const usual = [
    0x48, 0x89, 0xc3, 0x74, 0x05, 0xe8, 1, 2, 0, 0, 0x8b, 0x05, 9, 9, 0, 0, 0xc3, 0x0f, 0x1f, 0x40, 0,
  ];
  for (let at = 0; at < 2048; at++) code[at] = usual[at % usual.length] as number;

  const first = decodingMachine();
  first.machine.memory.u8.set(code, first.host);
  for (const offset of offsets.slice(0, 300)) first.lookup(offset);
  const { u32 } = first.machine.memory;
  const [stale, region] = [offsets[0], offsets[1]].map(offset => first.found(offset as number) >>> 2) as [
    number,
    number,
  ];
  u32[stale] = (u32[stale] as number) & ~0xffff;
  // A region's entry has the instruction behind it.
  const entry = (first.header.codeNext >>> 2) + 64;
  u32[entry] = ((u32[region] as number) & ~0xffff) | (FIRST_REGION + 3);
  u32.copyWithin(entry + RECORD_BYTES / 4, region, region + RECORD_BYTES / 4);
  u32[slotOf(u32, first.machine.frameOf(PHYSICAL).code, offsets[1] as number) >>> 2] = entry * 4;
  // A jump that has found its target.
  const jump = first.found(3) >>> 2;
  u32[jump + 7] = 0x1234;

  const alone = decodingMachine();
  alone.machine.memory.u8.set(code, alone.host);
  let nrAsked = 0;
  const copy = decodingMachine(() => {
    nrAsked += 1;
    return originIn(first);
  });
  const frame = copy.machine.frameOf(PHYSICAL);
  frame.flags |= FrameFlag.unread;
  frame.next = 1;
  for (const { lookup } of [alone, copy]) for (const offset of [3, ...offsets]) lookup(offset);
  assert.ok(nrAsked > 100 && first.found(3) !== 0);
  assert.deepEqual(decoded(copy), decoded(alone));
});

test('a page that has its contents is copied from as well, instruction by instruction, as far as both have the same bytes', () => {
  const MARK = 0x77;
  const first = decodingMachine();
  const copy = decodingMachine(() => originIn(first));
  // xchg r15, rax in a row; one that the copy has changed, one that the first machine has, one that is whole.
  const code = Uint8Array.of(0x49, 0x87, 0xc7, 0x49, 0x87, 0xc7, 0x49, 0x87, 0xc7, RET);
  for (const { machine, host } of [first, copy]) machine.memory.u8.set(code, host);
  copy.machine.frameOf(PHYSICAL).next = 1;
  first.lookup(0);
  // A field that this instruction does not use.
  const markOf = ({ found }: typeof first, offset: number) =>
    (found(offset) + CodeRecord.offsets.immediate) >>> 2;
  for (const offset of [0, 3, 6]) first.machine.memory.u32[markOf(first, offset)] = MARK;
  copy.machine.memory.u8[copy.host + 2] = 0xc0;
  first.machine.memory.u8[first.host + 5] = 0xc0;
  copy.lookup(0);
  const marks = [0, 3, 6].map(offset => copy.machine.memory.u32[markOf(copy, offset)] as number);
  assert.deepEqual(
    marks.map(mark => mark === MARK),
    [false, false, true],
  );
});

test('a page that came from nowhere is not copied from', () => {
  const copy = decodingMachine(() => assert.fail('there is nothing to ask about'));
  assert.notEqual(copy.lookup(0), 0);
});

/** A few instructions, the last of which reaches into the next page. */
function meanwhileCode(): Uint8Array {
  const code = new Uint8Array(PAGE).fill(RET);
  code.set([0x49, 0x87, 0xc7, 0x8b, 0x05, 9, 9, 0, 0, 0x48, 0x89, 0xc3, NOP], 0x38);
  code.set([NOP, 0xb8, 1, 2], PAGE - 4);
  return code;
}
const MEANWHILE = [0x38, PAGE - 4, PAGE - 3];
function decodeAll({ machine, lookup }: DecodingMachine): void {
  machine.map(VA + BigInt(PAGE), PHYSICAL + PAGE, W);
  for (const offset of MEANWHILE) lookup(offset);
}

type Event = (first: DecodingMachine, origin: CodeOrigin) => void;

/**
 * Decode in a copy of a machine to which something happens when it is looked at for the `moment`th time.
 * @param next happens behind that as soon as the copy has been told where the page is
 * @returns what is in the code cache then, and how often the machine was looked at
 */
function decodeMeanwhile(moment: number, happen: Event, next?: Event) {
  const code = meanwhileCode();
  const first = decodingMachine();
  const { memory } = first.machine;
  memory.u8.set(code, first.host);
  decodeAll(first);
  const origin = originIn(first);
  let nrLooks = 0;
  const look = <T>(what: T): T => {
    nrLooks += 1;
    if (nrLooks === moment) happen(first, origin);
    return what;
  };
  const watched: CodeOrigin = {
    ...origin,
    memory: {
      ...memory,
      get u8() {
        return look(memory.u8);
      },
      get u32() {
        return look(memory.u32);
      },
    },
  };
  let isNext = next !== undefined;
  const copy = decodingMachine(() => {
    const isThere = origin.copies[origin.frame] === 0;
    if (isNext && nrLooks >= moment) {
      isNext = false;
      next?.(first, origin);
    }
    return isThere ? watched : undefined;
  }, code);
  const frame = copy.machine.frameOf(PHYSICAL);
  frame.flags |= FrameFlag.unread;
  frame.next = 1;
  decodeAll(copy);
  return { found: decoded(copy), nrLooks };
}

test('when what is copied from changes meanwhile the run is made again', () => {
  const alone = decodingMachine();
  alone.machine.memory.u8.set(meanwhileCode(), alone.host);
  decodeAll(alone);
  const expected = decoded(alone);
  const chance = createSeededEntropy(4);
  const garbage = new Uint8Array(1 << 14);
  chance.fill(garbage);
  /** Its guest writes another program there. */
  const write: Event = ({ machine, host }, { copies, frame }) => {
    copies[frame] = 1;
    machine.memory.u8.fill(0x40, host, host + PAGE);
    machine.runtime.invalidateCode(frame, 0, PAGE);
  };
  /** It throws its code away, and uses the memory for code that is nearly the same. */
  const discard: Event = ({ machine, found }) => {
    const records = [0x38, 0x3b, 0x41, PAGE - 4].map(found).filter(record => record !== 0);
    machine.runtime.discardCode();
    for (const record of records)
      machine.memory.u32[(record + CodeRecord.offsets.displacement) >>> 2] = 0x1234;
  };
  /** Both, and the memory holds anything. */
  const both: Event = (first, origin) => {
    write(first, origin);
    first.machine.runtime.discardCode();
    first.machine.memory.u8.set(garbage, first.header.codeBase);
  };
  const { found, nrLooks } = decodeMeanwhile(0, () => {});
  assert.deepEqual(found, expected);
  assert.ok(nrLooks > 15, `${nrLooks}`);
  const events: readonly (readonly [Event, Event?])[] = [[write], [discard], [both], [discard, write]];
  for (const [happen, next] of events)
    for (let moment = 1; moment <= nrLooks; moment++)
      assert.deepEqual(decodeMeanwhile(moment, happen, next).found, expected, `at look ${moment}`);
});

test('code pages are searched to an end, whatever is in memory', () => {
  const { machine, lookup, host } = decodingMachine();
  const { memory } = machine;
  lookup(0);
  const page = machine.frameOf(PHYSICAL).code;
  const origin = { memory, frame: host / PAGE, copies: new Int32Array(0) };
  const mode = memory.u32[(page + CodePage.offsets.mode) >>> 2] as number;
  assert.equal(codePageIn(origin, mode), page);
  for (const next of [page, 0xffff_fff0, 0]) {
    memory.u32[(page + CodePage.offsets.next) >>> 2] = next;
    assert.equal(codePageIn(origin, mode + 1), 0);
  }
});
