import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RAX, RBP, RBX, RCX, RSP } from '../isa/emitter.ts';
import { FORMS } from '../isa/forms.ts';
import { Seg, TLB_READ, TLB_WRITE, Vcpu } from '../vcpu/layout.ts';
import { groupAccesses } from './access-groups.ts';
import type { Instruction } from './instruction.ts';
import type { Block } from './region.ts';

const V = Vcpu.offsets;
const place = (register: number) => V.gpr + register * 8;

/** An instruction of 8 bytes by name and encoding. */
function instruction(name: string, encoding: string, fields: Partial<Instruction> = {}): Instruction {
  const memory = fields.base !== undefined;
  const form = FORMS.find(
    each =>
      each.definition.name === name &&
      each.definition.encoding === encoding &&
      each.size === 8 &&
      each.memory === memory &&
      each.mode64 &&
      !each.lock,
  );
  assert.ok(form, name);
  return {
    ...{ record: 0, form, length: 4, offset: 0, segment: V.segBase + Seg.ds * 8, reg: V.zero, rm: V.zero },
    ...{ base: V.zero, index: V.zero, scale: 0, displacement: 0n, immediate: 0n },
    ...fields,
  };
}
const load = (base: number, displacement: number) =>
  instruction('mov', '8B /r', { reg: place(RAX), base: place(base), displacement: BigInt(displacement) });
const store = (base: number, displacement: number) =>
  instruction('mov', '89 /r', { reg: place(RAX), base: place(base), displacement: BigInt(displacement) });
const push = (register: number) => instruction('push', '50+r', { rm: place(register) });
const pop = (register: number) => instruction('pop', '58+r', { rm: place(register) });

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
