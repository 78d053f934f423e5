/** Which registers one instruction touches. */
import { selectedOf, vvvvOf } from './emitter.ts';
import type { Instruction } from './instruction.ts';
import { generalBit, RegisterSet, registerAt, vectorBit } from './registers.ts';
import { SAMPLE, traitsOf } from './traits.ts';

const bitsOf = (number: number): number => generalBit(number) | vectorBit(number);
const SAMPLED = Object.values(SAMPLE).reduce((set, number) => set | bitsOf(number), 0);
const ALL_VECTORS = 0xffff0000 | 0;

/** Registers of the sample instruction become those of this one. */
function substituted(set: number, instruction: Instruction): number {
  const { form, reg, rm, base, index } = instruction;
  let result = set & ~SAMPLED;
  if (result === set) return set;
  const put = (sampleBits: number, place: number) => {
    if (set & sampleBits) result |= registerAt(place)?.bit ?? 0;
  };
  put(bitsOf(SAMPLE.reg), reg);
  put(bitsOf(SAMPLE.rm), rm);
  if (form.definition.vex) {
    put(bitsOf(SAMPLE.vvvv), vvvvOf(instruction));
    put(vectorBit(SAMPLE.selected), selectedOf(instruction));
  }
  if (form.memory) {
    put(generalBit(SAMPLE.base), base);
    put(generalBit(SAMPLE.index), index);
  }
  return result;
}

export function touchedBy(instruction: Instruction): RegisterSet {
  const result = new RegisterSet();
  const { isInline, touched } = traitsOf(instruction.form);
  // Handlers work on the vCPU block: they ask for no register of the region.
  if (!isInline) return result;
  result.read = substituted(touched.read, instruction);
  result.written = substituted(touched.written, instruction);
  return result;
}

/** Vector registers that a handler may find or change in the vCPU block. */
export function calledVectors(instruction: Instruction): number {
  const { form, reg, rm } = instruction;
  if (form.definition.vex) return ALL_VECTORS;
  const { name, options, operands } = form.definition;
  if (options.unit === undefined) return /x?(save|rstor)/.test(name) ? ALL_VECTORS : 0;
  if (options.unit === 'x87') return /save|rstor/.test(name) ? ALL_VECTORS : 0;
  let set = 0;
  for (const { kind } of operands) {
    if ('VWUG'.includes(kind)) set |= (registerAt(reg)?.bit ?? 0) | (registerAt(rm)?.bit ?? 0);
    if (kind === 'F') set |= vectorBit(0);
  }
  return set & ALL_VECTORS;
}
