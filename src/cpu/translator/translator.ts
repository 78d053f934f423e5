/**
 * The translator as a thread that runs guest code has it: it passes hot places on to the maker of regions, and puts the regions that
 * come back into this thread's table of handlers.
 *
 * A region is entered through an *entry record* in place of its first instruction's record: its handler number is the
 * region's place in the table. Which regions there are is written in machine memory (layout.ts), so it makes no
 * difference which thread finds that code has changed. Where a thread's table has no region yet, or none any more, stands
 * one that does nothing.
 */
import { machineHeader } from '../../machine/header.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import type { CodeBytes } from '../decode/decoded-before.ts';
import { CodePage, CodeRecord } from '../decode/record.ts';
import { recordAt } from '../decode/record-table.ts';
import type { DecodedRun } from '../decode/run.ts';
import { ABSENT_REGION, CHAINED, Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_REGION } from '../isa/form-numbers.ts';
import { importsOf } from '../runtime/runtime.ts';
import type { RuntimeExports } from '../runtime/signatures.ts';
import { TLB_ENTRIES, TlbEntry, Vcpu } from '../vcpu/layout.ts';
import { coolJumps } from './cooling.ts';
import { KnownPlaces } from './known-places.ts';
import { TranslatorState, translatorState } from './layout.ts';
import { mayHavePlace, type PlaceFilter, placeKey } from './library/place-key.ts';
import { type Delivery, RegionMaker } from './maker.ts';
import { type HotPlace, Reason, RequestRing } from './requests.ts';
import { FIRST_SLOT, SLOTS_STEP } from './slots.ts';

const V = Vcpu.offsets;
const R = CodeRecord.offsets;
const P = CodePage.offsets;
const S = TranslatorState.offsets;

/** How often a place must be hot again until the maker is asked again. */
const ASK_AGAIN = 64;
/** Records remembered: more than the ring of requests holds. */
const ASKED_MAX = 4096;

/** The way to a maker of regions on another thread. */
export interface MakerLink {
  /** Which of the machine's installers this thread is, from 0. */
  readonly installer: number;
  /** The maker does not know of the machine, nor looks at its memory, before it is woken for a place that is hot. */
  readonly isLazy: boolean;
  /** Where regions of earlier runs may begin; undefined when there is no library. */
  readonly known: PlaceFilter | undefined;
  /** There are requests, places that are hot among them or not. */
  wake(areHot: boolean): void;
  /** The next delivery; those that are counted in `TranslatorState.nrPosted` are there. */
  receive(): Delivery | undefined;
}

export interface TranslatorParts {
  readonly memory: MachineMemory;
  readonly runtime: RuntimeExports;
  readonly interpreter: WebAssembly.Exports;
  /** Without one regions are made here, at once. */
  readonly link?: MakerLink | undefined;
}

/** Regions made so far, and those of them that were taken back because their code changed. */
export interface TranslatorStatistics {
  readonly regions: number;
  readonly dropped: number;
}

export class Translator {
  readonly #memory: MachineMemory;
  readonly #runtime: RuntimeExports;
  readonly #table: WebAssembly.Table;
  readonly #absent: unknown;
  readonly #imports: WebAssembly.Imports;
  readonly #state: number;
  readonly #link: MakerLink | undefined;
  readonly #requests: RequestRing;
  readonly #known: KnownPlaces;
  readonly #maker: RegionMaker | undefined;
  #nrInstalled = 0;
  /** The maker was asked for something and not woken yet: that is a system call, so it is done once for many. */
  #hasNews = false;
  #areHot = false;
  /** Of modules that more may come of, by number. */
  readonly #instances = new Map<number, WebAssembly.Exports>();
  /** By record: how often it was hot since the maker was asked. */
  readonly #asked = new Map<number, number>();

  constructor({ memory, runtime, interpreter, link }: TranslatorParts) {
    this.#memory = memory;
    this.#runtime = runtime;
    this.#table = interpreter.handlers as WebAssembly.Table;
    this.#absent = interpreter[ABSENT_REGION];
    this.#imports = { env: { memory: memory.wasm }, runtime: importsOf(runtime), interpreter };
    this.#state = machineHeader(memory).translator;
    this.#link = link;
    this.#requests = new RequestRing(memory, this.#state);
    this.#known = new KnownPlaces(memory);
    // Other threads may put in regions that this one has not heard of. Of a lazy maker there may never be any, and most of a
    // machine's memory that is the host's own goes into its table.
    if (!link?.isLazy) this.#table.grow(FIRST_SLOT + SLOTS_STEP - this.#table.length, this.#absent);
    if (!link) {
      const deliver = (delivery: Delivery) => this.#install(delivery);
      this.#maker = new RegionMaker({ memory, runtime, nrInstallers: 1, deliver });
    }
  }

  get statistics(): TranslatorStatistics {
    const { nrRegions, nrDropped } = translatorState(this.#memory);
    return { regions: nrRegions, dropped: nrDropped };
  }

  /**
   * Many jumps have led to `target`, a record in the page that the vCPU executes; or, when that has CHAINED set, a region has
   * often been entered at that record.
   */
  hot(cpu: number, target: number): void {
    const place = this.#placeOf(cpu, target & ~CHAINED);
    if (!place) return;
    const isEntry = (this.#memory.u16[place.record >>> 1] as number) >= FIRST_REGION;
    if (isEntry !== ((target & CHAINED) !== 0)) return;
    if (!isEntry && coolJumps(this.#memory, cpu, target)) return;
    const heat = isEntry ? 'hot' : this.#known.reached(cpu, target);
    if (heat === undefined) return;
    if (this.#maker) this.#maker.make([place]);
    else if (heat === 'warm') {
      if (this.#requests.offer({ ...place, reason: Reason.known })) this.#hasNews = true;
    } else if (this.#isNews(place)) {
      this.#requests.offer(place);
      // Also where there was no room: a maker that has not started yet takes nothing.
      this.#hasNews = true;
      this.#areHot = true;
    }
    this.receive();
  }
  /** Hot places go on being hot while the maker is busy; it is asked again only when it seems to have been in vain. */
  #isNews({ record }: HotPlace): boolean {
    const times = this.#asked.get(record) ?? 0;
    if (this.#asked.size >= ASKED_MAX) this.#asked.clear();
    this.#asked.set(record, (times + 1) % ASK_AGAIN);
    return times === 0;
  }

  #placeOf(cpu: number, target: number): HotPlace | undefined {
    const { u16, u32, view } = this.#memory;
    const linear = view.getBigUint64(cpu + V.codePage, true);
    const codePage = this.#codePage(cpu, linear);
    if (codePage === 0) return undefined;
    const offset = u16[(target + R.offset) >>> 1] as number;
    // A jump may remember what has become stale.
    const record = recordAt(u32, codePage, offset);
    // An entry record takes the place of one record.
    if (record === 0 || u16[record >>> 1] === Pseudo.crossing) return undefined;
    return this.#place(Reason.hot, cpu, record, offset, codePage);
  }
  #place(reason: number, cpu: number, record: number, offset: number, codePage: number): HotPlace {
    const { u32, view } = this.#memory;
    const { codeGeneration: generation } = machineHeader(this.#memory);
    const mode = u32[(cpu + V.mode) >>> 2] as number;
    const linear = view.getBigUint64(cpu + V.codePage, true);
    return { reason, cpu, mode, record, offset, codePage, generation, linear };
  }

  /** Told of instructions that were decoded in the page that the vCPU executes: see `DecodeObserver`. */
  decoded(
    cpu: number,
    { bytes, base }: CodeBytes,
    codePage: number,
    isFirst: boolean,
    run: DecodedRun,
  ): void {
    const known = this.#link?.known;
    if (!known) return;
    if (isFirst && this.#requests.offer(this.#place(Reason.page, cpu, 0, 0, codePage))) this.#hasNews = true;
    for (let i = 0; i < run.length; i++) {
      const offset = run.offsets[i] as number;
      if (!mayHavePlace(known, placeKey(bytes, base, offset))) continue;
      this.#known.add(cpu, run.records[i] as number);
    }
  }

  /** Code page of a linear page, if the vCPU's execute TLB has it. */
  #codePage(cpu: number, linear: bigint): number {
    const { u32, view } = this.#memory;
    const index = Number((linear >> 12n) & BigInt(TLB_ENTRIES - 1)) * TlbEntry.size;
    const entry = (u32[(cpu + V.tlbExec) >>> 2] as number) + index;
    if (view.getBigUint64(entry + TlbEntry.offsets.tag, true) !== linear) return 0;
    return (u32[(entry + TlbEntry.offsets.addend) >>> 2] as number) - P.table;
  }

  /**
   * Wake the maker for what it was asked, and put in what has arrived. To be called now and then between two instructions of guest
   * code.
   */
  receive(): void {
    const link = this.#link;
    if (!link) return;
    if (this.#hasNews) {
      link.wake(this.#areHot);
      this.#hasNews = false;
      this.#areHot = false;
    }
    const posted = Atomics.load(this.#memory.u32, (this.#state + S.nrPosted) >>> 2);
    while (this.#nrInstalled !== posted) {
      const delivery = link.receive();
      if (!delivery) return;
      this.#install(delivery);
    }
  }

  #install({ tableLength, released, forgotten, arrivals, opens }: Delivery): void {
    if (this.#table.length < tableLength) this.#table.grow(tableLength - this.#table.length, this.#absent);
    for (const slot of released) this.#table.set(slot, this.#absent);
    for (const id of forgotten) this.#instances.delete(id);
    for (const { id, module, places } of arrivals) {
      const instance = module && new WebAssembly.Instance(module, this.#imports).exports;
      const exports = instance ?? this.#instances.get(id ?? -1);
      if (instance && id !== undefined) this.#instances.set(id, instance);
      for (const { slot, name, region } of places) {
        this.#table.set(slot, exports?.[name]);
        if (opens) this.#runtime.openRegion(region, 1);
      }
    }
    this.#nrInstalled += 1;
    const word = (this.#state + S.nrInstalled + (this.#link?.installer ?? 0) * 4) >>> 2;
    Atomics.store(this.#memory.u32, word, this.#nrInstalled);
  }
}
