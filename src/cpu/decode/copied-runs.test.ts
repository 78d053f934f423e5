/** Runs of instructions that are copied from another machine: what is copied of them, and that they are what decoding makes of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameFlag } from '../../machine/frames.ts';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_REGION } from '../isa/form-numbers.ts';
import { W } from '../runtime/test-machine.ts';
import {
  type DecodingMachine,
  decoded,
  decodingMachine,
  originIn,
  PAGE,
  PHYSICAL,
  RET,
  VA,
} from './decoding-machine.fixture.ts';
import { LINK_OFFSET, RECORD_BYTES } from './record.ts';
import { slotOf } from './record-table.ts';

/** xchg r15, rax: it has no immediate, so its record has room for a mark. */
const XCHG = [0x49, 0x87, 0xc7];
const COUNT = 30;
/** Over several granules. */
const START = 0x30;
const MARK = 0x77;
/** Word in a record. */
const [HEAD, IMMEDIATE, LINK] = [0, 6, LINK_OFFSET / 4];

const at = (index: number): number => START + index * XCHG.length;
const hostOf = ({ host }: DecodingMachine, index: number): number => host + at(index);
const word = ({ found }: DecodingMachine, offset: number): number => found(offset) >>> 2;

/** A run of these and a return. */
function putCode({ machine: { memory }, host }: DecodingMachine): void {
  for (let index = 0; index < COUNT; index++) memory.u8.set(XCHG, host + at(index));
}

function mark(machine: DecodingMachine, offset: number): void {
  machine.machine.memory.u32[word(machine, offset) + IMMEDIATE] = MARK;
}

/** As the translator does it: an entry is that, the instruction, and the way on. */
function putEntry(machine: DecodingMachine, offset: number, handler: number): void {
  const { header } = machine;
  const { u32 } = machine.machine.memory;
  const known = word(machine, offset);
  const entry = header.codeNext >>> 2;
  header.codeNext += 3 * RECORD_BYTES;
  const size = RECORD_BYTES / 4;
  for (const to of [entry, entry + size, entry + 2 * size]) u32.copyWithin(to, known, known + size);
  const rest = (u32[known + HEAD] as number) & ~0xffff;
  u32[entry + HEAD] = rest | handler;
  u32[entry + 2 * size + HEAD] = Pseudo.proceed;
  u32[known + HEAD] = rest | Pseudo.stale;
  u32[slotOf(u32, machine.machine.frameOf(PHYSICAL).code, offset) >>> 2] = entry * 4;
}

interface Case {
  /** Where the first machine decodes. */
  readonly first?: readonly number[];
  /** What happens to it before. */
  readonly begin?: (first: DecodingMachine) => void;
  /** What happens to it when that is done, and its records are marked. */
  readonly change?: (first: DecodingMachine) => void;
  /** What is different in the copy, and in one that decodes itself. */
  readonly differ?: (copy: DecodingMachine) => void;
  readonly lookups?: readonly number[];
}

/** Indices of instructions that were decoded and not copied; what is found is what decoding makes of it. */
function decodedAnew({ first: from = [START], begin, change, differ, lookups = [START] }: Case): number[] {
  const first = decodingMachine();
  putCode(first);
  begin?.(first);
  for (const offset of from) first.lookup(offset);
  for (let index = 0; index < COUNT; index++) if (first.found(at(index))) mark(first, at(index));
  change?.(first);
  const alone = decodingMachine();
  const copy = decodingMachine(() => originIn(first));
  copy.machine.frameOf(PHYSICAL).next = 1;
  for (const machine of [alone, copy]) {
    putCode(machine);
    differ?.(machine);
    for (const offset of lookups) machine.lookup(offset);
  }
  const { u32 } = copy.machine.memory;
  const anew: number[] = [];
  for (let index = 0; index < COUNT; index++) {
    const immediate = word(copy, at(index)) + IMMEDIATE;
    if (u32[immediate] !== MARK) anew.push(index);
    else u32[immediate] = 0;
  }
  assert.deepEqual(decoded(copy), decoded(alone));
  return anew;
}

test('a run is copied as a whole', () => {
  assert.deepEqual(decodedAnew({}), []);
});

test('what has become stale in the middle is decoded, or copied from where it was decoded since', () => {
  const forget = ({ machine }: DecodingMachine) =>
    machine.runtime.invalidateCode(machine.mfnOf(PHYSICAL), at(7), 1);
  assert.deepEqual(decodedAnew({ change: forget }), [7]);
  const forgetAndDecode = (first: DecodingMachine) => {
    forget(first);
    first.lookup(at(7));
    mark(first, at(7));
  };
  assert.deepEqual(decodedAnew({ change: forgetAndDecode }), []);
});

test("instead of a region's entry in the middle the instruction behind it is copied", () => {
  for (const handler of [FIRST_REGION, 0xffff, Pseudo.proceed]) {
    for (const places of [[5], [0], [COUNT - 1], [5, 6, 7]]) {
      const change = (first: DecodingMachine) => {
        for (const index of places) putEntry(first, at(index), handler);
      };
      assert.deepEqual(decodedAnew({ change }), [], `${handler} at ${places}`);
    }
  }
});

test('an instruction with other bytes is decoded, and those around it are copied', () => {
  // Another register, and another instruction of the same length.
  for (const [byte, value] of [
    [0, 0x4d],
    [1, 0x89],
    [2, 0xc3],
  ] as const) {
    for (const index of [0, 1, 2, 3, 11, COUNT - 1]) {
      const differ = (machine: DecodingMachine) => {
        machine.machine.memory.u8[hostOf(machine, index) + byte] = value;
      };
      assert.deepEqual(decodedAnew({ differ }), [index], `in the copy, byte ${byte} of ${index}`);
      assert.deepEqual(decodedAnew({ change: differ }), [index], `there, byte ${byte} of ${index}`);
    }
  }
});

test('what takes two records is decoded, and those around it are copied', () => {
  // mov eax, [ebx]
  const put = (machine: DecodingMachine) =>
    machine.machine.memory.u8.set([0x67, 0x8b, 3], hostOf(machine, 9));
  const unmark = (first: DecodingMachine) => {
    first.machine.memory.u32[word(first, at(9)) + IMMEDIATE] = 0x44;
  };
  assert.deepEqual(decodedAnew({ begin: put, change: unmark, differ: put }), [9]);
});

test('breakpoints are those of the copy', () => {
  const set = ({ breakpointOffsets }: DecodingMachine) => {
    breakpointOffsets[at(4)] = 1;
  };
  assert.deepEqual(decodedAnew({ differ: set }), [4], 'there is one in the copy');
  assert.deepEqual(decodedAnew({ begin: set }), [4], 'there was one in the first machine');
  assert.deepEqual(decodedAnew({ begin: set, differ: set }), [4]);
});

test('it makes no difference where the runs of the other machine begin and end', () => {
  const [one, two] = [at(10), at(20)];
  for (const first of [[START], [one, START], [two, one, START], [two, START, at(15)]])
    for (const lookups of [[START], [one, START], [two, one, START], [at(29), at(28), START]])
      assert.deepEqual(decodedAnew({ first, lookups }), [], `${first} and ${lookups}`);
  const anew = decodedAnew({ first: [two] });
  assert.deepEqual(anew, [...Array(20).keys()], 'a part of it was decoded there');
});

test('a run may end where the page does, or before an instruction that reaches into the next one', () => {
  for (const over of [0, 1, 2]) {
    const from = PAGE - 4 * XCHG.length + over;
    const put = (machine: DecodingMachine) => {
      const { memory, map } = machine.machine;
      for (let index = 0; index < 4; index++) memory.u8.set(XCHG, machine.host + from + index * XCHG.length);
      map(VA + BigInt(PAGE), PHYSICAL + PAGE, W);
    };
    const lookups = [START, from, PAGE - XCHG.length + over];
    assert.deepEqual(
      decodedAnew({ begin: put, differ: put, first: lookups, lookups }),
      [],
      `${over} bytes over`,
    );
  }
});

/** What compilers write, with addresses of both sizes, jumps and vectors among it. */
const USUAL = [
  [0x48, 0x89, 0xc3],
  [0x74, 0x05],
  [0xe8, 1, 2, 0, 0],
  [0x8b, 0x05, 9, 9, 0, 0],
  [0x67, 0x8b, 3],
  [0x0f, 0x1f, 0x40, 0],
  [0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8],
  [0xf3, 0x0f, 0x10, 0x04, 0x24],
  [0xc5, 0xf1, 0xfe, 0xc2],
  [0x0f, 0x85, 0x10, 0, 0, 0],
  [0xeb, 0x10],
  [0xc3],
  [0x0f, 0x0b],
  [0x55],
  [0x50],
  XCHG,
];
const SEEDS = 60;

/** Numbers below limits. */
function chanceOf(seed: number): (below: number) => number {
  const chance = createSeededEntropy(seed);
  const one = new Uint32Array(1);
  return below => {
    chance.fill(new Uint8Array(one.buffer));
    return (one[0] as number) % below;
  };
}

function randomCode(below: (limit: number) => number): Uint8Array {
  const code = new Uint8Array(PAGE);
  for (let end = 0; end < PAGE; ) {
    const instruction = below(12) === 0 ? [below(256)] : (USUAL[below(USUAL.length)] as number[]);
    const fits = instruction.slice(0, PAGE - end);
    code.set(fits, end);
    end += fits.length;
  }
  return code;
}

/** Records of the first machine become stale, or regions begin there, or jumps have found their targets. */
function changeRecords(first: DecodingMachine, below: (limit: number) => number): void {
  const { u32, u16 } = first.machine.memory;
  for (let offset = 0; offset < PAGE; offset++) {
    const record = word(first, offset);
    if (record === 0) continue;
    const isPseudo = (u16[record * 2] as number) <= Pseudo.crossing;
    const what = below(24);
    if (what === 0) u32[record] = (u32[record] as number) & ~0xffff;
    else if (what === 1 && !isPseudo) putEntry(first, offset, FIRST_REGION + below(100));
    else if (what === 2) first.machine.runtime.invalidateCode(first.machine.mfnOf(PHYSICAL), offset, 1);
  }
}

/** Jumps there remember where they lead to: je, jne, jmp and call with a distance. */
function linkJumps(first: DecodingMachine, code: Uint8Array): void {
  for (let offset = 0; offset < PAGE; offset++) {
    const record = word(first, offset);
    if (record !== 0 && [0x74, 0xeb, 0xe8].includes(code[offset] as number))
      first.machine.memory.u32[record + LINK] = first.header.codeBase;
  }
}

test('whatever the code is, and whatever has become of it there, it is what decoding makes of it', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const below = chanceOf(seed);
    const code = randomCode(below);
    const isUnread = seed % 3 === 0;
    const first = decodingMachine();
    first.machine.memory.u8.set(code, first.host);
    first.machine.map(VA + BigInt(PAGE), PHYSICAL + PAGE, W);
    for (let i = below(200); i >= 0; i--) first.lookup(below(PAGE));
    linkJumps(first, code);
    if (seed % 2 === 0) changeRecords(first, below);
    // What is unread is as it is there.
    for (let i = isUnread ? 0 : below(40); i > 0; i--)
      first.machine.memory.u8[first.host + below(PAGE)] = below(256);
    for (let i = isUnread ? 0 : below(40); i > 0; i--) code[below(PAGE)] = below(256);

    const lookups = Array.from({ length: 150 }, () => below(PAGE));
    const stops = Array.from({ length: seed % 5 === 0 ? 30 : 0 }, () => below(PAGE));
    const alone = decodingMachine();
    const copy = decodingMachine(() => originIn(first));
    const frame = copy.machine.frameOf(PHYSICAL);
    frame.next = 1;
    for (const machine of [alone, copy]) {
      machine.machine.map(VA + BigInt(PAGE), PHYSICAL + PAGE, W);
      machine.machine.memory.u8.set(code, machine.host);
      for (const offset of stops) machine.breakpointOffsets[offset] = 1;
    }
    if (isUnread) {
      frame.flags |= FrameFlag.unread;
      copy.machine.memory.u8.fill(RET, copy.host, copy.host + PAGE);
    }
    for (const offset of lookups) {
      alone.lookup(offset);
      copy.lookup(offset);
    }
    assert.deepEqual(decoded(copy), decoded(alone), `seed ${seed}`);
  }
});
