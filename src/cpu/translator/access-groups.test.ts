import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RAX, RBP, RBX, RCX, RSP } from '../isa/general-registers.ts';
import { TLB_READ, TLB_WRITE, Vcpu } from '../vcpu/layout.ts';
import { groupAccesses } from './access-groups.ts';
import type { Instruction } from './instruction.ts';
import { instruction, load, place, pop, push, store } from './instructions.fixture.ts';
import type { Block } from './region.ts';

const V = Vcpu.offsets;

function groupsOf(...blocks: Instruction[][]) {
  const list = blocks.map(
    (instructions, id) => ({ id, instructions, place: { page: 0, offset: 0 } }) as unknown as Block,
  );
  const found = groupAccesses(
    list,
    list.map(({ id }) => id),
    id => (id === 0 ? undefined : 0),
  );
  return found.flat().map(({ operand, stack }) => (operand ?? stack)?.group);
}

test('pushes, pops and what is between them are one group, from the lowest byte to the highest', () => {
  const frame = [
    push(RBP),
    instruction('mov', '89 /r', { reg: place(RSP), rm: place(RBP) }),
    push(RBX),
    instruction('sub', '83 /5', { rm: place(RSP), immediate: 32n }),
    store(RSP, 8),
    load(RBP, -40),
    instruction('lea', '8D /r', { reg: place(RSP), base: place(RBP), displacement: -8n }),
    pop(RBX),
    pop(RBP),
    instruction('ret', 'C3'),
  ];
  const groups = groupsOf(frame).filter(group => group !== undefined);
  assert.equal(groups.length, 7);
  assert.equal(new Set(groups).size, 1);
  // From [rbp - 40] to the return address.
  assert.deepEqual([groups[0]?.lowest, groups[0]?.end, groups[0]?.table], [-48, 8, TLB_WRITE]);
});

test('reads and writes of one block ask the table for writes, also when a read comes first', () => {
  const groups = groupsOf([load(RBX, 0), store(RBX, 8), load(RBX, 16)]);
  assert.equal(new Set(groups).size, 1);
  assert.deepEqual([groups[0]?.table, groups[0]?.isReadFirst], [TLB_WRITE, true]);
});

test('a write that may not come does not join the reads before it, reads join what was written', () => {
  const [first, second, third] = groupsOf([load(RBX, 0)], [store(RBX, 8), load(RBX, 16)]);
  assert.notEqual(first, second);
  assert.equal(second, third);
  assert.deepEqual([first?.table, second?.table], [TLB_READ, TLB_WRITE]);
});

test('a register that was written is another value', () => {
  const [first, , second] = groupsOf([
    load(RBX, 0),
    instruction('mov', 'B8+r', { rm: place(RBX) }),
    load(RBX, 8),
  ]);
  assert.notEqual(first, second);
  const [loaded, own] = groupsOf([load(RAX, 0), load(RAX, 8)]);
  assert.notEqual(loaded, own, 'by the load itself');
});

test('an absolute address is not one relative to the code, whatever the numbers', () => {
  const from = (base: number) =>
    instruction('mov', '8B /r', { reg: place(RAX), base, displacement: 0x1000n });
  const [relative, absolute, again] = groupsOf([from(V.codePage), from(V.zero), from(V.codePage)]);
  assert.notEqual(relative, absolute);
  assert.equal(relative, again);
});

test('too far away is another group', () => {
  const [first, second, third] = groupsOf([load(RBX, 0), load(RBX, 56), load(RBX, 64)]);
  assert.equal(first, second);
  assert.notEqual(second, third);
});

test('a block that is reached from one other alone goes on with its groups, each way by itself', () => {
  const change = instruction('add', '83 /0', { rm: place(RCX), immediate: 8n });
  const [, before, left, right] = groupsOf([change, load(RCX, 0)], [load(RCX, 8)], [load(RCX, 16)]);
  assert.equal(before, left);
  assert.equal(before, right);
  assert.deepEqual([before?.lowest, before?.end], [8, 32]);
});
