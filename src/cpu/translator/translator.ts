/**
 * The translator at work: it is told of hot places, makes regions of them, and takes them back when their code changes.
 *
 * A region is entered through an *entry record* in place of its first instruction's record: its handler number is the
 * region's place in the table of handlers. Behind it lie a copy of the instruction, for when the region cannot be entered,
 * and the way on. The instruction's old record leads to the entry record, for those who remember it.
 */
import { invariant } from '../../base/errors.ts';
import { machineHeader } from '../../machine/header.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import { CodePage, CodeRecord, LINK_OFFSET, RECORD_BYTES } from '../decode/record.ts';
import { Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_CALLED, FIRST_REGION } from '../isa/forms.ts';
import type { RuntimeExports } from '../runtime/signatures.ts';
import {
  JUMP_TARGETS,
  JUMP_TARGETS_OFFSET,
  JumpTarget,
  TLB_ENTRIES,
  TlbEntry,
  Vcpu,
} from '../vcpu/layout.ts';
import { type Instruction, readInstruction } from './instruction.ts';
import type { CodeView, Limits } from './instruction-graph.ts';
import { buildModule } from './module.ts';
import { displaced, formRegion, PAGE, type Place, type Region, reachesOver } from './region.ts';
import { traitsOf } from './traits.ts';

const V = Vcpu.offsets;
const R = CodeRecord.offsets;
const P = CodePage.offsets;

export interface TranslatorParts {
  readonly memory: MachineMemory;
  readonly runtime: RuntimeExports;
  readonly interpreter: WebAssembly.Exports;
}

/** A region that is in use. */
interface Installed {
  readonly slot: number;
  /** The entry records. */
  readonly entries: readonly number[];
  /** The bytes it was made of: by code page, pairs of first offset and offset behind. */
  readonly extents: ReadonlyMap<number, readonly (readonly [from: number, to: number])[]>;
}

/** Regions made so far, and those of them that were taken back. */
export interface TranslatorStatistics {
  regions: number;
  dropped: number;
}

const LIMITS: Limits = { instructions: 120, callDepth: 2, copied: 24 };
/** Targets of one computed jump that a region has. */
const TARGETS_MAX = 32;
/** As far away as the places of one region can be. */
const NEAR = 1n << 31n;
/** Handler numbers are 16 bits wide. */
const SLOTS_MAX = 0xffff - FIRST_CALLED;
const TABLE_STEP = 1024;
/** An entry record, a copy of the instruction, and the way on. */
const ENTRY_BYTES = 3 * RECORD_BYTES;

export class Translator {
  readonly #memory: MachineMemory;
  readonly #table: WebAssembly.Table;
  readonly #imports: WebAssembly.Imports;
  readonly #installed = new Map<number, Installed>();
  /** Regions by code page. */
  readonly #byPage = new Map<number, Set<Installed>>();
  readonly #freeSlots: number[] = [];
  #nextSlot = FIRST_REGION - FIRST_CALLED;
  readonly statistics: TranslatorStatistics = { regions: 0, dropped: 0 };

  constructor(parts: TranslatorParts) {
    this.#memory = parts.memory;
    this.#table = parts.interpreter.handlers as WebAssembly.Table;
    this.#imports = {
      env: { memory: parts.memory.wasm },
      runtime: { ...parts.runtime },
      interpreter: parts.interpreter,
    };
  }

  /** Many jumps have led to `record`, in the page that the vCPU executes. */
  hot(cpu: number, record: number): void {
    const { u16, u32, view } = this.#memory;
    const linear = view.getBigUint64(cpu + V.codePage, true);
    const pageOf = (page: number) => this.#codePage(cpu, linear + BigInt(page * PAGE));
    const codePage = pageOf(0);
    const handler = u16[record >>> 1] as number;
    // An entry record takes the place of one record.
    if (codePage === 0 || handler >= FIRST_REGION || handler === Pseudo.crossing) return;
    const offset = u16[(record + R.offset) >>> 1] as number;
    if (u32[(codePage + P.table + offset * 4) >>> 2] !== record) return;
    const code: CodeView = {
      mode: u32[(cpu + V.mode) >>> 2] as number,
      codePage: pageOf,
      instruction: (page, at) => this.#instruction(page, at),
      wasTaken: ({ record: branch }) => u32[(branch + LINK_OFFSET) >>> 2] !== 0,
      targets: jump => this.#targets(cpu, jump, linear),
    };
    const region = formRegion(code, offset, LIMITS);
    if (region) this.#install(region);
  }

  /** Where a computed jump was seen to go, relative to the linear page `from`. */
  #targets(cpu: number, { record }: Instruction, from: bigint): Place[] {
    const { u32, view } = this.#memory;
    const places: Place[] = [];
    const first = cpu + JUMP_TARGETS_OFFSET;
    for (let entry = first; entry < first + JUMP_TARGETS * JumpTarget.size; entry += JumpTarget.size) {
      if (u32[entry >>> 2] !== record) continue;
      const distance = view.getBigUint64(entry + JumpTarget.offsets.target, true) - from;
      if (distance > -NEAR && distance < NEAR)
        places.push(displaced({ page: 0, offset: 0 }, Number(distance)));
    }
    return places.slice(0, TARGETS_MAX);
  }

  /** Code page of a linear page, if the vCPU's execute TLB has it. */
  #codePage(cpu: number, linear: bigint): number {
    const { u32, view } = this.#memory;
    const index = Number((linear >> 12n) & BigInt(TLB_ENTRIES - 1)) * TlbEntry.size;
    const entry = (u32[(cpu + V.tlbExec) >>> 2] as number) + index;
    if (view.getBigUint64(entry + TlbEntry.offsets.tag, true) !== BigInt.asUintN(64, linear)) return 0;
    return (u32[(entry + TlbEntry.offsets.addend) >>> 2] as number) - P.table;
  }

  #instruction(codePage: number, offset: number) {
    const { u16, u32 } = this.#memory;
    let record = u32[(codePage + P.table + offset * 4) >>> 2] as number;
    if (record === 0) return undefined;
    const handler = u16[record >>> 1] as number;
    if (handler === Pseudo.crossing) record += RECORD_BYTES;
    // Another region's entry: the instruction itself is behind it. The same for one that was taken back.
    if (handler >= FIRST_REGION || handler === Pseudo.proceed) record += RECORD_BYTES;
    const instruction = readInstruction(this.#memory, record);
    if (!instruction || instruction.offset !== offset) return undefined;
    if (traitsOf(instruction.form).isInline) return instruction;
    const own = instruction.form.id >= FIRST_CALLED ? this.#ownRecord(record) : undefined;
    return own === undefined ? undefined : { ...instruction, record: own };
  }
  /**
   * A copy for the handler that a region calls: part of the shared record's immediate is overwritten when that becomes the
   * way to another region, or to this one.
   */
  #ownRecord(record: number): number | undefined {
    const header = machineHeader(this.#memory);
    const copy = header.codeNext;
    if (copy + RECORD_BYTES > header.codeLimit) return undefined;
    header.codeNext = copy + RECORD_BYTES;
    this.#memory.u8.copyWithin(copy, record, record + RECORD_BYTES);
    return copy;
  }

  #install(region: Region): void {
    const header = machineHeader(this.#memory);
    if (header.codeNext + region.entries.length * ENTRY_BYTES > header.codeLimit) return;
    const slot = this.#takeSlot();
    if (slot === undefined) return;
    const module = new WebAssembly.Module(buildModule([region], slot) as BufferSource);
    new WebAssembly.Instance(module, this.#imports);
    const entries = region.entries.flatMap((place, number) => {
      const entry = this.#installEntry(region, slot, place, number);
      return entry === undefined ? [] : [entry];
    });
    this.#remember(region, slot, entries);
    this.statistics.regions += 1;
  }
  /** Put an entry record in the place of an instruction's, unless another region begins there. */
  #installEntry(region: Region, slot: number, { page, offset }: Place, number: number): number | undefined {
    const { u8, u16, u32, view } = this.#memory;
    const table = ((region.codePages.get(page) as number) + P.table + offset * 4) >>> 2;
    const record = u32[table] as number;
    const handler = u16[record >>> 1] as number;
    // It may be an instruction over two pages, with two records.
    if (record === 0 || handler >= FIRST_REGION || handler === Pseudo.crossing) return undefined;
    const header = machineHeader(this.#memory);
    const entry = header.codeNext;
    header.codeNext = entry + ENTRY_BYTES;
    const [copy, onward] = [entry + RECORD_BYTES, entry + 2 * RECORD_BYTES];
    u8.copyWithin(copy, record, record + RECORD_BYTES);
    u8.copyWithin(entry, record, record + RECORD_BYTES);
    u16[entry >>> 1] = FIRST_CALLED + slot;
    view.setBigInt64(entry + R.displacement, BigInt(page * PAGE), true);
    u32[(entry + R.immediate) >>> 2] = number;
    u32.fill(0, onward >>> 2, (onward + RECORD_BYTES) >>> 2);
    u16[onward >>> 1] = Pseudo.proceed;
    u16[(onward + R.offset) >>> 1] = offset + (u8[record + R.length] as number);
    u16[record >>> 1] = Pseudo.proceed;
    u32[(record + LINK_OFFSET) >>> 2] = entry;
    u32[table] = entry;
    return entry;
  }

  #takeSlot(): number | undefined {
    const free = this.#freeSlots.pop();
    if (free !== undefined) return free;
    if (this.#nextSlot >= SLOTS_MAX) return undefined;
    if (this.#nextSlot >= this.#table.length) this.#table.grow(TABLE_STEP);
    return this.#nextSlot++;
  }

  #remember(region: Region, slot: number, entries: readonly number[]): void {
    const extents = new Map<number, [number, number][]>();
    const extentsOf = (place: number) => {
      const page = region.codePages.get(place);
      invariant(page !== undefined, 'a page of the region');
      const list = extents.get(page) ?? [];
      extents.set(page, list);
      return list;
    };
    for (const { place, instructions } of region.blocks) {
      const list = extentsOf(place.page);
      for (const { offset, length } of instructions) {
        list.push([offset, offset + length]);
        if (reachesOver(offset, length)) extentsOf(place.page + 1).push([0, offset + length - PAGE]);
      }
    }
    const installed: Installed = { slot, entries, extents };
    this.#installed.set(slot, installed);
    for (const page of extents.keys()) {
      const set = this.#byPage.get(page) ?? new Set();
      this.#byPage.set(page, set.add(installed));
      this.#memory.u32[(page + P.regions) >>> 2] = set.size;
    }
  }

  /** Bytes `start` .. `end - 1` of a code page have changed: its regions with instructions there are over. */
  codeChanged(codePage: number, start: number, end: number): void {
    for (const installed of this.#byPage.get(codePage) ?? []) {
      const ranges = installed.extents.get(codePage) ?? [];
      if (ranges.some(([from, to]) => from < end && to > start)) this.#drop(installed);
    }
  }

  #drop(installed: Installed): void {
    const { u16, u32 } = this.#memory;
    const { entries, slot, extents } = installed;
    for (const entry of entries) {
      // Stale already when its first instruction is what has changed.
      if (u16[entry >>> 1] !== FIRST_CALLED + slot) continue;
      u16[entry >>> 1] = Pseudo.proceed;
      u32[(entry + LINK_OFFSET) >>> 2] = entry + RECORD_BYTES;
    }
    for (const page of extents.keys()) {
      const set = this.#byPage.get(page);
      set?.delete(installed);
      u32[(page + P.regions) >>> 2] = set?.size ?? 0;
      if (set?.size === 0) this.#byPage.delete(page);
    }
    this.#release(installed);
    // A region may be running that has changed itself.
    const header = machineHeader(this.#memory);
    for (let cpu = header.firstVcpu; cpu !== 0; cpu = u32[(cpu + V.nextVcpu) >>> 2] as number) {
      u32[(cpu + V.regionsChanged) >>> 2] = 1;
    }
  }
  #release({ slot }: Installed): void {
    this.#installed.delete(slot);
    this.#table.set(slot, null);
    this.#freeSlots.push(slot);
    this.statistics.dropped += 1;
  }

  /** The code cache was thrown away, entry records and all. */
  codeDiscarded(): void {
    for (const installed of this.#installed.values()) this.#release(installed);
    this.#byPage.clear();
  }
}
