/** Writes regions to memory of a machine's code cache: their records and all around them (layout.ts). */
import type { MachineMemory } from '../../machine/memory.ts';
import { CodePage, CodeRecord, RECORD_BYTES } from '../decode/record.ts';
import { Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_CALLED } from '../isa/form-numbers.ts';
import type { CodeCache } from './code-cache.ts';
import { writeInstruction } from './instruction.ts';
import {
  ANY_CHANGES,
  align16,
  BlockCount,
  calledOffset,
  countOffset,
  ENTRY_BYTES,
  ENTRY_CODE_PAGE_OFFSET,
  ENTRY_REGION_OFFSET,
  Extent,
  RegionPage,
  RegionRecord,
  regionPageOffset,
  TranslatorState,
  translatorState,
} from './layout.ts';
import { PAGE } from './region.ts';
import type { EntryPoint, RegionImage } from './region-image.ts';
import type { HotPlace } from './requests.ts';

const R = CodeRecord.offsets;
const P = CodePage.offsets;
const NOTHING = new Uint8Array();

/** A region, and where in this machine it belongs. */
export interface Placed {
  readonly image: RegionImage;
  readonly place: HotPlace;
  /** Addresses of the code pages, in the order of the image's. */
  readonly codePages: readonly number[];
  /** The pages' counts of changes before their instructions were read here; undefined when they were not. */
  readonly changes: readonly number[] | undefined;
  /** The bytes of all runs; without them the counts of changes are enough. */
  readonly code: Uint8Array | undefined;
}

export class Placement {
  readonly #memory: MachineMemory;
  readonly #cache: CodeCache;
  readonly #state: ReturnType<typeof translatorState>;

  constructor(memory: MachineMemory, cache: CodeCache) {
    this.#memory = memory;
    this.#cache = cache;
    this.#state = translatorState(memory);
  }

  /**
   * Write the region, whose handler is at `slot`, for `openRegion` of the runtime.
   * @returns the record's address; 0 when there is no room
   */
  write({ image, place, codePages, changes, code = NOTHING }: Placed, slot: number): number {
    const head = image.entries.length * ENTRY_BYTES;
    const count = (index: number) => countOffset(codePages.length, image.called.length, index);
    const firstExtent = align16(count(image.counted.length));
    const codeAt = firstExtent + image.runs.length * Extent.size;
    const first = this.#cache.take(head + codeAt + align16(code.length), place.generation);
    if (first === 0) return 0;
    return this.#whileKept(place.generation, () => {
      const { u8, view } = this.#memory;
      u8.fill(0, first, first + head + firstExtent);
      const record = RegionRecord.at(view, first + head);
      const { address } = record;
      record.handler = FIRST_CALLED + slot;
      record.nrEntries = image.entries.length;
      record.entries = first;
      record.nrPages = codePages.length;
      record.nrExtents = image.runs.length;
      record.extents = address + firstExtent;
      record.code = code.length > 0 ? address + codeAt : 0;
      record.generation = place.generation;
      record.place = place.record;
      record.isSmall = image.grows ? 1 : 0;
      record.counts = address + count(0);
      record.nrCounts = image.counted.length;
      codePages.forEach((codePage, index) => {
        const page = RegionPage.at(view, address + regionPageOffset(index));
        page.page = codePage;
        page.changes = changes?.[index] ?? ANY_CHANGES;
      });
      image.called.forEach((instruction, index) => {
        writeInstruction(view, address + calledOffset(codePages.length, index), instruction);
      });
      image.counted.forEach(({ page, offset }, index) => {
        const block = BlockCount.at(view, address + count(index));
        block.page = page;
        block.offset = offset;
      });
      image.runs.forEach(({ page, from, to }, index) => {
        const extent = Extent.at(view, address + firstExtent + index * Extent.size);
        extent.region = address;
        extent.page = codePages[page] as number;
        extent.from = from;
        extent.to = to;
      });
      u8.set(code, address + codeAt);
      image.entries.forEach((entry, index) => {
        const codePage = codePages[image.pages.indexOf(entry.place.page)] as number;
        this.#writeEntry(first + index * ENTRY_BYTES, address, codePage, entry);
      });
      return address;
    });
  }

  #writeEntry(
    entry: number,
    region: number,
    codePage: number,
    { number, place: { page, offset }, instruction }: EntryPoint,
  ): void {
    const { u16, u32, view } = this.#memory;
    const [copy, onward] = [entry + RECORD_BYTES, entry + 2 * RECORD_BYTES];
    writeInstruction(view, copy, instruction);
    writeInstruction(view, entry, instruction);
    u16[entry >>> 1] = RegionRecord.at(view, region).handler;
    u32[(entry + ENTRY_REGION_OFFSET) >>> 2] = region;
    view.setBigInt64(entry + R.displacement, BigInt(page * PAGE), true);
    u32[(entry + R.immediate) >>> 2] = number;
    u16[onward >>> 1] = Pseudo.proceed;
    u16[(onward + R.offset) >>> 1] = offset + instruction.length;
    u32[(entry + ENTRY_CODE_PAGE_OFFSET) >>> 2] = codePage;
  }

  /** Write, unless the memory is somebody else's by now; it does not become that meanwhile. */
  #whileKept(generation: number, write: () => number): number {
    const word = (this.#state.address + TranslatorState.offsets.isWriting) >>> 2;
    const { u32 } = this.#memory;
    Atomics.store(u32, word, 1);
    try {
      return this.#cache.generation === generation ? write() : 0;
    } finally {
      Atomics.store(u32, word, 0);
    }
  }
}

/** The bytes that a region was made of, as the pages have them now, one after the other. */
export function codeOf(
  memory: MachineMemory,
  { runs }: RegionImage,
  codePages: readonly number[],
): Uint8Array {
  const bytes = new Uint8Array(runs.reduce((sum, { from, to }) => sum + to - from, 0));
  let at = 0;
  for (const { page, from, to } of runs) {
    const frame = (memory.u32[((codePages[page] as number) + P.mfn) >>> 2] as number) * PAGE;
    bytes.set(memory.u8.subarray(frame + from, frame + to), at);
    at += to - from;
  }
  return bytes;
}
