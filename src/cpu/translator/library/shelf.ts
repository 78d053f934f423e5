/**
 * Which regions of the library fit into one machine: a region may begin where the guest has just decoded an instruction, and fits
 * when each of its pages has been executed, by whatever address space, at the right distance, and has the bytes that the
 * region was made of. Whether the pages are mapped like that for a vCPU is looked at by the region itself.
 */
import type { MachineMemory } from '../../../machine/memory.ts';
import { CodePage } from '../../decode/record.ts';
import type { CodeCache } from '../code-cache.ts';
import { codeOf } from '../placement.ts';
import type { HotPlace } from '../requests.ts';
import type { Found, Library } from './library.ts';
import { placeKey } from './place-key.ts';

const P = CodePage.offsets;
const PAGE_SHIFT = 12n;
/** Linear pages that are remembered: a program is loaded elsewhere each time. */
const PAGES_MAX = 1 << 16;
/** Regions that wait for pages, at a time. */
const WAITING_MAX = 1 << 15;

/** A region of the library, and where in the machine it fits. */
export interface Fit extends Found {
  readonly place: HotPlace;
  /** Machine addresses of the code pages, in the order of the image's. */
  readonly codePages: readonly number[];
}

export class Shelf {
  readonly #library: Library;
  readonly #memory: MachineMemory;
  readonly #cache: CodeCache;
  /** Code pages by number of the linear page that they were executed at last. */
  readonly #pages = new Map<bigint, number>();
  /** Places by number of a linear page that something there still lacks. */
  readonly #waiting = new Map<bigint, HotPlace[]>();
  #nrWaiting = 0;
  #generation: number;

  constructor(library: Library, memory: MachineMemory, cache: CodeCache) {
    this.#library = library;
    this.#memory = memory;
    this.#cache = cache;
    this.#generation = cache.generation;
  }

  /** A page is executed: places that may have waited for it. */
  arrived({ linear, codePage, generation }: HotPlace): readonly HotPlace[] {
    if (generation !== this.#generation) {
      this.#generation = generation;
      this.#pages.clear();
      this.#waiting.clear();
      this.#nrWaiting = 0;
    }
    const number = linear >> PAGE_SHIFT;
    if (this.#pages.get(number) === codePage) return [];
    if (this.#pages.size >= PAGES_MAX) this.#pages.clear();
    this.#pages.set(number, codePage);
    const places = this.#waiting.get(number) ?? [];
    this.#waiting.delete(number);
    this.#nrWaiting -= places.length;
    return places;
  }

  /** What fits at a place, the best one last. */
  fitting(place: HotPlace): Fit[] {
    if (place.generation !== this.#generation) return [];
    const { u32, u8 } = this.#memory;
    const page = (u32[(place.codePage + P.mfn) >>> 2] as number) * 4096;
    const found = this.#library.find(placeKey(u8, page, place.offset));
    const fits = found.flatMap(candidate => this.#fit(place, candidate) ?? []);
    return fits.sort((a, b) => Number(b.region.image.grows) - Number(a.region.image.grows));
  }
  #fit(place: HotPlace, { volume, region }: Found): Fit | undefined {
    const { image, code } = region;
    if (image.mode !== place.mode || image.entries[0]?.place.offset !== place.offset) return undefined;
    const codePages: number[] = [];
    for (const distance of image.pages) {
      const number = (place.linear >> PAGE_SHIFT) + BigInt(distance);
      const codePage = distance === 0 ? place.codePage : this.#pages.get(number);
      if (codePage === undefined) {
        this.#wait(place, number);
        return undefined;
      }
      const isUsable = this.#cache.holds(codePage) && u32At(this.#memory, codePage + P.mode) === image.mode;
      if (!isUsable) return undefined;
      codePages.push(codePage);
    }
    const now = codeOf(this.#memory, image, codePages);
    return now.every((byte, i) => byte === code[i]) ? { volume, region, place, codePages } : undefined;
  }
  #wait(place: HotPlace, number: bigint): void {
    if (this.#nrWaiting >= WAITING_MAX) return;
    const places = this.#waiting.get(number) ?? [];
    if (places.some(({ record }) => record === place.record)) return;
    this.#waiting.set(number, [...places, place]);
    this.#nrWaiting += 1;
  }
}

const u32At = ({ u32 }: MachineMemory, address: number): number => u32[address >>> 2] as number;
