/**
 * The ways into a region and out of it. What was spread over locals of the function while it ran (registers, flags, fuel, where to
 * go on) is brought from the vCPU block at the beginning, and back at the end, once for all exits.
 *
 *     exit         everything to the vCPU block; on to the next region, or back with an outcome
 *     stack fault  the same, for a fault that is another one in the stack segment
 *     left         from an instruction that a handler has run: it is all in the vCPU block already
 */
import { Mode } from '../decode/mode.ts';
import { CodeRecord } from '../decode/record.ts';
import { Outcome } from '../interpreter/emitter.ts';
import { probe } from '../interpreter/probe.ts';
import { CHAINED } from '../interpreter/pseudo.ts';
import { Vector } from '../isa/emitter.ts';
import { FIRST_CALLED, FIRST_REGION } from '../isa/form-numbers.ts';
import { Exit } from '../vcpu/exit.ts';
import { SIMD_MASKS, Vcpu } from '../vcpu/layout.ts';
import type { Code, Label, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { FlagTracker } from './flag-tracker.ts';
import { ENTRY_COUNT_OFFSET, ENTRY_REGION_OFFSET } from './layout.ts';
import type { Surroundings } from './module.ts';
import { PAGE, type Place } from './region.ts';
import type { RegionPages } from './region-pages.ts';
import type { RegisterSet, Registers } from './registers.ts';

const V = Vcpu.offsets;
/** Taken from the fuel to make the next check fail when the region's own code has changed. */
const CODE_CHANGED = 1 << 30;
/** What a region returns where nothing is wrong: go on at `rip`. Never passed on as such by called handlers. */
const GO_ON = 0;

export interface DoorwayParts {
  readonly code: Code;
  readonly cpu: Value;
  readonly surroundings: Surroundings;
  readonly registers: Registers;
  /** All registers of the region. */
  readonly touched: RegisterSet;
  readonly flags: FlagTracker;
  /** The region's record in machine memory: what differs from machine to machine is read from behind it. */
  readonly record: Local;
  readonly pages: RegionPages;
}
/** Of the region, for its prologue. */
export interface Entrance {
  /** Instructions until fuel is looked at again. */
  readonly path: number;
  /** Some instruction rounds. */
  readonly rounds: boolean;
  /** There are other entries than the first. */
  readonly hasSeveral: boolean;
  /** Entries until a larger region is asked for; undefined for one that stays as it is. */
  readonly entriesToGrow: number | undefined;
}

export class Doorway {
  readonly #parts: DoorwayParts;
  readonly fuel: Local;
  /** Which of the dispatcher's targets comes next. */
  readonly next: Local;
  readonly #target: Local;
  readonly #outcome: Local;
  /** Where the code page has the record of the target, when that is known to be mapped; else 0. */
  readonly #slot: Local;
  #exit: Label = { depth: 0 };
  #stackFault: Label = { depth: 0 };
  #left: Label = { depth: 0 };

  constructor(parts: DoorwayParts) {
    const { code } = parts;
    this.#parts = parts;
    this.fuel = code.local('i32');
    this.#slot = code.local('i32');
    this.next = code.local('i32');
    this.#target = code.local('i64');
    this.#outcome = code.local('i32');
  }

  // ---- in ----

  /** @param loadState brings what else the region keeps in locals */
  enter({ path, rounds, hasSeveral, entriesToGrow }: Entrance, loadState: () => void): void {
    const { code, cpu, flags, pages, record, registers, touched } = this.#parts;
    // The record that led here has been paid for already.
    code.set(this.fuel, w.add(w.load('i32', 4, cpu, V.fuel), w.i32(1)));
    const lacksFuel = this.lacksFuel(path);
    code.if(rounds ? w.or(lacksFuel, this.isAnyUnmasked()) : lacksFuel, () => {
      flags.normalise();
      code.store(4, cpu, this.fuel, V.fuel);
      // Only the interpreter knows the way around.
      const isChained = w.and(code.parameter(1), w.i32(CHAINED));
      code.return(w.select(isChained, w.i32(Outcome.jump), w.i32(Outcome.next)));
    });
    const entry = code.let(this.entry);
    if (entriesToGrow !== undefined) this.#countEntry(entry, entriesToGrow);
    code.set(record, w.load('i32', 4, entry, ENTRY_REGION_OFFSET));
    code.set(pages.first, w.load('i64', 8, cpu, V.codePage));
    if (hasSeveral) {
      const { displacement, immediate } = CodeRecord.offsets;
      code.set(pages.first, w.sub(pages.first, w.load('i64', 8, entry, displacement)));
      code.set(this.next, w.load('i32', 4, entry, immediate));
    }
    loadState();
    registers.load(touched.read | touched.written);
  }
  /** The record that led here. */
  get entry(): Value {
    return w.and(this.#parts.code.parameter(1), w.i32(~CHAINED));
  }
  /** Entering takes as long as many instructions do: what is entered often had better be part of something larger. */
  #countEntry(record: Value, entriesToGrow: number): void {
    const { code, cpu, surroundings } = this.#parts;
    const count = code.let(w.add(w.load('i32', 4, record, ENTRY_COUNT_OFFSET), w.i32(1)));
    code.store(4, record, count, ENTRY_COUNT_OFFSET);
    const grow = () => code.call(surroundings.hot, cpu, w.or(record, w.i32(CHAINED)));
    code.if(w.eq(count, w.i32(entriesToGrow)), grow, undefined, false);
  }

  // ---- fuel ----

  /** Less fuel than for so many instructions; a kick is more than any fuel. */
  lacksFuel(instructions: number): Value {
    return w.ltS(this.fuel, w.or(w.load('i32', 4, this.#parts.cpu, V.kick), w.i32(instructions)));
  }
  refund(instructions: number): void {
    if (instructions > 0) this.#parts.code.set(this.fuel, w.add(this.fuel, w.i32(instructions)));
  }
  /** Code of this region has changed: the next look at the fuel says that there is none. */
  forfeit(): void {
    this.#parts.code.set(this.fuel, w.sub(this.fuel, w.i32(CODE_CHANGED)));
  }
  /** Some exception of SSE and AVX is not masked: code that rounds is the interpreter's then. */
  isAnyUnmasked(): Value {
    return w.ne(w.and(w.load('i32', 4, this.#parts.cpu, V.mxcsr), w.i32(SIMD_MASKS)), w.i32(SIMD_MASKS));
  }

  // ---- out, from where a branch of its own ends ----

  /**
   * For a known place.
   * @param isMapped the place's page is mapped for certain
   */
  leave(place: Place, isMapped: boolean): void {
    const { pages } = this.#parts;
    this.#goOnAt(pages.address(place), isMapped ? pages.slot(place) : w.i32(0));
  }
  /** For a computed address. */
  leaveFor(target: Value): void {
    this.#goOnAt(target, w.i32(0));
  }
  #goOnAt(target: Value, slot: Value): void {
    const { code, flags } = this.#parts;
    flags.toEpilogue();
    code.set(this.#slot, slot);
    code.set(this.#target, target);
    code.set(this.#outcome, w.i32(GO_ON));
    code.br(this.#exit);
  }
  /** With the pending exception of the instruction at a place; flags are what they were before it. */
  fault(place: Place, inStack: boolean): void {
    const { code, flags, pages } = this.#parts;
    flags.toEpilogue();
    code.set(this.#target, pages.address(place));
    code.set(this.#outcome, w.i32(Outcome.fault));
    code.br(inStack ? this.#stackFault : this.#exit);
  }
  /** With the outcome of a handler that has run the instruction at a place: past the epilogue. */
  handlerLeft(outcome: Value, place: Place): void {
    const { code, pages } = this.#parts;
    code.set(this.#outcome, outcome);
    code.set(this.#target, pages.address(place));
    code.br(this.#left);
  }

  // ---- where these lead ----

  /** Write the region's blocks, and the ways out around them. */
  around(blocks: () => void): void {
    const { code, cpu } = this.#parts;
    code.block(left => {
      this.#left = left;
      code.block(exit => {
        this.#exit = exit;
        code.block(stackFault => {
          this.#stackFault = stackFault;
          blocks();
          code.unreachable();
        });
        // A #GP(0) for an address that is not canonical is #SS(0) in the stack segment.
        code.if(w.eq(w.load('i32', 4, cpu, V.exHasError), w.i32(2)), () =>
          code.store(4, cpu, w.i32(Vector.SS), V.exVector),
        );
      });
      this.#epilogue();
    });
    this.#afterHandler();
  }

  /** Everything to the vCPU block; on to another region if there is one at the target. */
  #epilogue(): void {
    const { code, cpu, flags, registers, touched } = this.#parts;
    registers.store(touched.written);
    flags.epilogue();
    code.if(w.ltS(this.fuel, w.i32(-CODE_CHANGED / 2)), () => {
      code.set(this.fuel, w.add(this.fuel, w.i32(CODE_CHANGED)));
      code.store(4, cpu, w.i32(0), V.regionsChanged);
    });
    code.store(8, cpu, this.#target, V.rip);
    code.if(w.eqz(this.#outcome), () => {
      code.if(w.gtS(this.fuel, w.load('i32', 4, cpu, V.kick)), () => {
        code.if(
          this.#slot,
          () => {
            code.store(8, cpu, w.and(this.#target, w.i64(-PAGE)), V.codePage);
            const record = code.let(w.load('i32', 4, this.#slot));
            code.if(record, () => this.#chain(record));
          },
          () => probe(code, cpu, this.#target, record => this.#chain(record)),
        );
      });
      flags.normalise();
      code.store(4, cpu, this.fuel, V.fuel);
      code.return(w.i32(Outcome.jump));
    });
    flags.normalise();
    code.store(4, cpu, this.fuel, V.fuel);
  }
  /** Go on in the region that `record` is the entry of, if it is one. */
  #chain(record: Value): void {
    const { code, cpu, surroundings } = this.#parts;
    const handler = code.let(w.load('i32', 2, record, CodeRecord.offsets.handler));
    code.if(w.geU(handler, w.i32(FIRST_REGION)), () => {
      code.store(4, cpu, w.sub(this.fuel, w.i32(1)), V.fuel);
      const slot = w.sub(handler, w.i32(FIRST_CALLED));
      const chained = w.or(record, w.i32(CHAINED));
      code.returnCallIndirect(surroundings.handlerType, slot, cpu, chained);
    });
  }

  /** The outcome is not `next`: a fault is delivered here, with rip at the target. */
  #afterHandler(): void {
    const { code, cpu, surroundings } = this.#parts;
    code.if(w.eq(this.#outcome, w.i32(Outcome.fault)), () => {
      code.store(8, cpu, this.#target, V.rip);
      const reason = code.let(code.call(surroundings.runtime('deliver'), cpu));
      code.if(reason, () => {
        code.store(4, cpu, reason, V.exitReason);
        // It has not run yet.
        const isToCome = w.eq(reason, w.i32(Exit.exclusive));
        code.store(4, cpu, w.add(w.load('i32', 4, cpu, V.fuel), isToCome), V.fuel);
        code.return(w.i32(Outcome.exit));
      });
      code.set(this.#outcome, w.i32(Outcome.reload));
    });
    code.if(w.eq(this.#outcome, w.i32(Outcome.repeat)), () => {
      code.store(8, cpu, this.#target, V.rip);
      code.return(w.i32(Outcome.reload));
    });
    code.if(w.eq(this.#outcome, w.i32(Outcome.exit)), () => code.return(this.#outcome));
    // To a kernel's entry, or back from it: code that has a region as likely as any.
    const size = w.and(w.load('i32', 4, cpu, V.mode), w.i32(Mode.sizeMask));
    code.set(this.fuel, w.load('i32', 4, cpu, V.fuel));
    const goesOn = w.gtS(this.fuel, w.load('i32', 4, cpu, V.kick));
    code.if(w.and(w.eq(size, w.i32(Mode.code64)), goesOn), () =>
      probe(code, cpu, w.load('i64', 8, cpu, V.rip), record => this.#chain(record)),
    );
    code.return(w.i32(Outcome.reload));
    code.unreachable();
  }
}
