/**
 * What lies in a domain's guest-physical memory, and which of its pages have to be written down: those that are not zero.
 */
import { frameAddress, mfn, PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { grantTable } from '../hypervisor/grant/table.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import {
  forEachEntry,
  frameOwner,
  p2mType,
  readElsewhere,
  STORED_PAGES,
  unreadPage,
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

  add(place: number): number {
    if (place > 0 && this.#isZero(frameAddress(mfn(place)))) return 0;
    this.#places.push(place);
    const page = this.get(this.#places.length - 1);
    if (page !== this.#copy) this.#copy.set(page);
    this.#crcs.push(crc32(this.#copy));
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
  const names = new Map<number, number>([[0, NO_FRAME]]);
  const runs: Run[] = [];
  let last: Run | undefined;
  const add = (gfn: number, kind: number, first: number, count = 1): void => {
    if (
      last !== undefined &&
      last.gfn + last.count === gfn &&
      last.kind === kind &&
      (kind === MapKind.zero || kind === MapKind.mmio || last.first + last.count === first)
    ) {
      last.count += count;
      return;
    }
    last = { gfn, kind, first, count };
    runs.push(last);
  };
  const addPage = (gfn: number, page: number): void =>
    page === 0 ? add(gfn, MapKind.zero, 0) : add(gfn, MapKind.pages, page);

  const addUnread = (gfn: number, number: number): void =>
    addPage(gfn, number === 0 ? 0 : pages.add(-number));
  const addEntry = (gfn: number, entry: number): void => {
    const type = p2mType(entry);
    const number = entry & P2m.mfnMask;
    if (type === P2m.mmio) add(gfn, MapKind.mmio, 0);
    else if (type === P2m.paged) addUnread(gfn, number);
    else if (type === P2m.unread) addUnread(gfn, unreadPage(domain.hypervisor, number));
    else if (type === P2m.shared) addPage(gfn, number === 0 ? 0 : pages.add(-(STORED_PAGES + number)));
    else if (frameOwner(domain.hypervisor, number) === domain.id) {
      if (frames.has(number)) names.set(number, gfn);
      addPage(gfn, pages.add(number));
    } else add(gfn, ...ownFrame(domain, number));
  };
  forEachEntry(domain, addEntry, (gfn, count, entry) => {
    const number = entry & P2m.mfnMask;
    if (number === 0) add(gfn, MapKind.zero, 0, count);
    else for (let i = 0; i < count; i++) addUnread(gfn + i, number + i);
  });

  const loose: number[] = [];
  for (const frame of frames) {
    if (names.has(frame)) continue;
    names.set(frame, LOOSE_FRAME + loose.length);
    loose.push(pages.add(frame));
  }
  return {
    runs: encodeRuns(runs),
    loose: new Uint8Array(Uint32Array.from(loose).buffer),
    nameOf: frame => names.get(frame) as number,
  };
}

/** A frame of the hypervisor's own that the guest sees. */
function ownFrame(domain: Domain, frame: number): [kind: number, first: number] {
  const { sharedInfo, nrGrantFrames } = domain.state;
  if (frame === sharedInfo >>> 12) return [MapKind.sharedInfo, 0];
  const table = grantTable(domain);
  for (let i = 0; i < nrGrantFrames; i++)
    if (frame === table.shared.get(i) >>> 12) return [MapKind.grantFrame, i];
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
