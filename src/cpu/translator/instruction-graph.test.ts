import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FORMS } from '../isa/forms.ts';
import { blocksOf } from './graph-blocks.ts';
import { type Control, controlOf, type Instruction } from './instruction.ts';
import { type CodeView, InstructionGraph, type Limits, type Target } from './instruction-graph.ts';
import type { Counts } from './profile.ts';
import type { Block } from './region.ts';

const CODE_PAGE = 0x4000;
const REGION = 0x9000;
const LENGTH = 4;
const LIMITS: Limits = {
  instructions: 100,
  callDepth: 0,
  copied: 0,
  entriesToGrow: undefined,
  isWeighed: true,
};

function formOf(control: Control) {
  const form = FORMS.find(candidate => controlOf(candidate) === control && !candidate.memory);
  assert.ok(form, control);
  return form;
}

interface Line {
  readonly control: Control;
  /** Offset. */
  readonly to?: number;
  readonly count?: number;
  readonly targets?: Readonly<Record<number, number>>;
}

/** Instructions of 4 bytes in one page, by offset. */
function view(program: Readonly<Record<number, Line>>): CodeView {
  const line = (offset: number) => program[offset];
  return {
    mode: 2,
    codePage: page => (page === 0 ? CODE_PAGE : 0),
    instruction(_, offset) {
      const found = line(offset);
      if (!found) return undefined;
      const immediate = BigInt((found.to ?? 0) - offset - LENGTH);
      return { form: formOf(found.control), offset, length: LENGTH, immediate } as Instruction;
    },
    wasTaken: () => true,
    targets: ({ offset }): Target[] =>
      Object.entries(line(offset)?.targets ?? {}).map(([to, count]) => ({
        place: { page: 0, offset: Number(to) },
        count,
      })),
    counts(codePage, offset): Counts | undefined {
      assert.equal(codePage, CODE_PAGE);
      const count = line(offset)?.count;
      return count === undefined ? undefined : new Map([[REGION, count]]);
    },
  };
}

/** Where the blocks of the region begin that begins at 0, with what they lead to within it. */
function formed(program: Readonly<Record<number, Line>>, limits = LIMITS): Record<number, number[]> {
  const graph = new InstructionGraph(view(program), limits);
  const entry = graph.explore({ page: 0, offset: 0 });
  assert.ok(entry);
  const { blocks } = blocksOf(entry);
  const leadsTo = ({ taken, next, targets }: Block) =>
    [taken, next, ...targets].flatMap(edge => edge?.block?.place.offset ?? []);
  return Object.fromEntries(blocks.map(block => [block.place.offset, leadsTo(block)]));
}

/** A branch that is taken once in a thousand times. */
const UNEVEN = {
  0: { control: 'conditional', to: 100, count: 1000 },
  4: { control: 'jump', to: 200, count: 999 },
  100: { control: 'jump', to: 200, count: 1 },
  200: { control: 'stop' },
} as const;

test('what was hardly ever executed stays outside', () => {
  assert.deepEqual(formed(UNEVEN), { 0: [4], 4: [200], 200: [] });
  assert.deepEqual(formed(UNEVEN, { ...LIMITS, isWeighed: false }), {
    0: [100, 4],
    4: [200],
    100: [200],
    200: [],
  });
});

test('when there is not room for all, what is executed most comes in', () => {
  const program = {
    0: { control: 'conditional', to: 100, count: 100 },
    4: { control: 'jump', to: 200, count: 30 },
    100: { control: 'jump', to: 300, count: 70 },
    200: { control: 'stop' },
    300: { control: 'stop' },
  } as const;
  assert.deepEqual(formed(program, { ...LIMITS, instructions: 4 }), {
    0: [100, 4],
    4: [],
    100: [300],
    300: [],
  });
});

test('a way that is seldom taken is still one within the region when it leads there', () => {
  const program = { ...UNEVEN, 0: { control: 'conditional', to: 200, count: 1000 } } as const;
  assert.deepEqual(formed(program)[0]?.toSorted(), [200, 4].toSorted());
});

test('a computed jump has the targets that it was seen to have often', () => {
  const program = {
    0: { control: 'indirect', targets: { 100: 980, 200: 15, 300: 5 } },
    100: { control: 'stop' },
    200: { control: 'stop' },
    300: { control: 'stop' },
  } as const;
  assert.deepEqual(formed(program), { 0: [100], 100: [] });
});

test('a return goes on where it was seen to go', () => {
  const program = { 0: { control: 'return', targets: { 100: 7 } }, 100: { control: 'stop' } } as const;
  assert.deepEqual(formed(program), { 0: [100], 100: [] });
  assert.deepEqual(formed(program, { ...LIMITS, isWeighed: false }), { 0: [] });
});

test('a page that comes into the TLB meanwhile is in the region as the one that it is, or not at all', () => {
  for (let mappedAfter = 0; mappedAfter < 6; mappedAfter++) {
    let looks = 0;
    const graph = new InstructionGraph(
      { ...view(UNEVEN), codePage: () => (looks++ < mappedAfter ? 0 : CODE_PAGE) },
      LIMITS,
    );
    graph.explore({ page: 0, offset: 0 });
    for (const codePage of graph.codePages.values()) assert.equal(codePage, CODE_PAGE);
  }
});
