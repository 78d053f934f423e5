import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Instruction } from './instruction.ts';
import { instruction, place } from './instructions.fixture.ts';
import { withoutLocals } from './local-registers.ts';
import type { Block } from './region.ts';
import { structureOf } from './structure.ts';

const add = (to: number, from: number): Instruction =>
  instruction('add', '01 /r', { reg: place(from), rm: place(to) });
const setOf = (...registers: number[]): number => registers.reduce((set, number) => set | (1 << number), 0);

function left(graph: number[][], ...blocks: Instruction[][]): number {
  const list = blocks.map((instructions, id) => ({ id, instructions }) as unknown as Block);
  return withoutLocals(list, structureOf(graph));
}

test('eight registers have locals, those that are used most', () => {
  const pairs = Array.from({ length: 4 }, (_, i) => [add(2 * i, 2 * i + 1), add(2 * i + 1, 2 * i)]).flat();
  assert.equal(left([[]], [...pairs, add(8, 9)]), setOf(8, 9, 10, 11, 12, 13, 14, 15));
  assert.equal(
    left([[]], [...pairs, add(8, 9), add(14, 15), add(15, 14), add(14, 15), add(15, 14)]),
    setOf(6, 7, 8, 9, 10, 11, 12, 13),
  );
});

test('what is in a loop is used more often than it is written', () => {
  const before = Array.from({ length: 4 }, (_, i) => [add(2 * i, 2 * i + 1), add(2 * i + 1, 2 * i)]).flat();
  // 0 -> 1 -> 2 -> 1, and 2 -> 3
  const set = left([[1], [2], [1, 3], []], [...before, ...before], [add(14, 15)], [], [add(12, 13)]);
  assert.equal(set & setOf(14, 15), 0);
  assert.equal(set & setOf(12, 13), setOf(12, 13));
});
