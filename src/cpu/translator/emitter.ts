/**
 * The translator's emitter: operands are known, registers live in locals, flags stay unevaluated. One is made for each
 * instruction; what surrounds it (locals, ways out, state of the flags) is its `Site`.
 */
import type { OperandSpec } from '../isa/definition.ts';
import { Emitter, type Neighbours, type Operand } from '../isa/emitter.ts';
import type { FlagState } from '../isa/flags.ts';
import { semanticSize } from '../isa/forms.ts';
import { memoryOperand, refusingOperand } from '../isa/memory-operand.ts';
import { sizeOf } from '../isa/operand-size.ts';
import { Seg, STACK_ACCESS, Vcpu } from '../vcpu/layout.ts';
import type { Callee, Code, Label, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { Accesses, GroupedAccess } from './access-groups.ts';
import type { Instruction } from './instruction.ts';
import type { Registers } from './registers.ts';

const V = Vcpu.offsets;

/** The semantics ask for something that a region does not offer: the interpreter's handler must run this form. */
export class NotInline extends Error {}
const notInline = (): never => {
  throw new NotInline();
};

/** What a region offers to the instruction at hand. */
export interface Site {
  readonly cpu: Value;
  /** Linear address of the page that the instruction starts in. */
  readonly page: Value;
  readonly registers: Registers;
  /** The TLB tables in use. */
  readonly tlb: Value;
  /** A local with what MXCSR says about inexact results. */
  precision(): Local;
  /** The same 32 bits in all lanes. */
  lanes(word: number): Value;
  callee(name: string): Callee;
  flagState(): FlagState;
  setFlagState(state: FlagState): void;
  /** Leave with the pending exception; `inStack` when the memory operand is in the stack segment. */
  fault(inStack: boolean): void;
  /** The direct branch is taken. */
  taken(): void;
  /** Is it nearly always, or nearly never? */
  isTakenLikely(): boolean | undefined;
  /** Go on at a computed address. */
  jump(target: Value): void;
  synchroniseFuel(): void;
  committed(): void;
  /** Leave behind this instruction if an interrupt waits that may be taken now, or after `delay` more instructions. */
  openInterruptWindow(delay: 0 | 1): void;
  /** The vCPU may have come to use other TLB tables. */
  reloadTables(): void;
  /** What an access shares with others; undefined when it is to be found by itself. `mayOpen`: it is executed for certain. */
  neighbours(access: GroupedAccess, mayOpen: boolean): Neighbours | undefined;
}

/** Runtime functions that touch nothing but memory and the pending exception, and one that selects the TLB. */
const SET_ALIGNMENT_CHECK = 'setAlignmentCheck';
const ALONE = ['stopOthers', 'letOthersGoOn'];
const HARMLESS = new Set(['readSlow', 'writeSlow', 'modifySlow', 'commit', SET_ALIGNMENT_CHECK, ...ALONE]);

export class TranslatorEmitter extends Emitter {
  readonly cpu: Value;
  readonly rep: 0 | 1 | 2;
  readonly #instruction: Instruction;
  readonly #site: Site;
  /** Vector registers that a runtime function is about to see, and may change, in the vCPU block. */
  #lent = 0;
  /** Within this many conditions: flags must not change there. */
  #nesting = 0;
  readonly #accesses: Accesses;
  /** The next access is one to the whole memory operand. */
  #isOfOperand = false;

  constructor(code: Code, site: Site, instruction: Instruction, accesses: Accesses = {}) {
    const { form } = instruction;
    super(code, semanticSize(form), form.mode64, form.addressSize);
    this.cpu = site.cpu;
    this.rep = form.rep;
    this.locked = form.lock;
    this.#site = site;
    this.#instruction = instruction;
    this.#accesses = accesses;
  }

  // ---- operands ----

  operand(spec: OperandSpec, isSecondImmediate: boolean): Operand {
    const { form, reg, rm, immediate } = this.#instruction;
    const size = sizeOf(spec.size, this.size);
    switch (spec.kind) {
      case 'E':
      case 'R':
        return form.memory ? this.#memory(size) : this.#general(rm, size);
      case 'M':
      case 'O':
        return this.#memory(size);
      case 'G':
        return this.#general(reg, size);
      case 'Z':
        return this.#general(rm, size);
      case 'F':
        return size === 16 ? this.#vector(V.ymm, 16) : this.register(spec.register, size);
      case 'B':
        return this.#general(vvvvOf(this.#instruction), size);
      case 'H':
        return this.#vector(vvvvOf(this.#instruction), size);
      case 'Y':
        return this.#vector(selectedOf(this.#instruction), size);
      case 'I':
        return constant(spec.signed ? this.size : size, isSecondImmediate ? immediate >> 32n : immediate);
      case 'J':
        return constant(8, immediate);
      case 'L':
        return constant(1, 1n);
      case 'V':
        return this.#vector(reg, size);
      case 'U':
        return this.#vector(rm, size);
      case 'W':
        return form.memory ? this.#memory(size) : this.#vector(rm, size);
      default:
        return notInline();
    }
  }

  register(number: number, size: number): Operand {
    return this.#general(V.gpr + number * 8, size);
  }

  vectorRegister(_number: number): Operand {
    return notInline();
  }

  #general(place: number, size: number): Operand {
    const { registers } = this.#site;
    const number = (place - V.gpr) >> 3;
    const isHigh = (place - V.gpr) % 8 === 1;
    const read = () => {
      const whole = registers.general(number);
      if (size === 8) return this.let(whole);
      const low = isHigh ? w.shrU(w.wrap(whole), w.i32(8)) : w.wrap(whole);
      return this.let(size === 4 ? low : w.and(low, w.i32(size === 1 ? 0xff : 0xffff)));
    };
    const write = (value: Value) => {
      if (size === 8) registers.setGeneral(number, value);
      else if (size === 4) registers.setGeneral(number, w.extendU(value));
      else {
        const shift = isHigh ? 8n : 0n;
        const mask = (size === 1 ? 0xffn : 0xffffn) << shift;
        const part = w.shl(w.extendU(value), w.i64(shift));
        registers.setGeneral(number, w.or(w.and(registers.general(number), w.i64(~mask)), part));
      }
    };
    return { ...NO_ACCESS, size, read, write, modify: change => write(change(read())) };
  }

  /** The lower half of a vector register is a local, the upper half stays in the vCPU block. */
  #vector(place: number, size: number): Operand {
    const { registers } = this.#site;
    const { vex } = this.#instruction.form.definition;
    const number = (place - V.ymm) >> 5;
    const whole = () => registers.vector(number);
    const writeParts = (parts: readonly Value[]) => {
      const [low, high] = parts.map(part => this.let(part));
      registers.setVector(number, low as Value);
      this.code.store(16, this.cpu, high ?? ZERO, place + 16);
    };
    return {
      ...NO_ACCESS,
      size,
      read: () => {
        if (size === 8) return this.let(w.extractLane('i64x2', whole(), 0));
        const low = w.extractLane('i32x4', whole(), 0);
        return this.let(size === 4 ? low : w.and(low, w.i32(size === 1 ? 0xff : 0xffff)));
      },
      write: value => {
        if (size < 4) notInline();
        registers.setVector(number, w.replaceLane(size === 8 ? 'i64x2' : 'i32x4', whole(), 0, value));
      },
      readVector: () => this.let(whole()),
      writeVector: value => (vex ? writeParts([value]) : registers.setVector(number, value)),
      readParts: () =>
        size === 32 ? [this.let(whole()), this.let(w.loadV128(this.cpu, place + 16))] : [this.let(whole())],
      writeParts,
      location: () => {
        this.code.store(16, this.cpu, whole(), place);
        this.#lent |= 1 << number;
        return w.add(this.cpu, w.i32(place));
      },
    };
  }

  #memory(size: number): Operand {
    const address = () => this.let(w.add(this.#effectiveAddress(), this.segmentBase()));
    const accessed = () => {
      this.#isOfOperand = true;
      return address();
    };
    return { ...memoryOperand(this, this.#instruction.form.definition, size, accessed, NO_ACCESS), address };
  }
  protected override neighbours(bytes: number, flags: number): Neighbours | undefined {
    const { stack, operand } = this.#accesses;
    const access = flags & STACK_ACCESS ? stack : this.#isOfOperand ? operand : undefined;
    this.#isOfOperand = false;
    return access?.bytes === bytes ? this.#site.neighbours(access, this.#nesting === 0) : undefined;
  }

  /** base + index * scale + displacement. */
  #effectiveAddress(): Value {
    const { base, index, scale, displacement } = this.#instruction;
    const register = (place: number) => this.#site.registers.general((place - V.gpr) >> 3);
    let sum: Value | undefined;
    if (base === V.codePage) sum = this.#site.page;
    else if (base !== V.zero) sum = register(base);
    if (index !== V.zero) {
      const scaled = w.shl(register(index), w.i64(scale));
      sum = sum ? w.add(sum, scaled) : scaled;
    }
    return sum ? w.add(sum, w.i64(displacement)) : w.i64(displacement);
  }

  segmentBase(): Value {
    const { segment } = this.#instruction;
    // In 64-bit mode only FS and GS have a base.
    const hasBase = segment >= V.segBase + Seg.fs * 8 && segment <= V.segBase + Seg.gs * 8;
    return hasBase ? this.let(w.load('i64', 8, this.cpu, segment)) : w.i64(0);
  }
  segmentNumber(): Value {
    return notInline();
  }
  override baseOf(segment: number): Value {
    return segment < Seg.fs ? w.i64(0) : super.baseOf(segment);
  }

  // ---- where we are ----

  nextRip(): Value {
    const { offset, length } = this.#instruction;
    return w.add(this.#site.page, w.i64(offset + length));
  }
  branchTarget(): Value {
    return w.add(this.nextRip(), w.i64(BigInt.asIntN(32, this.#instruction.immediate)));
  }
  movedAddress(address: Value): Value {
    return this.let(address);
  }

  // ---- the region's state ----

  override flagState(): FlagState {
    return this.#site.flagState();
  }
  override setFlagState(state: FlagState): void {
    if (this.#nesting > 0) notInline();
    this.#site.setFlagState(state);
  }
  override if(
    condition: Value,
    then: (label: Label) => void,
    otherwise?: () => void,
    likely?: boolean,
  ): void {
    this.#nesting += 1;
    super.if(condition, then, otherwise, likely);
    this.#nesting -= 1;
  }
  /** Regions that round are not entered while some exception is unmasked. */
  override readonly mayRaiseSimd = false;
  override loadMxcsr(): void {
    notInline();
  }
  override precisionState(): Value {
    return this.#site.precision();
  }
  override precisionChanged(): void {
    this.set(this.#site.precision(), super.precisionState());
  }
  override lanes(word: number): Value {
    return this.#site.lanes(word);
  }
  protected override tlb(): Value {
    return this.#site.tlb;
  }
  protected synchroniseFuel(): void {
    this.#site.synchroniseFuel();
  }
  protected override committed(): void {
    this.#site.committed();
  }

  runtime(name: string, ...args: Value[]): Value {
    if (!HARMLESS.has(name) && !isVector(this.#instruction)) notInline();
    const result = this.code.call(this.#site.callee(name), this.cpu, ...args);
    if (name === SET_ALIGNMENT_CHECK) this.#site.reloadTables();
    for (let number = 0; this.#lent >> number; number++) {
      if (!((this.#lent >> number) & 1)) continue;
      this.#site.registers.setVector(number, w.loadV128(this.cpu, V.ymm + number * 32));
    }
    return result;
  }

  // ---- ways out ----

  leaveFault(): void {
    this.#site.fault(this.#instruction.segment === V.segBase + Seg.ss * 8);
  }
  leaveBranch(): void {
    this.#site.taken();
  }
  override isBranchLikely(): boolean | undefined {
    return this.#site.isTakenLikely();
  }
  leaveJump(rip: Value): void {
    this.#site.jump(rip);
  }
  leaveInterruptWindow(delay = false): void {
    this.#site.openInterruptWindow(delay ? 1 : 0);
  }

  // What follows needs the vCPU block as it is between two instructions.
  x87Opcode(): Value {
    return notInline();
  }
  leaveNext(): void {
    notInline();
  }
  leaveRepeat(): void {
    notInline();
  }
  leaveExit(): void {
    notInline();
  }
  leaveReload(): void {
    notInline();
  }
  softwareInterrupt(): void {
    notInline();
  }
  synchronise(): void {
    notInline();
  }
  synchroniseNext(): void {
    notInline();
  }
}

const ZERO = w.v128(new Array<number>(16).fill(0));
/** Runtime functions of vector instructions work on places that they are given, and on nothing else. */
const isVector = ({ form }: Instruction): boolean =>
  form.definition.options.unit === 'sse' || form.definition.options.unit === 'avx';
/** Registers that only VEX entries have. */
export const vvvvOf = ({ immediate }: Instruction): number => Number((immediate >> 32n) & 0xffffn);
export const selectedOf = ({ immediate }: Instruction): number => Number((immediate >> 48n) & 0xffffn);

const NO_ACCESS = refusingOperand(notInline);

function constant(size: number, value: bigint): Operand {
  const read = () =>
    size === 8
      ? w.i64(value)
      : w.i32(Number(size === 4 ? BigInt.asIntN(32, value) : BigInt.asUintN(size * 8, value)));
  return { ...NO_ACCESS, size, read };
}

/** Write what the instruction does. */
export function emitSemantics(x: TranslatorEmitter, { form }: Instruction): void {
  let immediates = 0;
  const operands = form.definition.operands
    .filter(spec => spec.kind !== 'X')
    .map(spec => x.operand(spec, spec.kind === 'I' && immediates++ > 0));
  form.definition.semantics(x, ...operands);
}
