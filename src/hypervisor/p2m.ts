/**
 * The guest-physical map: which machine frame backs each guest frame.
 *
 * The table is an array of u32 (cpu/vcpu/layout.ts `P2m`), read directly by the CPU engine. Each entry that maps a
 * frame holds one reference on it; the frame goes back to the allocator with the last one. A frame's owner tells what
 * the mapping is: the domain itself (its RAM), DOMID_XEN (shared info, grant table), or another domain (a grant).
 *
 * The table's pages are *whole* as long as nobody has looked at any RAM of theirs: then their entries, which follow from one word
 * (p2m-pages.ts), are not there yet and read as zero, for the CPU engine as well, which asks here. Most of a guest's memory is like that.
 */
import {
  gfn as asGfn,
  type DomainId,
  frameAddress,
  type Gfn,
  type Mfn,
  mfn,
  PAGE_SIZE,
} from '../base/brand.ts';
import { DomusError, invariant } from '../base/errors.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { DOMID_XEN, FrameEntry, FrameFlag, FrameType } from '../machine/frames.ts';
import { FRAME_TABLE_BASE } from '../machine/memory.ts';
import { type Domain, type Hypervisor, isParallel } from './hypervisor.ts';
import { ENTRIES_PER_PAGE, fillEntries, setWhole, spread, wholeEntry } from './p2m-pages.ts';
import { DomainState } from './state.ts';

const D = DomainState.offsets;

/** The entry as it is, 0 when the gfn is out of range or not mapped. It may be changed in its place. */
export function rawEntry(domain: Domain, gfn: number): number {
  // Past the accessors, whose calls V8 does not write inline: backends ask for every page of every request.
  const { u32 } = domain.hypervisor.memory;
  const { address } = domain.state;
  if (!(gfn >= 0 && gfn < u32[(address + D.p2mCount) >>> 2]!)) return 0;
  const word = (u32[(address + D.p2m) >>> 2]! >>> 2) + gfn;
  const entry = u32[word]!;
  return entry === 0 && spread(domain, Math.floor(gfn / ENTRIES_PER_PAGE)) ? u32[word]! : entry;
}

/** The same, where RAM without a frame gets one first, and any RAM may be written to afterwards. */
export function p2mEntry(domain: Domain, gfn: number): number {
  const entry = rawEntry(domain, gfn);
  return p2mType(entry) >= P2m.frozen ? pageIn(domain, gfn) : entry;
}

/** Pages of the store have these numbers among those that are elsewhere; lower ones are in what the machine is filled from. */
export const STORED_PAGES = P2m.mfnMask + 1;

/** Fill `into` with a page that is elsewhere. @throws DomusError when it cannot be read any more */
export function readElsewhere({ pages, store }: Hypervisor, number: number, into: Uint8Array): void {
  const source = number < STORED_PAGES ? pages : store;
  invariant(source, 'there is nothing to read pages from');
  source.read(number % STORED_PAGES, into);
}

/** Make ordinary RAM of what is RAM: with a frame, its contents, and nobody else's look at it. Returns the entry. */
export function pageIn(domain: Domain, gfn: number): number {
  const { hypervisor } = domain;
  const entry = rawEntry(domain, gfn);
  const number = entry & P2m.mfnMask;
  switch (p2mType(entry)) {
    case P2m.frozen:
      hypervisor.images.keep(number);
      return setRam(domain, gfn, number);
    case P2m.idle:
    case P2m.offered:
      return setRam(domain, gfn, number);
    case P2m.paged:
      if (number !== 0) {
        hypervisor.trail?.add(gfn, number);
        hypervisor.borrowed?.add(domain, gfn);
      }
      return setRam(domain, gfn, frameFor(domain, number));
    case P2m.unread:
      fill(domain, number, pageOfFrame(hypervisor, number));
      hypervisor.memory.u8[entryAddress(number) + FrameEntry.offsets.flags]! &= ~FrameFlag.unread;
      return setRam(domain, gfn, number);
    case P2m.shared: {
      const frame = frameFor(domain, number === 0 ? 0 : STORED_PAGES + number);
      if (number !== 0) hypervisor.store?.release(number);
      return setRam(domain, gfn, frame);
    }
    default:
      // Another vCPU may have come first.
      return entry;
  }
}

/**
 * The same for a page that only the decoder is going to read: where its contents are near they may stay there, and cost no memory. They stay
 * as well where it is to be known which pages are read by nobody else.
 */
export function pageInForFetch(domain: Domain, gfn: number): void {
  const { hypervisor, id } = domain;
  const { u8, u32 } = hypervisor.memory;
  const entry = rawEntry(domain, gfn);
  const page = entry & P2m.mfnMask;
  const stays = page !== 0 && (hypervisor.trail !== undefined || hypervisor.pages?.isNear?.(page));
  if (!hypervisor.leavesCode || p2mType(entry) !== P2m.paged || !stays) {
    pageIn(domain, gfn);
    return;
  }
  hypervisor.trail?.add(gfn, page);
  const frame = hypervisor.frames.redeemUntouched(id);
  notePage(hypervisor, frame, page);
  u8[entryAddress(frame) + FrameEntry.offsets.flags]! |= FrameFlag.unread;
  u32[domain.state.p2m / 4 + gfn] = (frame | (P2m.unread << P2m.typeShift)) >>> 0;
}

/** Somebody else is going to read code, too: from now on frames of code have their contents. */
export function fillCode(hypervisor: Hypervisor): void {
  if (!hypervisor.leavesCode) return;
  hypervisor.leavesCode = false;
  for (const domain of hypervisor.domains.values()) {
    forEachEntry(domain, (gfn, entry) => {
      if (p2mType(entry) === P2m.unread) pageIn(domain, gfn);
    });
  }
}

/** The page that a frame was filled from or, of an unread one, where its contents are; 0 when it was not. */
export const pageOfFrame = ({ memory }: Hypervisor, frame: number): number =>
  memory.u32[(entryAddress(frame) + FrameEntry.offsets.next) >>> 2]!;

function notePage({ memory }: Hypervisor, frame: number, page: number): void {
  memory.u32[(entryAddress(frame) + FrameEntry.offsets.next) >>> 2] = page;
}

/** The frame that a page was promised, with its contents: page `number` that is elsewhere, 0 for zeros. */
function frameFor(domain: Domain, number: number): Mfn {
  const frame = domain.hypervisor.frames.redeem(domain.id);
  if (number === 0) return frame;
  fill(domain, frame, number);
  // What was decoded there may be of use here (cpu/decode/decoded-before.ts). In the store nothing is decoded.
  if (number < STORED_PAGES) notePage(domain.hypervisor, frame, number);
  return frame;
}

function fill({ hypervisor }: Domain, frame: number, number: number): void {
  const address = frameAddress(mfn(frame));
  readElsewhere(hypervisor, number, hypervisor.memory.u8.subarray(address, address + PAGE_SIZE));
}

function setRam({ hypervisor, state }: Domain, gfn: number, frame: number): number {
  const present = (frame | (P2m.ram << P2m.typeShift)) >>> 0;
  hypervisor.memory.u32[state.p2m / 4 + gfn] = present;
  return present;
}

/** Types of RAM that has a frame, and its contents there. */
export const FREEZABLE: ReadonlySet<number> = new Set([P2m.ram, P2m.idle, P2m.offered]);

/**
 * All entries that map something, in order.
 * @param visitWhole is told of RAM that nobody has looked at, page of the p2m by page; without it that is passed over
 */
export function forEachEntry(
  domain: Domain,
  visit: (gfn: number, entry: number) => void,
  visitWhole?: (gfn: number, count: number, entry: number) => void,
): void {
  const { u32 } = domain.hypervisor.memory;
  const { p2m } = domain.state;
  visitPages(domain, (first, count, whole) => {
    if (whole !== 0) {
      visitWhole?.(first, count, whole);
      return;
    }
    for (let gfn = first; gfn < first + count; gfn++) {
      const entry = u32[p2m / 4 + gfn]!;
      if (entry !== 0) visit(gfn, entry);
    }
  });
}

/** The table's pages that are in use, in order: with the first entry of those that are whole (p2m-pages.ts), else with 0. */
export function visitPages(
  domain: Domain,
  visit: (first: number, count: number, whole: number) => void,
): void {
  const { p2mInUse, p2mCount } = domain.state;
  for (let page = 0; page * ENTRIES_PER_PAGE < p2mCount; page++) {
    if ((p2mInUse.get(page >>> 5) & (1 << (page & 31))) === 0) continue;
    const first = page * ENTRIES_PER_PAGE;
    visit(first, Math.min(ENTRIES_PER_PAGE, p2mCount - first), wholeEntry(domain, page));
  }
}

/** Entries from `first` on are about to be made. */
function use(domain: Domain, first: number, count = 1): void {
  const { state, hypervisor } = domain;
  const { u32 } = hypervisor.memory;
  const words = (state.address + DomainState.offsets.p2mInUse) / 4;
  for (let gfn = first - (first % ENTRIES_PER_PAGE); gfn < first + count; gfn += ENTRIES_PER_PAGE) {
    const page = gfn / ENTRIES_PER_PAGE;
    spread(domain, page);
    u32[words + (page >>> 5)]! |= 1 << (page & 31);
  }
}

export const p2mType = (entry: number): number => entry >>> P2m.typeShift;

/** Frame behind a gfn, 0 when there is none (or it is MMIO). */
export function mfnOfGfn(domain: Domain, gfn: number): number {
  const entry = p2mEntry(domain, gfn);
  const type = p2mType(entry);
  return type === P2m.ram || type === P2m.readOnly ? entry & P2m.mfnMask : 0;
}

/** Fields of a frame table entry, read past the accessors: these are asked for at every page of every copy. */
const entryAddress = (frame: number): number => FRAME_TABLE_BASE + frame * FrameEntry.size;

export const frameOwner = (hypervisor: Hypervisor, frame: number): number =>
  hypervisor.memory.u16[(entryAddress(frame) + FrameEntry.offsets.owner) >>> 1]!;

/**
 * Are instructions of this frame decoded (`FrameFlag.code`)? Asked after something was written to it. The atomic
 * operation keeps the order: whoever sets the mark later finds what was written.
 */
export const holdsCode = (hypervisor: Hypervisor, frame: number): boolean =>
  (Atomics.or(hypervisor.memory.u8, entryAddress(frame) + FrameEntry.offsets.flags, 0) & FrameFlag.code) !==
  0;

/** Frame behind a gfn if it is ordinary writable RAM of the domain's own, else 0. */
export function ramOfGfn(domain: Domain, gfn: number): number {
  const entry = p2mEntry(domain, gfn);
  if (p2mType(entry) !== P2m.ram) return 0;
  const frame = entry & P2m.mfnMask;
  return frameOwner(domain.hypervisor, frame) === domain.id ? frame : 0;
}

/** Machine address of a guest-physical address in own RAM or any mapped frame, 0 when there is none. */
export function addressOfGfn(domain: Domain, gfn: number): number {
  const frame = mfnOfGfn(domain, gfn);
  return frame === 0 ? 0 : frameAddress(mfn(frame));
}

/** How many refer to the frame: each p2m entry, and whoever keeps its address. */
export const referencesTo = (hypervisor: Hypervisor, frame: number): number =>
  hypervisor.memory.u32[(entryAddress(frame) + FrameEntry.offsets.count) >>> 2]!;

export const takeReference = (hypervisor: Hypervisor, frame: number): void => {
  hypervisor.memory.u32[(entryAddress(frame) + FrameEntry.offsets.count) >>> 2]! += 1;
};

/** As `dropReference`, of a frame to which somebody else refers too; false, and nothing is done, when nobody does. */
export const dropSpareReference = (hypervisor: Hypervisor, frame: number): boolean => {
  const { u32 } = hypervisor.memory;
  const count = (entryAddress(frame) + FrameEntry.offsets.count) >>> 2;
  if (u32[count]! < 2) return false;
  u32[count]! -= 1;
  return true;
};

export const dropReference = (hypervisor: Hypervisor, frame: number): void => {
  hypervisor.frames.release(mfn(frame));
};

/** TLBs are flushed before the domain's next entry, once for any number of changes. */
export const mapChanged = (domain: Domain): void => {
  domain.state.p2mStale = 1;
};

/** To be called before a vCPU of the domain runs. */
export function flushStale(domain: Domain): void {
  if (domain.state.p2mStale === 0) return;
  domain.state.p2mStale = 0;
  domain.hypervisor.engine.p2mChanged?.(domain);
}

/** Map `frame` at `gfn`, taking over the caller's reference. The gfn must be in range; what was there is unmapped. */
export function mapGfn(domain: Domain, gfn: number, frame: number, type: number = P2m.ram): void {
  const { state, hypervisor } = domain;
  if (p2mEntry(domain, gfn) !== 0) unmapGfn(domain, gfn);
  use(domain, gfn);
  hypervisor.memory.u32[state.p2m / 4 + gfn] = (frame | (type << P2m.typeShift)) >>> 0;
  if (gfn >= state.maxMappedGfn) state.maxMappedGfn = gfn + 1;
}

/** Mark a gfn as emulated (local APIC). It must hold no frame. */
export function mapMmio(domain: Domain, gfn: Gfn): void {
  use(domain, gfn);
  domain.hypervisor.memory.u32[domain.state.p2m / 4 + gfn] = P2m.mmio << P2m.typeShift;
}

/** RAM without a frame goes without having been there. Returns false for a gfn that holds something else. */
export function forgoPaged(domain: Domain, gfn: number): boolean {
  const { state, hypervisor } = domain;
  const entry = rawEntry(domain, gfn);
  const type = p2mType(entry);
  if (type !== P2m.paged && type !== P2m.shared) return false;
  const number = entry & P2m.mfnMask;
  if (type === P2m.shared && number !== 0) hypervisor.store?.release(number);
  hypervisor.memory.u32[state.p2m / 4 + gfn] = 0;
  hypervisor.frames.forgo(1);
  state.totPages -= 1;
  return true;
}

/** Remove a mapping and its reference. Returns the frame, 0 if there was none. */
export function unmapGfn(domain: Domain, gfn: number): number {
  const { state, hypervisor } = domain;
  if (forgoPaged(domain, gfn)) return 0;
  const frame = mfnOfGfn(domain, gfn);
  if (p2mEntry(domain, gfn) === 0) return 0;
  hypervisor.memory.u32[state.p2m / 4 + gfn] = 0;
  mapChanged(domain);
  if (frame !== 0) {
    if (frameOwner(hypervisor, frame) === domain.id) state.totPages -= 1;
    dropReference(hypervisor, frame);
  }
  return frame;
}

/**
 * Give the guest fresh zeroed RAM at `gfn`. Returns false when the domain has all it may have, the gfn is out of
 * range, or machine memory is used up.
 */
export function populateGfn(domain: Domain, gfn: number): boolean {
  const { state, hypervisor } = domain;
  if (!(gfn >= 0 && gfn < state.p2mCount) || state.totPages >= state.maxPages) return false;
  const old = p2mEntry(domain, gfn);
  if (old !== 0 && (p2mType(old) === P2m.mmio || ramOfGfn(domain, gfn) === 0)) return false;
  const frame = allocateRam(hypervisor, domain.id);
  if (frame === 0) return false;
  mapGfn(domain, gfn, frame);
  state.totPages += 1;
  return true;
}

function allocateRam(hypervisor: Hypervisor, owner: DomainId): Mfn | 0 {
  if (hypervisor.frames.nrFree === 0) return 0;
  try {
    return hypervisor.frames.allocate(owner, FrameType.ram);
  } catch (error) {
    if (error instanceof DomusError) return 0;
    throw error;
  }
}

/**
 * Give `count` frames from `first` on, which have nothing yet, memory, which comes when it is first looked at: zeros, or what is in the
 * pages from `page` on. For those who make domains. @throws DomusError E_MACHINE_FULL
 */
export function populateRange(domain: Domain, first: Gfn, count: number, page = 0): void {
  const { state, hypervisor } = domain;
  if (first + count > state.p2mCount || state.totPages + count > state.maxPages) {
    throw new DomusError(
      'E_MACHINE_FULL',
      `domain ${domain.id}: no memory for ${count} guest frames from 0x${first.toString(16)} on`,
      'give the guest less memory, or run fewer domains',
    );
  }
  hypervisor.frames.promise(count);
  use(domain, first, count);
  const paged = P2m.paged << P2m.typeShift;
  for (let done = 0; done < count; ) {
    const gfn = first + done;
    const entry = page === 0 ? paged : paged | (page + done);
    const size = Math.min(ENTRIES_PER_PAGE - (gfn % ENTRIES_PER_PAGE), count - done);
    // Where vCPUs read the table at the same time its entries are there from the beginning.
    if (size === ENTRIES_PER_PAGE && !isParallel(hypervisor)) setWhole(domain, gfn / ENTRIES_PER_PAGE, entry);
    else fillEntries(domain, gfn, size, entry);
    done += size;
  }
  state.totPages += count;
  state.maxMappedGfn = Math.max(state.maxMappedGfn, first + count);
}

/** Map one of the hypervisor's own frames (shared info, grant table) at a gfn; what was there goes. */
export function mapSpecial(domain: Domain, gfn: number, frame: number, oldGfn: number): boolean {
  const { state, hypervisor } = domain;
  if (!(gfn >= 0 && gfn < state.p2mCount)) return false;
  const present = mfnOfGfn(domain, gfn);
  if (p2mType(p2mEntry(domain, gfn)) === P2m.mmio) return false;
  // A grant is unmapped through its handle, never by mapping something over it.
  if (present !== 0 && isForeign(domain, present)) return false;
  takeReference(hypervisor, frame);
  if (oldGfn < state.p2mCount && oldGfn !== gfn && mfnOfGfn(domain, oldGfn) === frame)
    unmapGfn(domain, oldGfn);
  mapGfn(domain, gfn, frame);
  return true;
}

/** Does the frame belong to another domain (so that only a grant can have put it into the p2m)? */
export function isForeign(domain: Domain, frame: number): boolean {
  const owner = frameOwner(domain.hypervisor, frame);
  return owner !== domain.id && owner !== DOMID_XEN;
}

export const gfnOfNumber = (value: bigint): Gfn => asGfn(value > 0xffff_ffffn ? 0xffff_ffff : Number(value));
