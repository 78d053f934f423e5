/**
 * The guest's registers in a region: locals (general registers i64, vector registers v128), or where they are in the vCPU block
 * (local-registers.ts says which).
 */
import { Vcpu } from '../vcpu/layout.ts';
import type { Code, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';

const V = Vcpu.offsets;
export const GENERAL = 16;

/** Sets of general registers (bits 0..15) and vector registers (bits 16..31), read and written. */
export class RegisterSet {
  read = 0;
  written = 0;

  add(other: { readonly read: number; readonly written: number }): void {
    this.read |= other.read;
    this.written |= other.written;
  }
}
export const generalBit = (number: number): number => 1 << number;
export const vectorBit = (number: number): number => 1 << (number + GENERAL);

/** Number of the general or vector register at an offset of the vCPU block, with its bit; undefined if none is there. */
export function registerAt(place: number): { bit: number } | undefined {
  if (place >= V.gpr && place < V.gpr + GENERAL * 8) return { bit: generalBit((place - V.gpr) >> 3) };
  if (place >= V.ymm && place < V.ymm + GENERAL * 32) return { bit: vectorBit((place - V.ymm) >> 5) };
  return undefined;
}
const offsetOf = (index: number): number =>
  index < GENERAL ? V.gpr + index * 8 : V.ymm + (index - GENERAL) * 32;

export class Registers {
  readonly #code: Code;
  readonly #cpu: Value;
  /** General registers without a local. */
  readonly #inBlock: number;
  readonly #locals: (Local | undefined)[] = [];
  readonly touched = new RegisterSet();

  /** @param inBlock general registers that have no local */
  constructor(code: Code, cpu: Value, inBlock = 0) {
    this.#code = code;
    this.#cpu = cpu;
    this.#inBlock = inBlock;
  }

  #local(index: number): Local {
    this.#locals[index] ??= this.#code.local(index < GENERAL ? 'i64' : 'v128');
    return this.#locals[index];
  }
  /** The register, to be read. */
  general(number: number): Value {
    this.touched.read |= generalBit(number);
    return this.#inBlock & generalBit(number)
      ? w.load('i64', 8, this.#cpu, offsetOf(number))
      : this.#local(number);
  }
  vector(number: number): Local {
    this.touched.read |= vectorBit(number);
    return this.#local(number + GENERAL);
  }
  setGeneral(number: number, value: Value): void {
    this.touched.written |= generalBit(number);
    if (this.#inBlock & generalBit(number)) this.#code.store(8, this.#cpu, value, offsetOf(number));
    else this.#code.set(this.#local(number), value);
  }
  setVector(number: number, value: Value): void {
    this.touched.written |= vectorBit(number);
    this.#code.set(this.#local(number + GENERAL), value);
  }

  /** Those of a set that have locals. */
  #localsOf(set: number): number[] {
    const locals = set & ~this.#inBlock;
    return Array.from({ length: 2 * GENERAL }, (_, index) => index).filter(index => locals & (1 << index));
  }
  /** Take locals now, so that they are not among those that instructions give back. */
  reserve(set: number): void {
    for (const index of this.#localsOf(set)) this.#local(index);
  }
  /** Bring registers of a set from the vCPU block. */
  load(set: number): void {
    for (const index of this.#localsOf(set)) {
      const value =
        index < GENERAL
          ? w.load('i64', 8, this.#cpu, offsetOf(index))
          : w.loadV128(this.#cpu, offsetOf(index));
      this.#code.set(this.#local(index), value);
    }
  }
  /** Bring registers of a set to the vCPU block. */
  store(set: number): void {
    for (const index of this.#localsOf(set)) {
      this.#code.store(index < GENERAL ? 8 : 16, this.#cpu, this.#local(index), offsetOf(index));
    }
  }
}
