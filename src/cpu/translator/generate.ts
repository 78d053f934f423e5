/**
 * Writes a region as one WebAssembly function `(cpu, record) -> Outcome`, which the interpreter calls like a handler.
 *
 *     prologue    enough fuel? registers and the page's address into locals (doorway.ts)
 *     blocks      nested by what dominates what (structure.ts)
 *     exit        registers, flags, fuel and rip to the vCPU block; on to the next region, or back with an outcome (doorway.ts)
 *
 * Fuel is exact: a block pays for all its instructions at its beginning, and whoever leaves in the middle gets back what was
 * not executed. It is looked at where a path without loops begins, for the longest such path: on the ways that lead to
 * the head of a loop.
 */
import { invariant } from '../../base/errors.ts';
import { noteTarget } from '../interpreter/jump-targets.ts';
import type { Neighbours } from '../isa/emitter.ts';
import type { FlagState } from '../isa/flags.ts';
import { precisionOf } from '../isa/float-range.ts';
import { FIRST_CALLED } from '../isa/form-numbers.ts';
import { Vcpu } from '../vcpu/layout.ts';
import type { Callee, Label, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { Code } from '../wasm/code.ts';
import { type Accesses, type AccessGroup, type GroupedAccess, groupAccesses } from './access-groups.ts';
import { flowOf } from './dispatcher.ts';
import { Doorway } from './doorway.ts';
import { emitSemantics, type Site, TranslatorEmitter } from './emitter.ts';
import { FlagTracker, type Tracked } from './flag-tracker.ts';
import { FuelPaths } from './fuel-paths.ts';
import type { Instruction } from './instruction.ts';
import { BlockCount, calledOffset, countOffset, ENTRY_COUNT_OFFSET } from './layout.ts';
import { liveFlags } from './liveness.ts';
import { withoutLocals } from './local-registers.ts';
import type { Surroundings } from './module.ts';
import { perfectHash } from './perfect-hash.ts';
import {
  type Block,
  calledInstructions,
  countedBlocks,
  displaced,
  type Edge,
  PAGE,
  type Place,
  type Region,
  reachesOver,
} from './region.ts';
import { RegionPages } from './region-pages.ts';
import { RegisterSet, Registers } from './registers.ts';
import type { Structure } from './structure.ts';
import { emitSwitch } from './switch.ts';
import { calledVectors, touchedBy } from './touched.ts';
import { traitsOf } from './traits.ts';

const V = Vcpu.offsets;
const FLAG_TF = 1 << 8;
/** So many rounds of a loop in a small region count as much as one entry. */
const ROUNDS_AN_ENTRY = 16;
/** More targets than this are told apart by a table. */
const COMPARED_TARGETS = 3;

export function generateRegion(region: Region, surroundings: Surroundings): Code {
  return new RegionGenerator(region, surroundings).generate();
}

class RegionGenerator implements Site {
  readonly #region: Region;
  readonly #surroundings: Surroundings;
  readonly #structure: Structure;
  readonly #code = new Code(['i32', 'i32']);
  readonly #needs: readonly boolean[];
  readonly #paths: FuelPaths;
  /** All registers of the region. */
  readonly #touched = new RegisterSet();
  readonly #flags: FlagTracker;
  /** What the flags are when a merge is reached, from the edges written so far. */
  readonly #incoming: (Tracked | undefined)[] = [];
  readonly #labels: { loop?: Label; merge?: Label }[];
  /** The instructions that handlers run, in the order of what is behind the region's record. */
  readonly #called: readonly Instruction[];
  readonly #counted: readonly Block[];

  readonly cpu: Value;
  /** The region's record in machine memory: what differs from machine to machine is read from behind it. */
  readonly #record: Local;
  readonly registers: Registers;
  readonly tlb: Local;
  readonly #pages: RegionPages;
  readonly #doorway: Doorway;
  /** What MXCSR says, when some instruction rounds; else undefined. */
  #precision: Local | undefined;
  /** Vectors with the same 32 bits in all lanes: constants that take several machine instructions each time. */
  readonly #lanes = new Map<number, Local>();
  readonly #accesses: readonly (readonly Accesses[])[];
  /** Those that the TLB has been asked about on the way to the instruction being written. */
  #openGroups: AccessGroup[] = [];
  /** Locals below this belong to what surrounds the blocks being written. */
  #mark = 0;
  /** The instruction being written, what comes behind it in its block, and the flags before it. */
  #at: { block: Block; instruction: Instruction; behind: number; before: Tracked };

  constructor(region: Region, surroundings: Surroundings) {
    const code = this.#code;
    this.#region = region;
    this.#surroundings = surroundings;
    this.#structure = flowOf(region.blocks);
    this.#accesses = groupAccesses(region.blocks, this.#structure.order, id => this.#soleWayTo(id));
    this.#paths = new FuelPaths(block => this.#isLoopHead(block));
    this.#needs = liveFlags(region, block => this.#isLoopHead(block));
    this.#labels = region.blocks.map(() => ({}));
    this.#called = calledInstructions(region);
    this.#counted = countedBlocks(region);
    this.cpu = code.parameter(0);
    this.#record = code.local('i32');
    this.#pages = new RegionPages(code, this.cpu, this.#record, [...region.codePages.keys()]);
    this.tlb = code.local('i32');
    this.#flags = new FlagTracker(code, this.cpu, surroundings.computeAux);
    this.registers = new Registers(code, this.cpu, withoutLocals(region.blocks, this.#structure));
    this.#doorway = new Doorway({
      ...{ code, cpu: this.cpu, surroundings, registers: this.registers, touched: this.#touched },
      ...{ flags: this.#flags, record: this.#record, pages: this.#pages },
    });
    for (const { instructions } of region.blocks) {
      for (const instruction of instructions) {
        this.#touched.add(touchedBy(instruction));
        const { rounds, lanes } = traitsOf(instruction.form);
        if (rounds) this.#precision ??= code.local('i32');
        for (const word of lanes) if (!this.#lanes.has(word)) this.#lanes.set(word, code.local('v128'));
      }
    }
    this.registers.reserve(this.#touched.read | this.#touched.written);
    const block = region.blocks.find(({ instructions }) => instructions.length > 0) as Block;
    this.#at = {
      block,
      instruction: block.instructions[0] as Instruction,
      behind: 0,
      before: { where: 'block' },
    };
  }

  generate(): Code {
    const code = this.#code;
    const { blocks, entries, entriesToGrow } = this.#region;
    const entrance = {
      path: this.#paths.from(blocks[0] as Block),
      rounds: this.#precision !== undefined,
      hasSeveral: entries.length > 1,
      entriesToGrow,
    };
    this.#doorway.enter(entrance, () => this.#loadState());
    for (const [word, local] of this.#lanes) code.set(local, w.simd('i32x4.splat', w.i32(word)));
    this.#mark = code.nrLocalsTaken;
    this.#doorway.around(() => this.#tree(0));
    return code;
  }

  #loadState(): void {
    this.reloadTables();
    if (this.#precision) this.#code.set(this.#precision, precisionOf(w.load('i32', 4, this.cpu, V.mxcsr)));
  }
  reloadTables(): void {
    this.#closeGroups();
    this.#code.set(this.tlb, w.load('i32', 4, this.cpu, V.tlb));
  }

  /**
   * Leave for a known place; `unused` instructions were paid for and not executed.
   * @param from page of the block that is left, which is mapped for certain
   */
  #leave(place: Place, unused: number, from = this.#at.block.place.page): void {
    this.#doorway.refund(unused);
    this.#doorway.leave(place, place.page === from);
  }

  // ---- blocks ----

  #isLoopHead(block: Block): boolean {
    return this.#structure.isLoopHead[block.id] === true;
  }

  /** The block whose edge is the only one to a block, which is written there then. */
  #soleWayTo(id: number): number | undefined {
    const { isMerge, isLoopHead, dominator } = this.#structure;
    return isMerge[id] || isLoopHead[id] ? undefined : dominator[id];
  }
  /** A block, and all that it dominates. */
  #tree(id: number): void {
    const { children, isMerge, isLoopHead } = this.#structure;
    const merges = (children[id] ?? []).filter(child => isMerge[child]);
    const block = this.#region.blocks[id] as Block;
    const labels = this.#labels[id] as { loop?: Label };
    if (!isLoopHead[id]) {
      this.#within(block, merges);
      return;
    }
    // The prologue has looked already.
    if (id !== 0 && block.control !== 'dispatch') this.#requireFuel(block, block.place);
    if (this.#needs[id]) this.#flags.toLocals();
    this.#code.loop(label => {
      labels.loop = label;
      this.#flags.now = { where: 'locals', kind: undefined };
      this.#within(block, merges);
    });
  }

  /** The block's own code, inside of blocks that lead to the merges behind it. */
  #within(block: Block, merges: readonly number[]): void {
    const last = merges.at(-1);
    if (last === undefined) {
      this.#block(block);
      return;
    }
    const labels = this.#labels[last] as { merge?: Label };
    this.#code.block(label => {
      labels.merge = label;
      this.#within(block, merges.slice(0, -1));
    });
    this.#flags.now = this.#incoming[last] ?? { where: 'locals', kind: undefined };
    this.#closeGroups();
    this.#tree(last);
  }

  #edge(from: Block, edge: Edge): void {
    const { block } = edge;
    if (!block) {
      this.#leave(edge.place, 0);
      return;
    }
    if (edge.crosses) this.#requireMapped(edge.place.page, edge.place, 0);
    // The last store may have changed code of this region. On the way into a loop the fuel is looked at anyway.
    if (!this.#isLoopHead(block) && edge.dispatch === undefined && mayChangeCode(from.instructions.at(-1))) {
      this.#code.if(w.ltS(this.#doorway.fuel, w.i32(0)), () => this.#leave(edge.place, 0), undefined, false);
    }
    if (edge.dispatch !== undefined) {
      this.#requireFuel(this.#region.blocks[0] as Block, edge.place);
      this.#code.set(this.#doorway.next, w.i32(edge.dispatch));
      this.#flags.toLocals();
      this.#code.br(this.#labels[0]?.loop as Label);
      return;
    }
    const { position, isMerge } = this.#structure;
    const labels = this.#labels[block.id] as { loop?: Label; merge?: Label };
    if ((position[block.id] as number) <= (position[from.id] as number)) {
      this.#requireFuel(block, edge.place);
      if (this.#needs[block.id]) this.#flags.toLocals();
      this.#code.br(labels.loop as Label);
    } else if (isMerge[block.id]) {
      this.#meet(block.id);
      this.#code.br(labels.merge as Label);
    } else {
      const open = this.#openGroups.map(group => [group, group.host] as const);
      this.#tree(block.id);
      this.#closeGroups();
      for (const [group, host] of open) group.host = host;
      this.#openGroups = open.map(([group]) => group);
    }
  }

  /** Agree with the other edges to a merge about where the flags are. */
  #meet(id: number): void {
    // Before a loop the region may be left.
    if (!this.#needs[id] && !this.#structure.isLoopHead[id]) return;
    const { kind } = this.#flags;
    const known = this.#incoming[id];
    const isSame = !known || (known.where === 'locals' && known.kind === kind);
    this.#incoming[id] = { where: 'locals', kind: isSame ? kind : undefined };
    this.#flags.toLocals();
  }

  /**
   * Leave for `place` if a page is mapped otherwise than when the region was made.
   * @param unused instructions paid for that are not executed then
   */
  #requireMapped(page: number, place: Place, unused: number): void {
    this.#pages.require(page, () => this.#leave(place, unused));
  }

  #block(block: Block): void {
    const code = this.#code;
    const outerMark = this.#mark;
    this.#mark = code.nrLocalsTaken;
    if (block.control === 'dispatch') {
      this.#dispatch(block);
      this.#mark = outerMark;
      return;
    }
    this.#count(block);
    const count = block.instructions.length;
    code.set(this.#doorway.fuel, w.sub(this.#doorway.fuel, w.i32(count)));
    block.instructions.forEach((instruction, index) => {
      const behind = count - 1 - index;
      this.#at = { block, instruction, behind, before: this.#flags.now };
      if (reachesOver(instruction.offset, instruction.length))
        this.#requireMapped(block.place.page + 1, this.#place(), behind + 1);
      if (traitsOf(instruction.form).isInline)
        emitSemantics(
          new TranslatorEmitter(code, this, instruction, this.#accesses[block.id]?.[index]),
          instruction,
        );
      else this.#callHandler(instruction, behind);
      // The very next instruction may be what a store has changed.
      if (behind > 0 && mayChangeCode(instruction)) {
        code.if(
          w.ltS(this.#doorway.fuel, w.i32(0)),
          () => this.#leave(this.#placeBehind(), behind),
          undefined,
          false,
        );
      }
      this.#openGroups = this.#openGroups.filter(({ left }) => left > 0);
      code.releaseLocals(this.#mark, this.#pinned());
    });
    if (block.next) this.#edge(block, block.next);
    code.releaseLocals(this.#mark);
    this.#mark = outerMark;
  }
  /** Locals that what follows in the block has use for. */
  #pinned(): ReadonlySet<number> {
    const flags = this.#flags.pinned();
    if (this.#openGroups.length === 0) return flags;
    return new Set([...flags, ...this.#openGroups.map(({ host }) => (host as Local).immediate)]);
  }
  #count(block: Block): void {
    const index = this.#counted.indexOf(block);
    if (index < 0) return;
    const code = this.#code;
    const offset = countOffset(this.#pages.length, this.#called.length, index) + BlockCount.offsets.count;
    const count = code.let(w.add(w.load('i32', 4, this.#record, offset), w.i32(1)));
    code.store(4, this.#record, count, offset);
    const { entriesToGrow } = this.#region;
    if (entriesToGrow === undefined || !this.#isLoopHead(block)) return;
    // A loop that is seldom entered and goes round often: the next entry is the one that counts.
    const next = () => code.store(4, this.#doorway.entry, w.i32(entriesToGrow - 1), ENTRY_COUNT_OFFSET);
    code.if(w.eq(count, w.i32(entriesToGrow * ROUNDS_AN_ENTRY)), next, undefined, false);
  }
  /** Leave for `place`, which is where `block` is about to go on, when the fuel does not last from there to the next look. */
  #requireFuel(block: Block, place: Place): void {
    const leave = () => this.#leave(place, 0, place.page);
    this.#code.if(this.#doorway.lacksFuel(this.#paths.from(block)), leave, undefined, false);
  }
  #dispatch({ id: dispatcher, targets }: Block): void {
    const blocks = targets.map(({ block }) => block as Block);
    if (this.#needs[dispatcher]) {
      this.#flags.toLocals();
      this.#flags.now = { where: 'locals', kind: undefined };
    }
    for (const { id } of blocks) this.#incoming[id] = { where: 'locals', kind: undefined };
    const labels = blocks.map(({ id }) => this.#labels[id]?.merge as Label);
    this.#code.brTable(this.#doorway.next, labels, labels[0] as Label);
  }

  /** Where the instruction being written is: blocks do not cross pages. */
  #place(): Place {
    return { page: this.#at.block.place.page, offset: this.#at.instruction.offset };
  }
  #placeBehind(): Place {
    return displaced(this.#place(), this.#at.instruction.length);
  }

  // ---- instructions that the interpreter's handlers run ----

  #callHandler(instruction: Instruction, behind: number): void {
    const code = this.#code;
    const { block } = this.#at;
    const vectors = calledVectors(instruction) & (this.#touched.read | this.#touched.written);
    const general = 0xffff;
    this.registers.store(this.#touched.written & (general | vectors));
    this.#flags.toBlock();
    code.store(4, this.cpu, w.add(this.#doorway.fuel, w.i32(behind)), V.fuel);
    if (this.#region.codePages.size > 1) {
      code.store(8, this.cpu, this.#pages.address({ page: block.place.page, offset: 0 }), V.codePage);
    }
    const slot = w.i32(instruction.form.id - FIRST_CALLED);
    const index = this.#called.indexOf(instruction);
    const record = w.add(this.#record, w.i32(calledOffset(this.#pages.length, index)));
    invariant(instruction.form.id >= FIRST_CALLED, 'forms of the main loop are written inline');
    const { handlerType } = this.#surroundings;
    const outcome = code.callIndirect(handlerType, 'i32', slot, this.cpu, record);
    code.if(outcome, () => {
      // The way out goes past the epilogue: vectors that the handler had no use for are still in locals alone.
      this.registers.store(this.#touched.written & ~(general | vectors));
      this.#doorway.handlerLeft(outcome, this.#place());
    });
    code.set(this.#doorway.fuel, w.sub(w.load('i32', 4, this.cpu, V.fuel), w.i32(behind)));
    const all = this.#touched.read | this.#touched.written;
    this.registers.load(all & (general | vectors));
    this.#loadState();
    this.#pages.forget();
    if (block.control === 'stop' && behind === 0) {
      this.#leave(this.#placeBehind(), 0);
      return;
    }
    if (this.#precision && /mxcsr|rstor/.test(instruction.form.definition.name)) {
      code.if(
        this.#doorway.isAnyUnmasked(),
        () => this.#leave(this.#placeBehind(), behind),
        undefined,
        false,
      );
    }
    code.if(w.load('i32', 4, this.cpu, V.regionsChanged), () => {
      code.store(4, this.cpu, w.i32(0), V.regionsChanged);
      this.#leave(this.#placeBehind(), behind);
    });
    // The handler may have cut the slice short.
    code.if(
      this.#doorway.lacksFuel(this.#paths.behind(block)),
      () => this.#leave(this.#placeBehind(), behind),
      undefined,
      false,
    );
  }

  // ---- what the instruction being written asks for ----

  get page(): Value {
    return this.#pages.address({ page: this.#at.block.place.page, offset: 0 });
  }
  precision(): Local {
    invariant(this.#precision, 'an instruction that rounds');
    return this.#precision;
  }
  lanes(word: number): Value {
    const local = this.#lanes.get(word | 0);
    invariant(local, 'a constant that some instruction wants');
    return local;
  }
  neighbours({ group, at }: GroupedAccess, mayOpen: boolean): Neighbours | undefined {
    group.left -= 1;
    const isOpen = group.host !== undefined;
    if (!isOpen) {
      if (!mayOpen || group.left === 0) return undefined;
      group.host = this.#code.local('i32');
      this.#openGroups.push(group);
    }
    const { table, bytes, host, isReadFirst } = group;
    return { distance: at - group.lowest, bytes, table, isReadFirst, host: host as Local, isOpen };
  }
  #closeGroups(): void {
    for (const group of this.#openGroups) group.host = undefined;
    this.#openGroups = [];
  }
  callee(name: string): Callee {
    return this.#surroundings.runtime(name);
  }
  flagState(): FlagState {
    return this.#flags.read();
  }
  setFlagState(state: FlagState): void {
    this.#flags.now = { where: 'state', state };
  }
  fault(inStack: boolean): void {
    const { behind, before } = this.#at;
    const { now } = this.#flags;
    this.#flags.now = before;
    this.#doorway.refund(behind);
    this.#doorway.fault(this.#place(), inStack);
    this.#flags.now = now;
  }
  taken(): void {
    this.#inBranch(({ taken }) => taken as Edge);
  }
  /** Ways out of the region are gone seldom, or they would be in it. */
  isTakenLikely(): boolean | undefined {
    const { taken, next } = this.#at.block;
    const [staysTaken, staysNext] = [taken?.block !== undefined, next?.block !== undefined];
    return staysTaken === staysNext ? undefined : staysTaken;
  }
  jump(target: Value): void {
    const code = this.#code;
    const { targets } = this.#at.block;
    const distance = targets.length > 0 ? code.let(w.sub(target, this.#pages.first)) : target;
    const goTo = (edge: Edge) => {
      const isIt = w.eq(distance, w.i64(distanceOf(edge.place)));
      code.if(isIt, () => this.#inBranch(() => edge), undefined, targets.length === 1 ? true : undefined);
    };
    const table =
      targets.length > COMPARED_TARGETS
        ? perfectHash(targets.map(({ place }) => distanceOf(place)))
        : undefined;
    if (table) {
      const index = w.and(w.shrU(w.wrap(distance), w.i32(table.shift)), w.i32(table.slots.length - 1));
      emitSwitch(
        code,
        index,
        table.slots.map(slot => (slot === undefined ? undefined : () => goTo(targets[slot] as Edge))),
      );
    } else for (const edge of targets) goTo(edge);
    if (this.#region.entriesToGrow !== undefined) {
      noteTarget(code, this.cpu, code.let(w.wrap(this.#pages.address(this.#place()))), target);
    }
    this.#doorway.leaveFor(target);
  }
  /** Write an edge of the block at hand where code goes on behind it. */
  #inBranch(edgeOf: (block: Block) => Edge): void {
    const at = this.#at;
    const { now } = this.#flags;
    const mark = this.#mark;
    this.#mark = this.#code.nrLocalsTaken;
    this.#edge(at.block, edgeOf(at.block));
    this.#mark = mark;
    this.#flags.now = now;
    this.#at = at;
  }
  openInterruptWindow(delay: 0 | 1): void {
    const code = this.#code;
    const { behind } = this.#at;
    const fuel = code.let(w.add(this.#doorway.fuel, w.i32(behind)));
    // As the runtime function has it, which then does it.
    const waits = w.geS(w.load('i32', 4, this.cpu, V.pendingInterrupt), w.i32(0));
    const traps = w.and(w.load('i32', 4, this.cpu, V.flagSys), w.i32(FLAG_TF));
    const isSliceOver = w.leS(fuel, w.i32(0));
    code.if(
      w.or(w.or(waits, traps), isSliceOver),
      () => {
        code.store(4, this.cpu, fuel, V.fuel);
        code.call(this.#surroundings.runtime('openInterruptWindow'), this.cpu, w.i32(delay));
        code.set(this.#doorway.fuel, w.sub(w.load('i32', 4, this.cpu, V.fuel), w.i32(behind)));
        this.#leave(this.#placeBehind(), behind);
      },
      undefined,
      false,
    );
  }
  synchroniseFuel(): void {
    this.#code.store(4, this.cpu, w.add(this.#doorway.fuel, w.i32(this.#at.behind)), V.fuel);
  }
  committed(): void {
    const code = this.#code;
    const hasChanged = w.load('i32', 4, this.cpu, V.regionsChanged);
    code.if(w.and(hasChanged, w.geS(this.#doorway.fuel, w.i32(0))), () => this.#doorway.forfeit());
  }
}

/** Bytes from the page where the region begins. */
const distanceOf = ({ page, offset }: Place): number => page * PAGE + offset;

/** It is written inline and stores to memory. */
function mayChangeCode(instruction: Instruction | undefined): boolean {
  if (!instruction) return false;
  const { isInline, stores } = traitsOf(instruction.form);
  return isInline && stores;
}
