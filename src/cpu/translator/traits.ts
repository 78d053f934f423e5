/**
 * What the translator must know of a form before it writes code: whether its semantics can be written inline, and which
 * registers it touches besides its operands. Found out by writing it once, with operands that no form implies.
 */
import type { Form } from '../isa/forms.ts';
import { signatureOf } from '../runtime/signatures-all.ts';
import { Vcpu } from '../vcpu/layout.ts';
import type { Callee } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { Code } from '../wasm/code.ts';
import { emitSemantics, NotInline, type Site, TranslatorEmitter } from './emitter.ts';
import type { Instruction } from './instruction.ts';
import { RegisterSet, Registers } from './registers.ts';

export interface Traits {
  /** Written into the region; other forms call the interpreter's handler. */
  readonly isInline: boolean;
  /** Registers read and written; the operands' stand for those of `SAMPLE`. */
  readonly touched: RegisterSet;
  /** It may store to memory. */
  readonly stores: boolean;
  /** Its arithmetic is looked after as MXCSR says. */
  readonly rounds: boolean;
  /** Words that it wants in all lanes of a vector. */
  readonly lanes: readonly number[];
  /** It can fault. */
  readonly mayLeave: boolean;
  readonly readsFlags: boolean;
  /** It replaces all arithmetic flags (if only by what they were). */
  readonly writesFlags: boolean;
}

const V = Vcpu.offsets;
/** Operand registers of the sample: none of them is implied by any instruction. */
export const SAMPLE = { reg: 13, rm: 14, base: 11, index: 12, vvvv: 10, selected: 9 } as const;

const known: (Traits | undefined)[] = [];

export function traitsOf(form: Form): Traits {
  const index = form.id;
  known[index] ??= probe(form);
  return known[index];
}

function probe(form: Form): Traits {
  const vector = (kinds: string) => form.definition.operands.some(operand => kinds.includes(operand.kind));
  const place = (number: number, isVector: boolean) => (isVector ? V.ymm + number * 32 : V.gpr + number * 8);
  const sample: Instruction = {
    record: 0,
    form,
    length: 4,
    offset: 0,
    segment: form.memory ? V.segBase : V.zero,
    reg: place(SAMPLE.reg, vector('V')),
    rm: place(SAMPLE.rm, vector('WU')),
    base: form.memory ? place(SAMPLE.base, false) : V.zero,
    index: form.memory ? place(SAMPLE.index, false) : V.zero,
    scale: 0,
    displacement: 0n,
    immediate: form.definition.vex
      ? vexImmediate(place(SAMPLE.vvvv, vector('H')), place(SAMPLE.selected, true))
      : 1n,
  };
  const code = new Code(['i32', 'i32']);
  const registers = new Registers(code, code.parameter(0));
  const seen = { stores: false, rounds: false, mayLeave: false, readsFlags: false, writesFlags: false };
  const lanes = new Set<number>();
  const callee = (name: string): Callee => {
    const { params, result } = signatureOf(name);
    return { index: 0, params, result };
  };
  const site: Site = {
    cpu: code.parameter(0),
    page: w.i64(0),
    registers,
    tlb: w.i32(0),
    precision() {
      seen.rounds = true;
      return code.local('i32');
    },
    lanes(word) {
      lanes.add(word | 0);
      return w.simd('i32x4.splat', w.i32(word));
    },
    callee,
    flagState() {
      if (!seen.writesFlags) seen.readsFlags = true;
      return { size: 8, result: w.load('i64', 8, site.cpu), aux: w.load('i32', 4, site.cpu) };
    },
    setFlagState() {
      seen.writesFlags = true;
    },
    isTakenLikely: () => undefined,
    fault() {
      seen.mayLeave = true;
    },
    taken() {},
    jump() {},
    synchroniseFuel() {},
    committed() {
      seen.stores = true;
    },
    openInterruptWindow() {
      seen.mayLeave = true;
    },
    reloadTables() {},
    neighbours: () => undefined,
  };
  try {
    emitSemantics(new TranslatorEmitter(code, site, sample), sample);
  } catch (error) {
    if (!(error instanceof NotInline)) throw error;
    return {
      isInline: false,
      touched: EVERYTHING,
      stores: true,
      rounds: false,
      lanes: [],
      mayLeave: true,
      readsFlags: true,
      writesFlags: false,
    };
  }
  return { isInline: true, touched: registers.touched, lanes: [...lanes], ...seen };
}
const vexImmediate = (vvvv: number, selected: number): bigint =>
  1n | (BigInt(vvvv) << 32n) | (BigInt(selected) << 48n);
const EVERYTHING = new RegisterSet();
EVERYTHING.read = EVERYTHING.written = -1;
