/**
 * Makes regions of hot places: forms and writes them, several to a module, hands the module to the threads that run guest code,
 * and puts the entries into the code cache. It runs on a thread of its own (thread.ts), or on the guest's.
 *
 * Meanwhile the code may change. So all that a region was made of is looked at again, with the code cache locked, before
 * its entries are put in: pages count the changes of their instructions.
 */
import { invariant } from '../../base/errors.ts';
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import { CodePage, CodeRecord, RECORD_BYTES } from '../decode/record.ts';
import { Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_CALLED, FIRST_REGION } from '../isa/forms.ts';
import type { RuntimeExports } from '../runtime/signatures.ts';
import { CodeCache } from './code-cache.ts';
import { DecodedCode } from './decoded-code.ts';
import type { Limits } from './instruction-graph.ts';
import { ENTRY_BYTES, Extent, RegionRecord, translatorState } from './layout.ts';
import { buildModule } from './module.ts';
import { formRegion, PAGE, type Place, type Region, reachesOver } from './region.ts';
import type { HotPlace } from './requests.ts';
import { SlotPool } from './slots.ts';

const P = CodePage.offsets;
const R = CodeRecord.offsets;

/** At first: soon there, and cheap. */
const SMALL = { instructions: 120, callDepth: 2, copied: 24 };
/** Of what is entered often: V8 needs milliseconds for it. */
const LARGE: Limits = { instructions: 500, callDepth: 2, copied: 24, entriesToGrow: undefined };
/** Regions that make way at a time when there is room for no more. */
const RETIRED = 256;

/** What a thread that runs guest code has to do before it goes on. */
export interface Delivery {
  /** Length of the table of handlers. */
  readonly tableLength: number;
  /** Places whose regions are not there any more. */
  readonly released: readonly number[];
  /** Puts its regions into the table when it is instantiated. */
  readonly module?: WebAssembly.Module;
}

export interface MakerParts {
  readonly memory: MachineMemory;
  readonly runtime: Pick<RuntimeExports, 'dropRegion'>;
  readonly nrInstallers: number;
  /** Hand it to all installers. Each counts in `TranslatorState.nrInstalled` what it has carried out. */
  deliver(delivery: Delivery): void;
}

interface Draft {
  readonly place: HotPlace;
  readonly region: Region;
  /** Counts of changes by code page. */
  readonly changes: ReadonlyMap<number, number>;
}

export class RegionMaker {
  readonly #parts: MakerParts;
  readonly #memory: MachineMemory;
  readonly #cache: CodeCache;
  readonly #state: ReturnType<typeof translatorState>;
  readonly #slots = new SlotPool();
  /** Regions in use by slot, the oldest first: addresses of their records. */
  #live = new Map<number, number>();
  /** Slots of those that are not to grow. */
  readonly #large = new Set<number>();
  #generation: number;

  constructor(parts: MakerParts) {
    const { memory } = parts;
    this.#parts = parts;
    this.#memory = memory;
    this.#cache = new CodeCache(memory);
    this.#state = translatorState(memory);
    this.#generation = this.#cache.generation;
  }

  make(places: readonly HotPlace[]): void {
    const released = this.#takeNote();
    const unique = new Map(places.map(place => [place.record, place])).values();
    const drafts = [...unique].flatMap(place => this.#draft(place) ?? []);
    const slots = this.#slots.take(drafts.length, this.#installed());
    if (!slots) {
      this.#deliver({ released: [...released, ...this.#makeRoom()] });
      return;
    }
    if (slots.length === 0) {
      if (released.length > 0) this.#deliver({ released });
      return;
    }
    const bytes = buildModule(
      drafts.map(({ region }) => region),
      slots,
    );
    this.#deliver({ released, module: new WebAssembly.Module(bytes as BufferSource) });
    const failed = slots.filter((slot, i) => !this.#publish(drafts[i] as Draft, slot));
    if (failed.length > 0) this.#deliver({ released: failed });
  }

  #deliver({ released, module }: Omit<Delivery, 'tableLength'>): void {
    const number = this.#state.nrPosted + 1;
    this.#slots.release(released, number);
    for (const slot of released) this.#large.delete(slot);
    this.#parts.deliver({ tableLength: this.#slots.tableLength, released, ...(module && { module }) });
    this.#state.nrPosted = number;
  }

  /** Deliveries that all installers have carried out. */
  #installed(): number {
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#parts.nrInstallers; i++) {
      least = Math.min(least, this.#state.nrInstalled.get(i));
    }
    return least;
  }

  /** Slots of the regions that are over since the last time. */
  #takeNote(): number[] {
    return this.#cache.lock.during(() => {
      const { generation } = this.#cache;
      if (generation !== this.#generation) {
        this.#generation = generation;
        const all = [...this.#live.keys()];
        this.#live = new Map();
        return all;
      }
      const slots: number[] = [];
      for (let at = this.#state.firstOver; at !== 0; ) {
        const region = RegionRecord.at(this.#memory.view, at);
        slots.push(region.handler - FIRST_CALLED);
        at = region.nextOver;
      }
      this.#state.firstOver = 0;
      for (const slot of slots) this.#live.delete(slot);
      return slots;
    });
  }

  /** All places are taken, or wait for a thread that has something else to do: longer tables, or fewer regions. */
  #makeRoom(): number[] {
    if (this.#slots.nrWaiting >= RETIRED) {
      this.#wakeIdle();
      return [];
    }
    if (this.#slots.canGrow) {
      this.#slots.grow(this.#state.nrPosted + 1);
      return [];
    }
    return this.#cache.lock.during(() => {
      if (this.#cache.generation !== this.#generation) return [];
      for (const record of [...this.#live.values()].slice(0, RETIRED)) this.#parts.runtime.dropRegion(record);
      return this.#takeNote();
    });
  }

  /** A pCPU without work may have something to carry out. */
  #wakeIdle(): void {
    const { i32 } = this.#memory;
    const word = (MACHINE_HEADER + MachineHeader.offsets.workCount) >>> 2;
    Atomics.add(i32, word, 1);
    Atomics.notify(i32, word);
  }

  #draft(place: HotPlace): Draft | undefined {
    if (!this.#isCurrent(place)) return undefined;
    const code = new DecodedCode(this.#memory, this.#cache, place);
    const offset = this.#memory.u16[(place.record + R.offset) >>> 1] as number;
    const handler = this.#memory.u16[place.record >>> 1] as number;
    const limits = handler >= FIRST_REGION ? LARGE : { ...SMALL, entriesToGrow: this.#cache.hotEntries };
    const region = formRegion(code, offset, limits);
    return region && { place, region, changes: code.changes };
  }

  /** Is the record still what jumps to that place lead to? */
  #isCurrent({ record, codePage, generation }: HotPlace): boolean {
    const { u16, u32 } = this.#memory;
    if (this.#cache.generation !== generation) return false;
    const handler = u16[record >>> 1] as number;
    if (handler === Pseudo.stale || handler === Pseudo.crossing) return false;
    if (this.#large.has(handler - FIRST_CALLED)) return false;
    const offset = u16[(record + R.offset) >>> 1] as number;
    return u32[(codePage + P.table + offset * 4) >>> 2] === record;
  }

  /** Put the region's entry in, unless something has changed. */
  #publish({ place, region, changes }: Draft, slot: number): boolean {
    return this.#cache.lock.during(() => {
      if (!this.#isCurrent(place)) return false;
      for (const page of region.codePages.values()) {
        if (this.#memory.u32[(page + P.changes) >>> 2] !== changes.get(page)) return false;
      }
      const extents = extentsOf(region);
      const { entries } = region;
      const head = entries.length * ENTRY_BYTES;
      const first = this.#cache.allocate(head + RegionRecord.size + extents.length * Extent.size);
      if (first === 0) return false;
      const record = RegionRecord.at(this.#memory.view, first + head);
      record.handler = FIRST_CALLED + slot;
      record.nrEntries = entries.length;
      record.entries = first;
      record.isOver = 0;
      extents.forEach((extent, i) => {
        this.#link(record.address, extent, record.address + RegionRecord.size + i * Extent.size);
      });
      entries.forEach((entry, number) => {
        this.#writeEntry(first + number * ENTRY_BYTES, region, entry, number, slot);
      });
      this.#live.set(slot, record.address);
      if (region.entriesToGrow === undefined) this.#large.add(slot);
      this.#state.nrRegions += 1;
      return true;
    });
  }

  #link(region: number, { codePage, from, to }: PageExtent, address: number): void {
    const extent = Extent.at(this.#memory.view, address);
    const page = CodePage.at(this.#memory.view, codePage);
    extent.region = region;
    extent.from = from;
    extent.to = to;
    extent.next = page.extents;
    page.extents = address;
  }

  /** Put an entry in the place of an instruction's record. Where a region begins only a larger one that was made for this takes its place. */
  #writeEntry(
    entry: number,
    { codePages }: Region,
    { page, offset }: Place,
    number: number,
    slot: number,
  ): void {
    const { u8, u16, u32, view } = this.#memory;
    const table = ((codePages.get(page) as number) + P.table + offset * 4) >>> 2;
    const record = u32[table] as number;
    const [copy, onward] = [entry + RECORD_BYTES, entry + 2 * RECORD_BYTES];
    u32.fill(0, entry >>> 2, (entry + ENTRY_BYTES) >>> 2);
    const handler = u16[record >>> 1] as number;
    const isEntry = handler >= FIRST_REGION;
    // It may be an instruction over two pages, with two records.
    if (record === 0 || (isEntry && number > 0) || handler === Pseudo.crossing) return;
    // Of an entry, also of one that was taken back, the instruction is behind it.
    const instruction = isEntry || handler === Pseudo.proceed ? record + RECORD_BYTES : record;
    u8.copyWithin(copy, instruction, instruction + RECORD_BYTES);
    u8.copyWithin(entry, instruction, instruction + RECORD_BYTES);
    u16[entry >>> 1] = FIRST_CALLED + slot;
    view.setBigInt64(entry + R.displacement, BigInt(page * PAGE), true);
    u32[(entry + R.immediate) >>> 2] = number;
    u16[onward >>> 1] = Pseudo.proceed;
    u16[(onward + R.offset) >>> 1] = offset + (u8[instruction + R.length] as number);
    // The table first: who comes by the record is sent there. Nothing else of the record may change, for a vCPU may be at it.
    Atomics.store(u32, table, entry);
    Atomics.store(u16, record >>> 1, Pseudo.stale);
  }
}

interface PageExtent {
  readonly codePage: number;
  readonly from: number;
  readonly to: number;
}

/** What bytes the region was made of: one extent for each run of instructions. */
function extentsOf({ blocks, codePages }: Region): PageExtent[] {
  const extents: { codePage: number; from: number; to: number }[] = [];
  const add = (page: number, from: number, to: number) => {
    const codePage = codePages.get(page);
    invariant(codePage !== undefined, 'a page of the region');
    const last = extents.at(-1);
    if (last?.codePage === codePage && last.to === from) last.to = to;
    else extents.push({ codePage, from, to });
  };
  for (const { place, instructions } of blocks) {
    for (const { offset, length } of instructions) {
      add(place.page, offset, Math.min(offset + length, PAGE));
      if (reachesOver(offset, length)) add(place.page + 1, 0, offset + length - PAGE);
    }
  }
  return extents;
}
