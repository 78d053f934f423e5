/**
 * Decoded code as regions are formed from it. The vCPUs may go on executing and decoding meanwhile, on other threads: a record
 * is complete before it can be found and stays as it is but for handler and link, so what is read here is right, or the
 * page's count of changes, or the code cache's generation, is another one afterwards.
 */

import type { MachineMemory } from '../../machine/memory.ts';
import { CodePage, LINK_OFFSET, RECORD_BYTES } from '../decode/record.ts';
import { recordAt } from '../decode/record-table.ts';
import { Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_CALLED, FIRST_REGION } from '../isa/form-numbers.ts';
import {
  JUMP_TARGETS,
  JUMP_TARGETS_OFFSET,
  JumpTarget,
  TLB_ENTRIES,
  TlbEntry,
  Vcpu,
} from '../vcpu/layout.ts';
import type { CodeCache } from './code-cache.ts';
import { type Instruction, readInstruction } from './instruction.ts';
import type { CodeView, Target } from './instruction-graph.ts';
import { BlockCount, Extent, RegionPage, RegionRecord, regionPageOffset } from './layout.ts';
import type { Counts } from './profile.ts';
import { displaced, PAGE, type Place } from './region.ts';
import type { HotPlace } from './requests.ts';
import { traitsOf } from './traits.ts';

const V = Vcpu.offsets;
const P = CodePage.offsets;

/** Targets of one computed jump that a region has. */
const TARGETS_MAX = 32;
/** As far away as the places of one region can be. */
const NEAR = 1n << 31n;

export class DecodedCode implements CodeView {
  readonly #memory: MachineMemory;
  readonly #cache: CodeCache;
  readonly #place: HotPlace;
  /** What the pages' counts of changes were before anything of them was read. */
  readonly changes = new Map<number, number>();
  /** By code page and offset. */
  readonly #counts = new Map<number, ReadonlyMap<number, Counts>>();

  constructor(memory: MachineMemory, cache: CodeCache, place: HotPlace) {
    this.#memory = memory;
    this.#cache = cache;
    this.#place = place;
  }

  get mode(): number {
    return this.#place.mode;
  }

  codePage(page: number): number {
    const found = page === 0 ? this.#place.codePage : this.#mapped(page);
    if (found === 0) return 0;
    if (!this.changes.has(found)) {
      this.changes.set(found, Atomics.load(this.#memory.u32, (found + P.changes) >>> 2));
    }
    return found;
  }
  /** By the vCPU's execute TLB as it is now: another address space's at worst, which the region will find out. */
  #mapped(page: number): number {
    const { u32, view } = this.#memory;
    const linear = BigInt.asUintN(64, this.#place.linear + BigInt(page * PAGE));
    const index = Number((linear >> 12n) & BigInt(TLB_ENTRIES - 1)) * TlbEntry.size;
    const entry = (u32[(this.#place.cpu + V.tlbExec) >>> 2] as number) + index;
    if (view.getBigUint64(entry + TlbEntry.offsets.tag, true) !== linear) return 0;
    const found = (u32[(entry + TlbEntry.offsets.addend) >>> 2] as number) - P.table;
    // Tag and addend are two reads: what is between may be from two entries.
    return this.#cache.holds(found) && u32[(found + P.mode) >>> 2] === this.#place.mode ? found : 0;
  }

  instruction(codePage: number, offset: number): Instruction | undefined {
    const { u16, u32 } = this.#memory;
    let record = recordAt(u32, codePage, offset);
    if (record === 0) return undefined;
    const handler = u16[record >>> 1] as number;
    if (handler === Pseudo.crossing) record += RECORD_BYTES;
    // A region's entry: the instruction itself is behind it. The same for one that was taken back.
    if (handler >= FIRST_REGION || handler === Pseudo.proceed) record += RECORD_BYTES;
    const instruction = readInstruction(this.#memory, record);
    if (!instruction || instruction.offset !== offset) return undefined;
    const isPossible = traitsOf(instruction.form).isInline || instruction.form.id >= FIRST_CALLED;
    return isPossible ? instruction : undefined;
  }

  targets({ page, offset }: Place): Target[] {
    const { u32, view } = this.#memory;
    const from = Number(BigInt.asUintN(32, this.#place.linear + BigInt(page * PAGE + offset)));
    const targets: Target[] = [];
    const first = this.#place.cpu + JUMP_TARGETS_OFFSET;
    for (let entry = first; entry < first + JUMP_TARGETS * JumpTarget.size; entry += JumpTarget.size) {
      if (u32[(entry + JumpTarget.offsets.from) >>> 2] !== from) continue;
      const count = u32[(entry + JumpTarget.offsets.count) >>> 2] as number;
      const distance = view.getBigUint64(entry + JumpTarget.offsets.target, true) - this.#place.linear;
      if (count === 0 || distance <= -NEAR || distance >= NEAR) continue;
      targets.push({ place: displaced({ page: 0, offset: 0 }, Number(distance)), count });
    }
    return targets.sort((a, b) => b.count - a.count).slice(0, TARGETS_MAX);
  }

  counts(codePage: number, offset: number): Counts | undefined {
    let places = this.#counts.get(codePage);
    if (!places) {
      places = this.#cache.lock.during(() => this.#counted(codePage));
      this.#counts.set(codePage, places);
    }
    return places.get(offset);
  }
  /** What the regions with instructions of a page have counted there, by offset. */
  #counted(codePage: number): Map<number, Map<number, number>> {
    const { u32, view } = this.#memory;
    const places = new Map<number, Map<number, number>>();
    if (this.#cache.generation !== this.#place.generation) return places;
    const regions = new Set<number>();
    for (let at = u32[(codePage + P.extents) >>> 2] as number; at !== 0; ) {
      const extent = Extent.at(view, at);
      regions.add(extent.region);
      at = extent.next;
    }
    for (const address of regions) {
      const { counts, nrCounts, isOver } = RegionRecord.at(view, address);
      if (isOver !== 0) continue;
      for (let i = 0; i < nrCounts; i++) {
        const { page, offset, count } = BlockCount.at(view, counts + i * BlockCount.size);
        const own = RegionPage.at(view, address + regionPageOffset(page));
        if (own.page !== codePage) continue;
        const byRegion = places.get(offset) ?? new Map<number, number>();
        // A function that was copied in is there several times.
        byRegion.set(address, (byRegion.get(address) ?? 0) + count);
        places.set(offset, byRegion);
      }
    }
    return places;
  }

  wasTaken({ record }: Instruction): boolean {
    return this.#memory.u32[(record + LINK_OFFSET) >>> 2] !== 0;
  }
}
