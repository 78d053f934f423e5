/**
 * Grant tables: the frames of entries that a guest shares with the hypervisor, the records of who uses which entry,
 * and taking and giving back the use of an entry.
 *
 * Entries are the guest's memory. The flags and the grantee are read and changed as one 32-bit word by
 * compare-and-swap, and the frame number is read once, after the entry is marked as in use: from then on the guest
 * must not change it, and if it does the record still says which machine frame was taken.
 */
import * as gnttab from '../../abi/xen/grant-table.ts';
import { frameAddress, type MachineAddress, maddr, mfn, PAGE_SIZE } from '../../base/brand.ts';
import { wroteTo } from '../guest-memory.ts';
import type { Accessor, Domain } from '../hypervisor.ts';
import { dropReference, ramOfGfn, takeReference } from '../p2m.ts';
import { mfnOf, takeFrame } from '../runs.ts';
import * as layout from '../state.ts';

const ENTRY_BYTES = gnttab.GrantEntryV1.size;
const T = layout.GrantTable.offsets;
const A = layout.ActiveGrant.offsets;
const D = layout.DomainState.offsets;
const SWAP_TRIES = 16;

export const grantTable = (domain: Domain) =>
  layout.GrantTable.at(domain.hypervisor.memory.view, domain.state.grants);

export function setUpGrantTable(domain: Domain): void {
  domain.state.grants = frameAddress(takeFrame(domain.hypervisor));
  const table = grantTable(domain);
  for (let i = 0; i < layout.GRANT_FRAMES_MAX; i++) table.sharedGfn.set(i, layout.GFN_NONE);
  growGrantTable(domain, 1);
}

/** Have at least `count` frames of entries. False when that is more than the domain may have. */
export function growGrantTable(domain: Domain, count: number): boolean {
  const { state, hypervisor } = domain;
  if (count > state.maxGrantFrames) return false;
  const table = grantTable(domain);
  while (state.nrGrantFrames < count) {
    if (hypervisor.frames.nrFree < 16) return false;
    const index = state.nrGrantFrames;
    table.shared.set(index, frameAddress(takeFrame(hypervisor)));
    table.active.set(2 * index, frameAddress(takeFrame(hypervisor)));
    table.active.set(2 * index + 1, frameAddress(takeFrame(hypervisor)));
    state.nrGrantFrames = index + 1;
  }
  return true;
}

export const nrGrants = ({ hypervisor, state }: Domain): number =>
  hypervisor.memory.u32[(state.address + D.nrGrantFrames) >>> 2]! * layout.GRANTS_PER_FRAME;

/** The domain's `GrantTable`, past the accessor: see `acquireGrant`. */
export const tableAddress = ({ hypervisor, state }: Domain): number =>
  hypervisor.memory.u32[(state.address + D.grants) >>> 2]!;

/** Machine address of an entry; the reference must be below `nrGrants`. */
function entryAddress(domain: Domain, ref: number): number {
  const { memory } = domain.hypervisor;
  const index = Math.floor(ref / layout.GRANTS_PER_FRAME);
  const frame = memory.u32[((tableAddress(domain) + T.shared) >>> 2) + index]!;
  return frame + (ref % layout.GRANTS_PER_FRAME) * ENTRY_BYTES;
}

/** Machine address of the record of who uses an entry; the reference must be below `nrGrants`. */
function activeAddress(domain: Domain, ref: number): number {
  const { memory } = domain.hypervisor;
  const index = Math.floor(ref / layout.ACTIVE_PER_FRAME);
  const frame = memory.u32[((tableAddress(domain) + T.active) >>> 2) + index]!;
  return frame + (ref % layout.ACTIVE_PER_FRAME) * layout.ACTIVE_BYTES;
}
export const activeGrant = (domain: Domain, ref: number): Accessor<typeof layout.ActiveGrant> =>
  layout.ActiveGrant.at(domain.hypervisor.memory.view, activeAddress(domain, ref));

/** References that somebody has mapped. */
export function grantsInUse(domain: Domain): number[] {
  const { u16 } = domain.hypervisor.memory;
  const count = nrGrants(domain);
  const refs: number[] = [];
  for (let first = 0; first < count; first += layout.ACTIVE_PER_FRAME) {
    const end = Math.min(first + layout.ACTIVE_PER_FRAME, count);
    let active = activeAddress(domain, first);
    for (let ref = first; ref < end; ref++, active += layout.ACTIVE_BYTES) {
      if ((u16[(active + A.readers) >>> 1]! | u16[(active + A.writers) >>> 1]!) !== 0) refs.push(ref);
    }
  }
  return refs;
}

/** Write an entry on the guest's behalf: the builder seeds references 0 and 1 for console and xenstore. */
export function seedGrant(domain: Domain, ref: number, gfn: number, grantee: number): void {
  const entry = gnttab.GrantEntryV1.at(domain.hypervisor.memory.view, entryAddress(domain, ref));
  entry.domid = grantee;
  entry.frame = gfn;
  entry.flags = gnttab.GTF_permit_access;
}

/** Result of `acquireGrant`: a machine frame, or a negative GNTST_*. */
export type GrantResult = number;

/**
 * Take the use of a grant for domain `user`. Balanced by `releaseGrant`. Both read the record past its accessors: backends ask for every
 * page of every request.
 */
export function acquireGrant(owner: Domain, ref: number, user: number, write: boolean): GrantResult {
  if (ref >= nrGrants(owner)) return gnttab.GNTST_bad_gntref;
  const { u16, u32 } = owner.hypervisor.memory;
  const active = activeAddress(owner, ref);
  const readers = u16[(active + A.readers) >>> 1]!;
  const writers = u16[(active + A.writers) >>> 1]!;
  const inUse = readers + writers > 0;
  if (inUse && u16[(active + A.domid) >>> 1] !== user) return gnttab.GNTST_general_error;
  if (readers >= 0xfff0 || writers >= 0xfff0) return gnttab.GNTST_no_space;
  const word = entryAddress(owner, ref);
  if (!inUse || (write && writers === 0)) {
    const status = markInUse(owner, word, user, write);
    if (status < 0) return status;
  }
  if (!inUse) {
    const frame = ramOfGfn(owner, u32[(word + 4) >>> 2]!);
    if (frame === 0) {
      clearUse(owner, word, gnttab.GTF_reading | gnttab.GTF_writing);
      return gnttab.GNTST_bad_page;
    }
    u16[(active + A.domid) >>> 1] = user;
    u32[(active + A.mfn) >>> 2] = frame;
  }
  const frame = u32[(active + A.mfn) >>> 2]!;
  takeReference(owner.hypervisor, frame);
  if (write) u16[(active + A.writers) >>> 1] = writers + 1;
  else u16[(active + A.readers) >>> 1] = readers + 1;
  return frame;
}

/** Set reading, and writing, if the entry permits it to this domain. */
function markInUse(owner: Domain, word: number, user: number, write: boolean): number {
  const { i32 } = owner.hypervisor.memory;
  for (let attempt = 0; attempt < SWAP_TRIES; attempt++) {
    const old = Atomics.load(i32, word / 4);
    const flags = old & 0xffff;
    const type = flags & gnttab.GTF_type_mask;
    if (type !== gnttab.GTF_permit_access || old >>> 16 !== user) return gnttab.GNTST_general_error;
    // Sub-page and transitive grants are of version 2.
    if ((flags & gnttab.GTF_sub_page) !== 0) return gnttab.GNTST_general_error;
    if (write && (flags & gnttab.GTF_readonly) !== 0) return gnttab.GNTST_general_error;
    const marked = old | gnttab.GTF_reading | (write ? gnttab.GTF_writing : 0);
    if (Atomics.compareExchange(i32, word / 4, old, marked) === old) return 0;
  }
  return gnttab.GNTST_general_error;
}

/** @param word machine address of the entry */
export const clearUse = (owner: Domain, word: number, flags: number): void => {
  Atomics.and(owner.hypervisor.memory.i32, word / 4, ~flags);
};

/** Give back one use of frame `frame` taken by `acquireGrant`. Nothing happens if the owner is another one by now. */
export function releaseGrant(owner: Domain, ref: number, write: boolean, frame: number): void {
  if (ref >= nrGrants(owner)) return;
  const { u16, u32 } = owner.hypervisor.memory;
  const active = activeAddress(owner, ref);
  const uses = (active + (write ? A.writers : A.readers)) >>> 1;
  if (u32[(active + A.mfn) >>> 2] !== frame || u16[uses] === 0) return;
  u16[uses]! -= 1;
  dropReference(owner.hypervisor, frame);
  const readers = u16[(active + A.readers) >>> 1]!;
  const writers = u16[(active + A.writers) >>> 1]!;
  const unused =
    (writers === 0 ? gnttab.GTF_writing : 0) | (writers + readers === 0 ? gnttab.GTF_reading : 0);
  if (unused !== 0) clearUse(owner, entryAddress(owner, ref), unused);
}

/**
 * Map a guest's grant for a TypeScript backend (domain 0). Returns the machine address of the frame, or a negative
 * GNTST_*. The frame stays valid until `unmapGrant` with the same arguments, whatever the guest does.
 */
export function mapGrant(domain: Domain, ref: number, write: boolean): MachineAddress {
  const frame = acquireGrant(domain, ref, 0, write);
  return frame < 0 ? maddr(frame) : frameAddress(mfn(frame));
}

/** Undo one `mapGrant`. Code that the guest has in the frame is told of possible writes. */
export function unmapGrant(domain: Domain, ref: number, write: boolean): void {
  if (ref >= nrGrants(domain)) return;
  const frame = activeGrant(domain, ref).mfn;
  if (write) grantWritten(domain, frame);
  releaseGrant(domain, ref, write, frame);
}

function grantWritten(domain: Domain, frame: number): void {
  if (frame !== 0) wroteTo(domain.hypervisor, frameAddress(mfn(frame)), PAGE_SIZE);
}

/**
 * Free everything at domain destruction: its own mappings of others' grants, what others still use of its grants (a
 * guest's p2m has a reference of its own; a backend must have let go), then the table itself.
 */
export function releaseGrants(domain: Domain): void {
  const { state, hypervisor } = domain;
  const table = grantTable(domain);
  for (let handle = 0; handle < state.nrMaptrack; handle++) {
    const track = maptrackAt(domain, handle);
    const owner = hypervisor.domains.get(track.domid);
    const flags = track.flags;
    if (flags === 0) continue;
    track.flags = 0;
    if (owner !== undefined)
      releaseGrant(owner, track.ref, (flags & gnttab.GNTMAP_readonly) === 0, track.mfn);
  }
  for (let ref = 0; ref < nrGrants(domain); ref++) {
    const active = activeGrant(domain, ref);
    for (let uses = active.readers + active.writers; uses > 0; uses--) dropReference(hypervisor, active.mfn);
  }
  for (let i = 0; i < state.nrMaptrack / layout.MAPTRACK_PER_FRAME; i++) {
    dropReference(hypervisor, mfnOf(table.maptrack.get(i)));
  }
  for (let i = 0; i < state.nrGrantFrames; i++) dropReference(hypervisor, mfnOf(table.shared.get(i)));
  for (let i = 0; i < 2 * state.nrGrantFrames; i++) dropReference(hypervisor, mfnOf(table.active.get(i)));
  dropReference(hypervisor, mfnOf(state.grants));
}

export function maptrackAt(domain: Domain, handle: number): Accessor<typeof layout.Maptrack> {
  const frame = grantTable(domain).maptrack.get(Math.floor(handle / layout.MAPTRACK_PER_FRAME));
  return layout.Maptrack.at(
    domain.hypervisor.memory.view,
    frame + (handle % layout.MAPTRACK_PER_FRAME) * layout.Maptrack.size,
  );
}

/** A free grant handle, or -1. */
export function takeHandle(domain: Domain): number {
  const { state, hypervisor } = domain;
  if (state.freeMaptrack === 0) {
    const index = state.nrMaptrack / layout.MAPTRACK_PER_FRAME;
    if (index >= state.maxMaptrackFrames || hypervisor.frames.nrFree < 16) return -1;
    grantTable(domain).maptrack.set(index, frameAddress(takeFrame(hypervisor)));
    const first = state.nrMaptrack;
    state.nrMaptrack = first + layout.MAPTRACK_PER_FRAME;
    for (let i = layout.MAPTRACK_PER_FRAME - 1; i >= 0; i--) giveHandleBack(domain, first + i);
  }
  const handle = state.freeMaptrack - 1;
  state.freeMaptrack = maptrackAt(domain, handle).ref;
  return handle;
}

export function giveHandleBack(domain: Domain, handle: number): void {
  const track = maptrackAt(domain, handle);
  track.flags = 0;
  track.ref = domain.state.freeMaptrack;
  domain.state.freeMaptrack = handle + 1;
}

/** Exchange two entries of a guest's own table; neither is in use. */
export function swapEntries(domain: Domain, a: number, b: number): void {
  const { u8 } = domain.hypervisor.memory;
  const addressA = entryAddress(domain, a);
  const addressB = entryAddress(domain, b);
  const kept = u8.slice(addressA, addressA + ENTRY_BYTES);
  u8.copyWithin(addressA, addressB, addressB + ENTRY_BYTES);
  u8.set(kept, addressB);
}
