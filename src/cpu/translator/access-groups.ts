/**
 * Accesses to memory that lie at known distances from each other, and so in one page nearly always: a stack frame, the fields of a
 * structure. The first one that is executed asks the TLB for all bytes from the lowest to the highest; the others are done
 * where those were found.
 *
 * What is known of a general register within a block is that it is some unknown value plus a constant. Instructions that move
 * the stack pointer, add constants and copy registers keep that; all others make the value a new unknown.
 */

import { semanticSize } from '../isa/forms.ts';
import { RAX, RBP, RSP } from '../isa/general-registers.ts';
import { sizeOf } from '../isa/operand-size.ts';
import { Seg, TLB_READ, TLB_WRITE, Vcpu } from '../vcpu/layout.ts';
import type { Local } from '../wasm/code.ts';
import type { Instruction } from './instruction.ts';
import { type Block, PAGE } from './region.ts';
import { touchedBy } from './touched.ts';
import { traitsOf } from './traits.ts';

const V = Vcpu.offsets;
/** The more bytes, the more often they are in two pages, and every access is left to the runtime. */
const MAX_BYTES = 64;
const GENERAL = 16;

export class AccessGroup {
  table: number;
  /** Begins with reads, and is asked about for the sake of a write behind them. */
  isReadFirst = false;
  /** Bytes from the unknown value to the first byte, and to the one behind the last. */
  lowest: number;
  end: number;
  /** Accesses that are still to be written. */
  left = 0;
  /** Where the machine address of the first byte is, once the TLB has been asked. */
  host: Local | undefined;

  constructor(table: number, at: number) {
    this.table = table;
    this.lowest = this.end = at;
  }
  get bytes(): number {
    return this.end - this.lowest;
  }
  /** Take in an access, if the bytes are not too many then. */
  admits(at: number, bytes: number): boolean {
    const lowest = Math.min(this.lowest, at);
    const end = Math.max(this.end, at + bytes);
    if (end - lowest > MAX_BYTES) return false;
    this.lowest = lowest;
    this.end = end;
    this.left += 1;
    return true;
  }
}

/** One access: its group, and where it is relative to the unknown value. */
export interface GroupedAccess {
  readonly group: AccessGroup;
  readonly at: number;
  readonly bytes: number;
}
/** Accesses of one instruction: to its memory operand, and to the stack. */
export interface Accesses {
  operand?: GroupedAccess;
  stack?: GroupedAccess;
}

/**
 * The accesses of a region's instructions, by block and by number in the block.
 * @param predecessor of a block that is reached from one other block alone, which knows what that one knew at its end
 */
export function groupAccesses(
  blocks: readonly Block[],
  order: readonly number[],
  predecessor: (block: number) => number | undefined,
): readonly (readonly Accesses[])[] {
  const found: Accesses[][] = [];
  const ends: Analysis[] = [];
  for (const id of order) {
    const before = predecessor(id);
    const analysis = new Analysis(before === undefined ? undefined : ends[before]);
    const { instructions, place } = blocks[id] as Block;
    found[id] = instructions.map(instruction => analysis.follow(instruction, place.page));
    ends[id] = analysis;
  }
  return found;
}

/** A register's value: an unknown one, by number, and what has been added to it. */
interface Sum {
  readonly unknown: number;
  readonly offset: number;
}

/** So many values that nothing is known of. */
let unknowns = 0;
const fresh = (): Sum => ({ unknown: unknowns++, offset: 0 });

class Analysis {
  readonly #registers: Sum[];
  /** The last group of each unknown and table. */
  readonly #groups: Map<string, AccessGroup>;
  /** Those that begin in this block. */
  readonly #own = new Set<AccessGroup>();

  constructor(before: Analysis | undefined) {
    this.#registers = before ? [...before.#registers] : Array.from({ length: GENERAL }, fresh);
    this.#groups = new Map(before ? before.#groups : []);
  }

  #register(number: number): Sum {
    return this.#registers[number] as Sum;
  }
  #move(number: number, { unknown, offset }: Sum, distance = 0): void {
    this.#registers[number] = { unknown, offset: offset + distance };
  }

  follow(instruction: Instruction, page: number): Accesses {
    const { form } = instruction;
    if (!traitsOf(form).isInline) {
      for (let number = 0; number < GENERAL; number++) this.#registers[number] = fresh();
      return {};
    }
    const operand = this.#operand(instruction, page);
    const stack = this.#stack(instruction);
    this.#update(instruction);
    return { ...(operand && { operand }), ...(stack && { stack }) };
  }

  #access(unknown: string, isWrite: boolean, at: number, bytes: number): GroupedAccess {
    const join = (table: number) => {
      const group = this.#groups.get(`${table} ${unknown}`);
      return group?.admits(at, bytes) ? group : undefined;
    };
    // Where something was written it can be read as well.
    let group = join(TLB_WRITE) ?? (isWrite ? this.#widened(unknown, at, bytes) : join(TLB_READ));
    if (!group) {
      group = new AccessGroup(isWrite ? TLB_WRITE : TLB_READ, at);
      group.admits(at, bytes);
      this.#own.add(group);
      this.#groups.set(`${group.table} ${unknown}`, group);
    }
    return { group, at, bytes };
  }
  /** Reads of this block, after which a write is sure to come: the table for writes is asked at once. */
  #widened(unknown: string, at: number, bytes: number): AccessGroup | undefined {
    const key = `${TLB_READ} ${unknown}`;
    const group = this.#groups.get(key);
    if (!group || !this.#own.has(group) || !group.admits(at, bytes)) return undefined;
    group.table = TLB_WRITE;
    group.isReadFirst = true;
    this.#groups.delete(key);
    this.#groups.set(`${TLB_WRITE} ${unknown}`, group);
    return group;
  }

  #operand(instruction: Instruction, page: number): GroupedAccess | undefined {
    const { form, base, index, scale, segment, displacement } = instruction;
    const { name, operands, options } = form.definition;
    if (!form.memory || options.noAccess || options.bitString || name === 'pop') return undefined;
    if (segment >= V.segBase + Seg.fs * 8 && segment <= V.segBase + Seg.gs * 8) return undefined;
    const spec = operands.find(({ kind }) => 'EMWQ'.includes(kind));
    const bytes = spec ? sizeOf(spec.size, semanticSize(form)) : 0;
    if (bytes === 0) return undefined;
    let unknown = '';
    let at = Number(displacement);
    const add = (register: number, factor: number) => {
      const sum = this.#register((register - V.gpr) >> 3);
      unknown += ` ${sum.unknown}*${factor}`;
      at += sum.offset * factor;
    };
    if (base === V.codePage) {
      unknown = 'first page';
      at += page * PAGE;
    } else if (base !== V.zero) add(base, 1);
    if (index !== V.zero) add(index, 1 << scale);
    const isStack = base === V.gpr + RSP * 8;
    const isWrite = traitsOf(form).stores && name !== 'push' && name !== 'call';
    return this.#access(unknown, isWrite || isStack, at, bytes);
  }

  #stack({ form }: Instruction): GroupedAccess | undefined {
    const { name } = form.definition;
    const bytes = semanticSize(form);
    const at = ({ unknown, offset }: Sum, distance = 0) =>
      this.#access(` ${unknown}*1`, true, offset + distance, bytes);
    if (PUSHES.has(name)) return at(this.#register(RSP), -bytes);
    if (POPS.has(name)) return at(this.#register(RSP));
    return name === 'leave' ? at(this.#register(RBP)) : undefined;
  }

  /** What the registers hold behind the instruction. */
  #update(instruction: Instruction): void {
    const { form, rm } = instruction;
    const { name } = form.definition;
    const size = semanticSize(form);
    const stack = this.#register(RSP);
    const kept = size === 8 && this.#sumLeft(instruction);
    const frame = this.#register(RBP);
    const { written } = touchedBy(instruction);
    for (let number = 0; number < GENERAL; number++)
      if (written & (1 << number)) this.#registers[number] = fresh();
    if (PUSHES.has(name)) this.#move(RSP, stack, -size);
    // Popped into itself it is what was popped. RET with an operand adds that, too.
    else if (POPS.has(name) && rm !== V.gpr + RSP * 8)
      this.#move(RSP, stack, size + (name === 'ret' ? releasedBy(instruction) : 0));
    else if (name === 'leave') this.#move(RSP, frame, size);
    if (kept) this.#move(kept.number, kept.sum);
  }

  /** The register that an instruction leaves a known sum in. */
  #sumLeft({
    form,
    reg,
    rm,
    base,
    index,
    displacement,
    immediate,
  }: Instruction): { number: number; sum: Sum } | undefined {
    const { name, operandText } = form.definition;
    const numberOf = (place: number) => (place - V.gpr) >> 3;
    const sumOf = (place: number, distance = 0) => {
      const { unknown, offset } = this.#register(numberOf(place));
      return { unknown, offset: offset + distance };
    };
    const operands = operandText.join(' ');
    if (name === 'lea') {
      if (index !== V.zero || base === V.zero || base === V.codePage) return undefined;
      return { number: numberOf(reg), sum: sumOf(base, Number(displacement)) };
    }
    if (form.memory) return undefined;
    if (name === 'mov' && operands === 'Ev Gv') return { number: numberOf(rm), sum: sumOf(reg) };
    if (name === 'mov' && operands === 'Gv Ev') return { number: numberOf(reg), sum: sumOf(rm) };
    if (name !== 'add' && name !== 'sub') return undefined;
    const by = name === 'add' ? Number(immediate) : -Number(immediate);
    if (operands === 'Ev Is' || operands === 'Ev Iz') return { number: numberOf(rm), sum: sumOf(rm, by) };
    return operands === 'rAX Iz' ? { number: RAX, sum: sumOf(V.gpr + RAX * 8, by) } : undefined;
  }
}

const PUSHES: ReadonlySet<string> = new Set(['push', 'pushf', 'call']);
const POPS: ReadonlySet<string> = new Set(['pop', 'ret']);

/** Bytes of arguments that RET takes off the stack. */
const releasedBy = ({ form, immediate }: Instruction): number =>
  form.definition.operands.length > 0 ? Number(immediate) : 0;
