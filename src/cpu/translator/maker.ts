/**
 * Makes regions of hot places: forms and writes them, several to a module, hands the module to the threads that run guest code,
 * and puts the entries into the code cache. It runs on a thread of its own (thread.ts), or on the guest's. What an earlier run has
 * made is taken from the library instead.
 *
 * Meanwhile the code may change. So all that a region was made of is looked at again before its entries are put in
 * (`openRegion` of the runtime): by the thread that runs the guest, so that nobody waits for this one; or by this one where there are
 * several.
 */
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import { CodePage } from '../decode/record.ts';
import { recordAt } from '../decode/record-table.ts';
import { Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_CALLED, FIRST_REGION } from '../isa/form-numbers.ts';
import type { RuntimeExports } from '../runtime/signatures.ts';
import { CodeCache } from './code-cache.ts';
import { coolEntries, periodOf } from './cooling.ts';
import { DecodedCode } from './decoded-code.ts';
import { HandedOut } from './handed-out.ts';
import type { Limits } from './instruction-graph.ts';
import { RegionRecord, TranslatorState, translatorState } from './layout.ts';
import { Ledger } from './library/ledger.ts';
import { type Kept, Library } from './library/library.ts';
import { placeKey } from './library/place-key.ts';
import { type Fit, Shelf } from './library/shelf.ts';
import type { StoredRegion } from './library/volume.ts';
import { buildModule } from './module.ts';
import { codeOf, type Placed, Placement } from './placement.ts';
import { formRegion, PAGE, type Region } from './region.ts';
import { imageOf, type RegionImage } from './region-image.ts';
import { type HotPlace, Reason } from './requests.ts';
import { SlotPool } from './slots.ts';

const P = CodePage.offsets;

/** At first: soon there, and cheap. */
const SMALL = { instructions: 120, callDepth: 2, copied: 24, isWeighed: false };
/** Of what is entered often: V8 needs milliseconds for it. */
const LARGE: Limits = {
  instructions: 500,
  callDepth: 2,
  copied: 24,
  entriesToGrow: undefined,
  isWeighed: true,
};
/** Regions that make way at a time when there is room for no more. */
const RETIRED = 256;
/** Places that wait for room: after a while others are hotter. */
const LATER_MAX = 256;

/** What a thread that runs guest code has to do before it goes on. */
export interface Delivery {
  /** Length of the table of handlers. */
  readonly tableLength: number;
  /** Places whose regions are not there any more. */
  readonly released: readonly number[];
  /** Modules with a number that are not needed any more. */
  readonly forgotten: readonly number[];
  /** Regions that come to the table. */
  readonly arrivals: readonly Arrival[];
  /** Let the vCPUs into the regions. */
  readonly opens: boolean;
}
export interface Arrival {
  /** The module; one of which more may come later has a number, and need not be sent again. */
  readonly id?: number;
  readonly module?: WebAssembly.Module;
  readonly places: readonly Installed[];
}

export interface Installed {
  readonly slot: number;
  /** Its export. */
  readonly name: string;
  /** Its record. */
  readonly region: number;
}

export interface MakerParts {
  readonly memory: MachineMemory;
  readonly runtime: RuntimeExports;
  readonly nrInstallers: number;
  readonly library?: Library | undefined;
  /** Hand it to all installers. Each counts in `TranslatorState.nrInstalled` what it has carried out. */
  deliver(delivery: Delivery): void;
}

interface Draft {
  readonly place: HotPlace;
  readonly region: Region;
  /** Counts of changes by code page. */
  readonly changes: ReadonlyMap<number, number>;
}
/** A region in a module. */
interface Candidate extends Placed {
  readonly kept: Kept;
  readonly number: number;
  /** As the library has it, or will. */
  readonly stored: StoredRegion | undefined;
}
export class RegionMaker {
  readonly #parts: MakerParts;
  readonly #memory: MachineMemory;
  readonly #cache: CodeCache;
  readonly #placement: Placement;
  readonly #shelf: Shelf | undefined;
  readonly #state: ReturnType<typeof translatorState>;
  readonly #slots = new SlotPool();
  /** Regions in use by slot, the oldest first: addresses of their records. */
  #live = new Map<number, number>();
  /** Slots of those that are not to grow. */
  readonly #large = new Set<number>();
  #generation: number;
  /** Of the vCPU that is ahead. */
  #period = 0;
  readonly #ledger: Ledger;
  readonly #handedOut = new HandedOut();
  /** Places that there was no room for. */
  #later: readonly HotPlace[] = [];

  constructor(parts: MakerParts) {
    const { memory, library } = parts;
    this.#parts = parts;
    this.#memory = memory;
    this.#cache = new CodeCache(memory);
    this.#placement = new Placement(memory, this.#cache);
    this.#shelf = library && new Shelf(library, memory, this.#cache);
    this.#ledger = new Ledger(parts);
    this.#state = translatorState(memory);
    this.#generation = this.#cache.generation;
  }

  make(news: readonly HotPlace[]): void {
    const released = this.#takeNote();
    this.#cool(news);
    const places = [...this.#later, ...news];
    this.#later = [];
    const fits = this.#fitting(places);
    const taken = new Set(fits.map(({ place }) => place.record));
    const hot = places.filter(({ reason, record }) => reason === Reason.hot && !taken.has(record));
    const unique = new Map(hot.map(place => [place.record, place])).values();
    const drafts = [...unique].flatMap(place => this.#draft(place) ?? []);
    const slots = this.#slots.take(fits.length + drafts.length, this.#installed());
    if (!slots) {
      this.#later = places.slice(-LATER_MAX);
      this.#deliver({ released: [...released, ...this.#makeRoom()] });
      return;
    }
    // What is there already does not wait for what is to be compiled.
    this.#hand(
      fits.flatMap(fit => this.#taken(fit) ?? []),
      slots.splice(0, fits.length),
      released,
    );
    this.#hand(this.#compile(drafts), slots, []);
  }
  /** To the threads that run guest code: a region for each slot. */
  #hand(candidates: readonly Candidate[], slots: readonly number[], released: readonly number[]): void {
    const placed = candidates.flatMap((candidate, i) => this.#place(candidate, slots[i] as number) ?? []);
    const inUse = new Set(placed.map(({ slot }) => slot));
    const unused = slots.filter(slot => !inUse.has(slot));
    if (placed.length + released.length + unused.length === 0) return;
    const isShared = this.#parts.nrInstallers > 1;
    this.#deliver({
      released: [...released, ...unused],
      arrivals: this.#arrivals(placed),
      opens: !isShared,
    });
    if (isShared) for (const { region } of placed) this.#parts.runtime.openRegion(region, 0);
  }

  #cool(places: readonly HotPlace[]): void {
    const period = Math.max(...places.map(({ cpu }) => periodOf(this.#memory, cpu)));
    const passed = period - this.#period;
    if (passed <= 0) return;
    this.#period = period;
    this.#cache.lock.during(() => {
      if (this.#cache.generation === this.#generation) coolEntries(this.#memory, this.#live.values(), passed);
    });
  }

  #compile(drafts: readonly Draft[]): Candidate[] {
    if (drafts.length === 0) return [];
    const bytes = buildModule(drafts.map(({ region }) => region));
    const module = new WebAssembly.Module(bytes as BufferSource);
    const kept: Kept = { module, bytes, regions: new Set(), stored: { nrRegions: 0, nrOptimised: 0 } };
    return drafts.map(({ place, region, changes }, number) => {
      const image = imageOf(region, place.mode);
      const codePages = [...region.codePages.values()];
      const counts = codePages.map(page => changes.get(page) as number);
      const stored = this.#shelf && this.#stored(place, number, image, codePages);
      return { kept, number, image, place, codePages, changes: counts, code: stored?.code, stored };
    });
  }
  #stored(
    { codePage, offset }: HotPlace,
    number: number,
    image: RegionImage,
    codePages: readonly number[],
  ): StoredRegion {
    const { u8, u32 } = this.#memory;
    const page = (u32[(codePage + P.mfn) >>> 2] as number) * PAGE;
    return { key: placeKey(u8, page, offset), number, image, code: codeOf(this.#memory, image, codePages) };
  }
  #taken({ volume, region, place, codePages }: Fit): Candidate | undefined {
    const kept = this.#parts.library?.open(volume);
    const { image, number, code } = region;
    return kept && { kept, number, image, place, codePages, changes: undefined, code, stored: region };
  }

  /** Write it to memory. */
  #place(candidate: Candidate, slot: number): (Installed & { readonly kept: Kept }) | undefined {
    const region = this.#placement.write(candidate, slot);
    if (region === 0) return undefined;
    const { kept, number, image, stored } = candidate;
    this.#live.set(slot, region);
    if (!image.grows) this.#large.add(slot);
    const delivery = candidate.changes && this.#state.nrPosted + 1;
    if (stored) this.#ledger.enter(slot, { kept, region: stored }, delivery);
    return { slot, region, kept, name: String(number) };
  }

  /** By module, so that the threads make one instance of each. */
  #arrivals(placed: readonly (Installed & { readonly kept: Kept })[]): Arrival[] {
    return [...Map.groupBy(placed, ({ kept }) => kept)].map(([kept, group]) => {
      const places = group.map(({ slot, region, name }) => ({ slot, region, name }));
      // What was made here is handed out once.
      if (!Library.has(kept)) return { module: kept.module, places };
      const { id, isNew } = this.#handedOut.add(kept, places);
      return isNew ? { id, module: kept.module, places } : { id, places };
    });
  }

  #deliver({ released, arrivals = [], opens = true }: Partial<Delivery> & Pick<Delivery, 'released'>): void {
    const number = this.#state.nrPosted + 1;
    this.#slots.release(released, number);
    for (const slot of released) this.#large.delete(slot);
    const forgotten = this.#handedOut.release(released);
    this.#parts.deliver({ tableLength: this.#slots.tableLength, released, forgotten, arrivals, opens });
    this.#state.nrPosted = number;
  }

  /** Deliveries that all installers have carried out. */
  #installed(): number {
    const { u32 } = this.#memory;
    const first = (this.#state.address + TranslatorState.offsets.nrInstalled) >>> 2;
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#parts.nrInstallers; i++) {
      least = Math.min(least, Atomics.load(u32, first + i));
    }
    return least;
  }

  /** Slots of the regions that are over since the last time. */
  #takeNote(): number[] {
    // Before the list is looked at: it then has all regions of these deliveries that could not be opened.
    const installed = this.#installed();
    const isNews = this.#state.firstOver !== 0 || this.#cache.generation !== this.#generation;
    const slots = isNews ? this.#cache.lock.during(() => this.#takeOver()) : [];
    for (const slot of slots) this.#ledger.leave(slot);
    this.#ledger.confirm(installed);
    return slots;
  }
  #takeOver(): number[] {
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
    const handler = this.#memory.u16[place.record >>> 1] as number;
    const limits = handler >= FIRST_REGION ? LARGE : { ...SMALL, entriesToGrow: this.#cache.hotEntries };
    const region = formRegion(code, place.offset, limits);
    return region && { place, region, changes: code.changes };
  }

  /** Is the record still what jumps to that place lead to? */
  #isCurrent({ record, offset, codePage, generation }: HotPlace): boolean {
    const { u16, u32 } = this.#memory;
    if (this.#cache.generation !== generation) return false;
    const handler = u16[record >>> 1] as number;
    if (handler === Pseudo.stale || handler === Pseudo.crossing) return false;
    if (this.#large.has(handler - FIRST_CALLED)) return false;
    return recordAt(u32, codePage, offset) === record;
  }

  // ---- regions of the library ----

  /** What the library has for these places, and for those that waited for their pages. */
  #fitting(places: readonly HotPlace[]): Fit[] {
    const shelf = this.#shelf;
    if (!shelf) return [];
    const fits = new Map<number, Fit>();
    for (const place of places) {
      const looks = [...shelf.arrived(place), ...(place.reason === Reason.page ? [] : [place])];
      for (const one of looks) {
        if (!this.#isCurrent(one)) continue;
        const best = shelf.fitting(one).at(-1);
        if (best && this.#isBetter(best)) fits.set(one.record, best);
      }
    }
    return [...fits.values()];
  }
  /** Than what is there already. */
  #isBetter({ place, region }: Fit): boolean {
    const handler = this.#memory.u16[place.record >>> 1] as number;
    return handler < FIRST_REGION || !region.image.grows;
  }

  /** There is nothing to make. Returns whether something else was done. */
  rest(): boolean {
    return this.#ledger.handOn();
  }

  /** At the machine's end, when no other thread is in its memory: hand what is new to the library. */
  close(): void {
    // Without the lock, which a thread that was stopped may have left behind.
    const installed = this.#installed();
    for (const slot of this.#takeOver()) this.#ledger.leave(slot);
    this.#ledger.confirm(installed);
    for (const record of this.#live.values()) {
      const { replaced } = RegionRecord.at(this.#memory.view, record);
      if (replaced !== 0) this.#ledger.replace(replaced - FIRST_CALLED);
    }
    this.#ledger.close();
  }
}
