/**
 * The interpreter's emitter: operands come from the decoded record at hand, registers live in the vCPU block.
 *
 * It serves two kinds of code. *Inline* handlers are cases of the main loop and leave by branching; *called* handlers
 * are functions of their own and leave by returning one of `Outcome`.
 */
import { invariant } from '../../base/errors.ts';
import { CodeRecord, LINK_OFFSET, RECORD_BYTES } from '../decode/record.ts';
import type { OperandSpec } from '../isa/definition.ts';
import { Emitter, type Operand, truncate, typeOf, unsupportedAccess } from '../isa/emitter.ts';
import type { Form } from '../isa/forms.ts';
import { memoryOperand, refusingOperand } from '../isa/memory-operand.ts';
import { sizeOf } from '../isa/operand-size.ts';

import { Seg, Vcpu } from '../vcpu/layout.ts';
import type { Callee, Code, Label, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { countJump } from './heat.ts';

const R = CodeRecord.offsets;

/** VEX entries have no second immediate: registers that vvvv and the immediate name lie in its place. */
const VVVV = R.immediate + 4;
const IS4 = R.immediate + 6;

/** What a called handler returns. `jump`: go on at the `rip` in the vCPU block, which `checkTarget` has seen. */
export const Outcome = { next: 0, fault: 1, reload: 2, repeat: 3, exit: 4, jump: 5 } as const;

/** Functions an emitter may call. */
export interface Functions {
  runtime(name: string): Callee;
}

/** Where inline code branches to. */
export interface LoopLabels {
  readonly dispatch: Label;
  readonly fault: Label;
  readonly jump: Label;
  readonly link: Label;
  readonly reload: Label;
  readonly exit: Label;
  /** Holds the target for `jump` and `link`. */
  readonly target: Local;
  readonly fuel: Local;
}

export class InterpreterEmitter extends Emitter {
  readonly cpu: Value;
  readonly #record: Local;
  readonly #functions: Functions;
  readonly #loop: LoopLabels | undefined;
  readonly rep: 0 | 1 | 2;

  /** @param loop labels of the main loop for inline handlers, undefined for called ones */
  constructor(
    code: Code,
    form: Pick<Form, 'size' | 'mode64' | 'rep' | 'addressSize' | 'lock'>,
    cpu: Value,
    record: Local,
    functions: Functions,
    loop?: LoopLabels,
  ) {
    super(code, form.size, form.mode64, form.addressSize);
    this.cpu = cpu;
    this.rep = form.rep;
    this.locked = form.lock;
    this.#record = record;
    this.#functions = functions;
    this.#loop = loop;
  }

  // ---- the record ----

  recordField(name: 'reg' | 'rm' | 'base' | 'index' | 'segment' | 'offset'): Value {
    return w.load('i32', 2, this.#record, R[name]);
  }
  recordLength(): Value {
    return w.load('i32', 1, this.#record, R.length);
  }
  immediate32(): Value {
    return w.load('i32', 4, this.#record, R.immediate);
  }
  /** Machine address of the register that a record field names. */
  place(name: 'reg' | 'rm' | 'base' | 'index' | 'segment'): Value {
    return w.add(this.cpu, this.recordField(name));
  }
  /** The same for the registers that only VEX entries have. */
  #vexPlace(offset: number): Value {
    return this.let(w.add(this.cpu, w.load('i32', 2, this.#record, offset)));
  }
  #register64(name: 'base' | 'index' | 'segment'): Value {
    return w.load('i64', 8, this.place(name), 0);
  }
  /** base + (index << scale) + displacement, without the segment. */
  offsetAddress(): Value {
    const scale = w.load('i64', 1, this.#record, R.scale);
    const scaled = w.shl(this.#register64('index'), scale);
    const displacement = w.load('i64', 8, this.#record, R.displacement);
    return w.add(w.add(this.#register64('base'), scaled), displacement);
  }

  // ---- operands ----

  register(number: number, size: number): Operand {
    return this.#integerAt(this.cpu, Vcpu.offsets.gpr + number * 8, size);
  }
  vectorRegister(number: number): Operand {
    return this.#vector(w.add(this.cpu, w.i32(Vcpu.offsets.ymm + number * 32)), 32, true);
  }
  #integerAt(base: Value, offset: number, size: number): Operand {
    const read = () => this.let(w.load(typeOf(size), size, base, offset));
    const write = (value: Value) =>
      size === 4
        ? this.code.store(8, base, w.extendU(value), offset)
        : this.code.store(size, base, value, offset);
    return {
      ...noAccess,
      size,
      isMemory: false,
      read,
      write,
      modify: change => write(change(read())),
      location: () => w.add(base, w.i32(offset)),
    };
  }

  /** @param second it is the second immediate, which lies 4 bytes behind the first */
  operand(spec: OperandSpec, form: Form, second = false): Operand {
    const size = sizeOf(spec.size, form.size);
    const vex = form.definition.vex !== undefined;
    switch (spec.kind) {
      case 'E':
      case 'R':
        return form.memory ? this.#memory(size, form) : this.#integerAt(this.let(this.place('rm')), 0, size);
      case 'M':
      case 'O':
        return this.#memory(size, form);
      case 'G':
        return this.#integerAt(this.let(this.place('reg')), 0, size);
      case 'Z':
        return this.#integerAt(this.let(this.place('rm')), 0, size);
      case 'F':
        return size === 16
          ? this.#vector(w.add(this.cpu, w.i32(Vcpu.offsets.ymm)), 16, vex)
          : this.register(spec.register, size);
      case 'I':
        return this.#immediate(spec.signed ? form.size : size, second ? 4 : 0);
      case 'J':
        return this.#immediate(8);
      case 'L':
        return { ...noAccess, size: 1, isMemory: false, read: () => w.i32(1) };
      case 'S':
      case 'C':
      case 'D':
        return { ...noAccess, size, isMemory: false, number: () => this.recordField('reg') };
      case 'T':
        return { ...noAccess, size, isMemory: false, number: () => this.recordField('rm') };
      case 'A':
        return {
          ...noAccess,
          size: 8,
          isMemory: false,
          address: () => w.load('i64', 8, this.#record, R.immediate),
        };
      case 'B':
        return this.#integerAt(this.#vexPlace(VVVV), 0, size);
      case 'V':
        return this.#vector(this.let(this.place('reg')), size, vex);
      case 'U':
        return this.#vector(this.let(this.place('rm')), size, vex);
      case 'H':
        return this.#vector(this.#vexPlace(VVVV), size, vex);
      case 'Y':
        return this.#vector(this.#vexPlace(IS4), size, vex);
      case 'K':
        return {
          ...this.#vector(this.let(this.place('rm')), size, vex),
          number: () => w.load('i32', 1, this.#record, R.scale),
        };
      case 'W':
        return form.memory ? this.#memory(size, form) : this.#vector(this.let(this.place('rm')), size, vex);
      case 'P':
        return this.#mmx(this.let(this.place('reg')));
      case 'N':
        return this.#mmx(this.let(this.place('rm')));
      case 'Q':
        return form.memory ? this.#memory(size, form) : this.#mmx(this.let(this.place('rm')));
      case 'X':
        invariant(false, 'X gives a size, it is no operand');
    }
  }

  #immediate(size: number, offset = 0): Operand {
    const read = () => this.let(w.load(typeOf(size), size, this.#record, R.immediate + offset));
    return { ...noAccess, size, isMemory: false, read };
  }

  #memory(size: number, form: Form): Operand {
    const address = () => this.let(w.add(this.offsetAddress(), this.segmentBase()));
    return memoryOperand(this, form.definition, size, address, noAccess);
  }

  #vector(location: Value, size: number, vex: boolean): Operand {
    const read = (half: number) => this.let(w.loadV128(location, 16 * half));
    const writeParts = (parts: readonly Value[]) => {
      const kept = parts.map(part => this.let(part));
      const high = kept[1] ?? w.v128(new Array<number>(16).fill(0));
      this.code.store(16, location, kept[0] as Value);
      this.code.store(16, location, high, 16);
    };
    return {
      ...noAccess,
      size,
      isMemory: false,
      read: () => this.let(w.load(typeOf(size), size, location)),
      write: value => this.code.store(size, location, value),
      readVector: () => read(0),
      writeVector: value => (vex ? writeParts([value]) : this.code.store(16, location, value)),
      readParts: () => (size === 32 ? [read(0), read(1)] : [read(0)]),
      writeParts,
      location: () => location,
    };
  }

  /** MMX registers are the lower 64 bits of the x87 registers, whose exponent a write fills with ones. */
  #mmx(location: Value): Operand {
    return {
      ...noAccess,
      size: 8,
      isMemory: false,
      read: () => this.let(w.load('i64', 8, location)),
      write: value => {
        this.code.store(8, location, value);
        this.code.store(2, location, w.i32(0xffff), 8);
      },
      readVector: () => this.let(w.loadZeroExtended(8, location)),
      readParts: () => [this.let(w.loadZeroExtended(8, location))],
      writeVector: value => {
        this.code.store(8, location, w.extractLane('i64x2', value, 0));
        this.code.store(2, location, w.i32(0xffff), 8);
      },
      location: () => location,
    };
  }

  segmentBase(): Value {
    return this.#register64('segment');
  }
  segmentNumber(): Value {
    return w.shrU(w.sub(this.recordField('segment'), w.i32(Vcpu.offsets.segBase)), w.i32(3));
  }

  // ---- where we are ----

  /** `rip` of the instruction at hand plus `extra`. */
  #rip(extra?: Value): Value {
    const offset = extra ? w.add(this.recordField('offset'), extra) : this.recordField('offset');
    const linear = w.add(this.field('codePage'), w.extendU(offset));
    return w.sub(linear, this.baseOf(Seg.cs));
  }
  nextRip(): Value {
    return this.let(this.#rip(this.recordLength()));
  }
  x87Opcode(): Value {
    return this.immediate32();
  }
  synchronise(): void {
    this.setField('rip', this.#rip());
    this.synchroniseFuel();
  }
  synchroniseNext(): void {
    this.setField('rip', this.#rip(this.recordLength()));
    this.synchroniseFuel();
  }
  protected synchroniseFuel(): void {
    if (this.#loop) this.setField('fuel', this.#loop.fuel);
  }

  // ---- ways out ----

  #leave(outcome: number, label: (loop: LoopLabels) => Label): void {
    if (this.#loop) this.code.br(label(this.#loop));
    else this.code.return(w.i32(outcome));
  }
  leaveFault(): void {
    this.#leave(Outcome.fault, loop => loop.fault);
  }
  leaveNext(): void {
    if (this.#loop) {
      this.set(this.#record, w.add(this.#record, w.i32(RECORD_BYTES)));
      this.code.br(this.#loop.dispatch);
    } else this.code.return(w.i32(Outcome.next));
  }
  leaveRepeat(): void {
    this.#leave(Outcome.repeat, loop => loop.dispatch);
  }
  branchTarget(): Value {
    const to = w.add(this.nextRip(), w.extendS(this.immediate32()));
    return this.mode64 ? to : w.extendU(truncate(this.size, w.wrap(to)));
  }
  movedAddress(moved: Value): Value {
    const address = this.let(moved);
    // Other than plain 64-bit addresses: what the address record would have done must be done after the addition.
    const kind = this.let(this.immediate32());
    const result = this.local('i64');
    this.set(result, address);
    this.if(kind, () => {
      this.faultIf(this.runtime('legacyAddress', address, kind));
      this.set(result, this.field('ea'));
    });
    return result;
  }
  leaveJump(rip: Value): void {
    if (this.#loop) {
      this.set(this.#loop.target, rip);
      this.code.br(this.#loop.jump);
    } else {
      this.setField('rip', rip);
      this.code.return(w.i32(Outcome.reload));
    }
  }
  leaveBranch(distance: Operand): void {
    if (this.#loop) {
      const link = this.let(w.load('i32', 4, this.#record, LINK_OFFSET));
      this.if(link, () => {
        this.set(this.#record, link);
        countJump(this.code, this.cpu, this.#record, this.#functions);
        this.code.br((this.#loop as LoopLabels).dispatch);
      });
      this.set(this.#loop.target, this.branchTarget());
      this.code.br(this.#loop.link);
      return;
    }
    invariant(distance.size === 8, 'a jump distance');
    this.setField('rip', this.branchTarget());
    this.code.return(w.i32(Outcome.reload));
  }
  leaveReload(next = false): void {
    if (next) this.setField('rip', this.nextRip());
    this.#leave(Outcome.reload, loop => loop.reload);
  }
  leaveExit(reason: number, info?: Value): void {
    this.setField('rip', this.nextRip());
    this.setField('exitReason', w.i32(reason));
    if (info) this.setField('exitInfo', info);
    this.#leave(Outcome.exit, loop => loop.exit);
  }
  /** Called handlers only: cuts the slice short, so that the caller of the engine looks for interrupts. */
  leaveInterruptWindow(delay = false): void {
    invariant(!this.#loop, 'instructions that open an interrupt window are called handlers');
    this.runtime('openInterruptWindow', w.i32(delay ? 1 : 0));
  }
  softwareInterrupt(vector: Value, kind: number): void {
    this.synchroniseNext();
    this.faultIf(this.runtime('interrupt', vector, w.i32(kind)));
    this.#leave(Outcome.reload, loop => loop.reload);
  }

  runtime(name: string, ...args: Value[]): Value {
    return this.code.call(this.#functions.runtime(name), this.cpu, ...args);
  }
}

const noAccess = refusingOperand(unsupportedAccess);
