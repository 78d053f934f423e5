/**
 * What lies in a domain's guest-physical memory, and which of its pages have to be written down: those that are not zero.
 */
import { frameAddress, mfn, PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import type { RuntimeExports } from '../cpu/runtime/signatures.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { freezeMap } from '../hypervisor/frozen-map.ts';
import { grantTable } from '../hypervisor/grant/table.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import type { MemoryImage } from '../hypervisor/memory-image.ts';
import {
  FREEZABLE,
  forEachEntry,
  frameOwner,
  p2mType,
  pageOfFrame,
  readElsewhere,
  STORED_PAGES,
} from '../hypervisor/p2m.ts';
import { crc32 } from '../platform/node/checksum.ts';
import { LOOSE_FRAME, MapKind, MapRun, NO_FRAME } from './layout.ts';

const WORDS = PAGE_SIZE / 4;

/** The pages of a machine that is being saved. Their memory must not change until they are written. */
export interface SavedPages {
  readonly count: number;
  /** CRC-32 of each. */
  readonly checks: Uint32Array;
  /** Page `index`, from 0: the memory itself, or (of one that has not been looked at since a restore) a copy that stays good until
   * the next call. */
  get(index: number): Uint8Array;
  /** Is it the memory itself? */
  isInMemory(index: number): boolean;
}

interface Run {
  readonly gfn: number;
  readonly kind: number;
  readonly first: number;
  count: number;
}

/**
 * Collects pages. One is at a frame or, below zero, has a number elsewhere (`readElsewhere`). Returns the number of the page, from 1, or
 * 0 when it is known to hold nothing but zeros.
 */
export interface PageCollector {
  add(place: number): number;
}

/** Pages that are written to a file. */
export class PageList implements SavedPages, PageCollector {
  readonly #domain: Domain;
  readonly #places: number[] = [];
  readonly #crcs: number[] = [];
  readonly #copy = new Uint8Array(PAGE_SIZE);

  constructor(domain: Domain) {
    this.#domain = domain;
  }

  get count(): number {
    return this.#places.length;
  }
  get checks(): Uint32Array {
    return Uint32Array.from(this.#crcs);
  }

  get(index: number): Uint8Array {
    const { hypervisor } = this.#domain;
    const place = this.#places[index] as number;
    const address = frameAddress(mfn(place));
    if (place > 0) return hypervisor.memory.u8.subarray(address, address + PAGE_SIZE);
    readElsewhere(hypervisor, -place, this.#copy);
    return this.#copy;
  }

  isInMemory(index: number): boolean {
    return (this.#places[index] as number) > 0;
  }

  add(place: number): number {
    if (place > 0 && this.#isZero(frameAddress(mfn(place)))) return 0;
    this.#places.push(place);
    this.#crcs.push(crc32(this.get(this.#places.length - 1)));
    return this.#places.length;
  }

  #isZero(address: number): boolean {
    const { u32 } = this.#domain.hypervisor.memory;
    const start = address >>> 2;
    for (let at = start; at < start + WORDS; at += 4) {
      if ((u32[at]! | u32[at + 1]! | u32[at + 2]! | u32[at + 3]!) !== 0) return false;
    }
    return true;
  }
}

export interface SavedMap {
  readonly runs: Uint8Array;
  readonly loose: Uint8Array;
  /** The name of a frame among those that were asked for. */
  nameOf(frame: number): number;
}

/**
 * @param frames machine frames that the hypervisor uses besides, which are to be named
 * @param pages takes the pages that are found
 * @throws DomusError E_SAVE_UNSUPPORTED when the guest has mapped memory of another one
 */
export function saveMap(domain: Domain, frames: ReadonlySet<number>, pages: PageCollector): SavedMap {
  const names = new FrameNamer(frames);
  const lister = new MapLister(pages);
  const addEntry = (gfn: number, entry: number): void => {
    names.see(domain, gfn, entry);
    lister.add(gfn, whatIsAt(domain, entry));
  };
  forEachEntry(domain, addEntry, (gfn, count, entry) => lister.addUnread(gfn, count, entry));
  return { ...lister.finish(names.loose), nameOf: frame => names.nameOf(frame) };
}

/** What a domain's memory held when it was frozen. */
export interface FrozenDomainMap {
  nameOf(frame: number): number;
  /** List it, when there is time. */
  list(): Pick<SavedMap, 'runs' | 'loose'>;
}

/**
 * Freeze a domain's memory for an image of it.
 * @param frames as for `saveMap`
 * @param kept frames that are not frozen, as their addresses are known
 * @throws DomusError E_SAVE_UNSUPPORTED when the guest has mapped memory of another one
 */
export function freezeForImage(
  domain: Domain,
  runtime: RuntimeExports,
  frames: ReadonlySet<number>,
  kept: ReadonlySet<number>,
  image: MemoryImage,
): FrozenDomainMap {
  const frozen = freezeMap(domain, runtime, kept);
  const names = new FrameNamer(frames);
  const others = new Map<number, Listed>();
  for (const [gfn, entry] of frozen.others) {
    names.see(domain, gfn, entry);
    const listed = whatIsAt(domain, entry);
    // Whatever the domain does with it until it is listed.
    if ('place' in listed && -listed.place >= STORED_PAGES) image.expect(-listed.place % STORED_PAGES);
    others.set(gfn, listed);
  }
  return {
    nameOf: frame => names.nameOf(frame),
    list() {
      const lister = new MapLister(image);
      const addEntry = (gfn: number, entry: number): void =>
        lister.add(gfn, others.get(gfn) ?? plainly(entry));
      frozen.forEachEntry(addEntry, (gfn, count, entry) => lister.addUnread(gfn, count, entry));
      const listed = lister.finish(names.loose);
      image.settle();
      return listed;
    },
  };
}

/** What is at a guest frame: a page that a collector is given, or of a kind without pages. */
type Listed = { readonly place: number } | { readonly kind: number; readonly first: number };

const ZERO: Listed = { kind: MapKind.zero, first: 0 };
const DEVICE: Listed = { kind: MapKind.mmio, first: 0 };
const pageAt = (place: number): Listed => ({ place });

/** Of an entry that nothing else must be asked about. */
function plainly(entry: number): Listed {
  const number = entry & P2m.mfnMask;
  switch (p2mType(entry)) {
    case P2m.mmio:
      return DEVICE;
    case P2m.paged:
      return number === 0 ? ZERO : pageAt(-number);
    default:
      return pageAt(number);
  }
}

function whatIsAt(domain: Domain, entry: number): Listed {
  const { hypervisor, id } = domain;
  const number = entry & P2m.mfnMask;
  switch (p2mType(entry)) {
    case P2m.mmio:
    case P2m.paged:
      return plainly(entry);
    case P2m.unread:
      return pageAt(-pageOfFrame(hypervisor, number));
    case P2m.shared:
      return number === 0 ? ZERO : pageAt(-(STORED_PAGES + number));
    default:
      return frameOwner(hypervisor, number) === id ? pageAt(number) : ownFrame(domain, number);
  }
}

/** Finds what guest frames the frames are at that the hypervisor uses. */
class FrameNamer {
  readonly #frames: ReadonlySet<number>;
  readonly #names = new Map<number, number>([[0, NO_FRAME]]);

  constructor(frames: ReadonlySet<number>) {
    this.#frames = frames;
  }

  see({ hypervisor, id }: Domain, gfn: number, entry: number): void {
    const frame = entry & P2m.mfnMask;
    if (!this.#frames.has(frame) || !HAS_FRAME.has(p2mType(entry))) return;
    if (frameOwner(hypervisor, frame) === id) this.#names.set(frame, gfn);
  }

  /** Frames that are at none. */
  get loose(): number[] {
    return [...this.#frames].filter(frame => !this.#names.has(frame));
  }

  nameOf(frame: number): number {
    const name = this.#names.get(frame);
    return name ?? LOOSE_FRAME + this.loose.indexOf(frame);
  }
}

/** Types of entries that have a frame, which may be somebody else's. */
const HAS_FRAME: ReadonlySet<number> = new Set([...FREEZABLE, P2m.frozen, P2m.readOnly]);

class MapLister {
  readonly #pages: PageCollector;
  readonly #runs: Run[] = [];
  #last: Run | undefined;

  constructor(pages: PageCollector) {
    this.#pages = pages;
  }

  add(gfn: number, listed: Listed): void {
    if ('place' in listed) this.#addPage(gfn, this.#pages.add(listed.place));
    else this.#add(gfn, listed.kind, listed.first, 1);
  }
  /** A page of the p2m that nobody has looked at, whose first entry this would be. */
  addUnread(gfn: number, count: number, entry: number): void {
    const number = entry & P2m.mfnMask;
    if (number === 0) this.#add(gfn, MapKind.zero, 0, count);
    else for (let i = 0; i < count; i++) this.#addPage(gfn + i, this.#pages.add(-(number + i)));
  }
  finish(loose: readonly number[]): Pick<SavedMap, 'runs' | 'loose'> {
    const pages = loose.map(frame => this.#pages.add(frame));
    return { runs: encodeRuns(this.#runs), loose: new Uint8Array(Uint32Array.from(pages).buffer) };
  }

  #addPage(gfn: number, page: number): void {
    if (page === 0) this.#add(gfn, MapKind.zero, 0, 1);
    else this.#add(gfn, MapKind.pages, page, 1);
  }
  #add(gfn: number, kind: number, first: number, count: number): void {
    const last = this.#last;
    if (
      last !== undefined &&
      last.gfn + last.count === gfn &&
      last.kind === kind &&
      (kind === MapKind.zero || kind === MapKind.mmio || last.first + last.count === first)
    ) {
      last.count += count;
      return;
    }
    this.#last = { gfn, kind, first, count };
    this.#runs.push(this.#last);
  }
}

/** A frame of the hypervisor's own that the guest sees. */
function ownFrame(domain: Domain, frame: number): Listed {
  const { sharedInfo, nrGrantFrames } = domain.state;
  if (frame === sharedInfo >>> 12) return { kind: MapKind.sharedInfo, first: 0 };
  const table = grantTable(domain);
  for (let i = 0; i < nrGrantFrames; i++)
    if (frame === table.shared.get(i) >>> 12) return { kind: MapKind.grantFrame, first: i };
  throw new DomusError(
    'E_SAVE_UNSUPPORTED',
    'a guest that has mapped memory of another guest cannot be saved',
    'save it when it has given that back',
  );
}

function encodeRuns(runs: readonly Run[]): Uint8Array {
  const bytes = new Uint8Array(runs.length * MapRun.size);
  const view = new DataView(bytes.buffer);
  for (const [i, { gfn, count, kind, first }] of runs.entries()) {
    const run = MapRun.at(view, i * MapRun.size);
    run.gfn = gfn;
    run.count = count;
    run.kind = kind;
    run.first = first;
  }
  return bytes;
}
