/** The guest's registers as locals of a region: general registers as i64, vector registers as v128. */
import { Vcpu } from '../vcpu/layout.ts';
import type { Code, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';

const V = Vcpu.offsets;
const GENERAL = 16;

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
  readonly #locals: (Local | undefined)[] = [];
  readonly touched = new RegisterSet();

  constructor(code: Code) {
    this.#code = code;
  }

  #local(index: number): Local {
    this.#locals[index] ??= this.#code.local(index < GENERAL ? 'i64' : 'v128');
    return this.#locals[index];
  }
  /** The register's local, to be read. */
  general(number: number): Local {
    this.touched.read |= generalBit(number);
    return this.#local(number);
  }
  vector(number: number): Local {
    this.touched.read |= vectorBit(number);
    return this.#local(number + GENERAL);
  }
  setGeneral(number: number, value: Value): void {
    this.touched.written |= generalBit(number);
    this.#code.set(this.#local(number), value);
  }
  setVector(number: number, value: Value): void {
    this.touched.written |= vectorBit(number);
    this.#code.set(this.#local(number + GENERAL), value);
  }

  /** Take locals now, so that they are not among those that instructions give back. */
  reserve(set: number): void {
    for (let index = 0; index < 32; index++) if (set & (1 << index)) this.#local(index);
  }
  /** Bring registers of a set from the vCPU block. */
  load(cpu: Value, set: number): void {
    for (let index = 0; index < 32; index++) {
      if (!(set & (1 << index))) continue;
      const value =
        index < GENERAL ? w.load('i64', 8, cpu, offsetOf(index)) : w.loadV128(cpu, offsetOf(index));
      this.#code.set(this.#local(index), value);
    }
  }
  /** Bring registers of a set to the vCPU block. */
  store(cpu: Value, set: number): void {
    for (let index = 0; index < 32; index++) {
      if (!(set & (1 << index))) continue;
      this.#code.store(index < GENERAL ? 8 : 16, cpu, this.#local(index), offsetOf(index));
    }
  }
}
