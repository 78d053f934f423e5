/** Instructions of 8 bytes as regions have them, without code that they were decoded from. */
import assert from 'node:assert/strict';
import { FORMS } from '../isa/forms.ts';
import { RAX } from '../isa/general-registers.ts';
import { Seg, Vcpu } from '../vcpu/layout.ts';
import type { Instruction } from './instruction.ts';

const V = Vcpu.offsets;
export const place = (register: number) => V.gpr + register * 8;

/** By name and encoding. */
export function instruction(name: string, encoding: string, fields: Partial<Instruction> = {}): Instruction {
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
export const load = (base: number, displacement: number) =>
  instruction('mov', '8B /r', { reg: place(RAX), base: place(base), displacement: BigInt(displacement) });
export const store = (base: number, displacement: number) =>
  instruction('mov', '89 /r', { reg: place(RAX), base: place(base), displacement: BigInt(displacement) });
export const push = (register: number) => instruction('push', '50+r', { rm: place(register) });
export const pop = (register: number) => instruction('pop', '58+r', { rm: place(register) });
