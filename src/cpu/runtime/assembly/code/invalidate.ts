/**
 * Keeping decoded instructions in step with the bytes they were decoded from (layouts: decode/record.ts).
 *
 * A frame with decoded instructions has FrameFlag.code and is in no write table, so every store to it comes through
 * `commit` and ends here. Stores to granules without code need not, where one thread runs: tables of watched pages tell
 * generated code where the granules are (mmu/access.ts).
 */
import {
  CODE_PAGE_changes,
  CODE_PAGE_crossedFrom,
  CODE_PAGE_extents,
  CODE_PAGE_granules,
  CODE_PAGE_next,
  CODE_PAGE_table,
  CODE_RECORD_handler,
  CODE_RECORD_length,
  FRAME_ALLOCATOR_BYTES,
  FRAME_ALLOCATOR_frontier,
  FRAME_ENTRY_code,
  FRAME_ENTRY_flags,
  FRAME_FLAG_code,
  FRAME_FLAG_unread,
  FRAME_TABLE_BASE,
  GRANULE_SHIFT,
  HEAT_ENTRIES,
  HEAT_OFFSET,
  MACHINE_HEADER,
  MACHINE_HEADER_codeBase,
  MACHINE_HEADER_codeEnd,
  MACHINE_HEADER_codeGeneration,
  MACHINE_HEADER_codeNext,
  MACHINE_HEADER_codeUsed,
} from '../generated/layout';
import { frameEntry } from '../mmu/physical';
import { firstVcpu, flushExec, flushFrame, flushWatched, nextVcpu } from '../mmu/tlb';
import { lockCode, unlockCode } from './lock';
import { awaitMaker, dropRegions, forgetRegions, hasRegion } from './regions';
import { hasPart, recordAt, slotOf } from './table';

/** Longest instruction, less one: how far before a written byte an instruction that contains it may start. */
const LOOK_BACK: i32 = 14;

/** Is every store to the frame watched? */
export function isCodeMarked(mfn: u32): bool {
  return (load<u8>(frameEntry(mfn), FRAME_ENTRY_flags) & FRAME_FLAG_code) !== 0;
}

/**
 * Instructions of the frame are about to be decoded: from now on every store to it is watched. As it takes the frame
 * out of other vCPUs' write tables, none of them may be executing, and none stores to it before it has looked there.
 * The hypervisor looks at the mark after it has written: so the mark is there for it before a byte is decoded.
 * A frame that nobody has written to is in no table, so none is searched: that is half of what marking a page costs a clone.
 */
export function markCode(mfn: u32): void {
  const before = atomic.or<u8>(frameEntry(mfn) + FRAME_ENTRY_flags, FRAME_FLAG_code as u8);
  if ((before & (FRAME_FLAG_code | FRAME_FLAG_unread)) === 0) flushFrame(mfn);
}

/** Bits of the granules that bytes first..last touch. */
export function granulesOf(first: i32, last: i32): u64 {
  const low = first >> GRANULE_SHIFT;
  const count = (last >> GRANULE_SHIFT) - low + 1;
  return (count >= 64 ? -1 : ((1 as u64) << count) - 1) << low;
}

function lengthOf(record: usize): i32 {
  const length: i32 = load<u8>(record, CODE_RECORD_length);
  return length === 0 ? LOOK_BACK + 1 : length;
}

/** Bytes `offset .. offset + size - 1` of a frame were written: forget the instructions that contain one of them. */
export function invalidateCode(mfn: u32, offset: i32, size: i32): void {
  lockCode();
  invalidateLocked(mfn, offset, size);
  unlockCode();
}

function invalidateLocked(mfn: u32, offset: i32, size: i32): void {
  const frame = frameEntry(mfn);
  const written = granulesOf(offset, offset + size - 1);
  let remaining: u64 = 0;
  let changed = false;
  for (
    let page: usize = load<u32>(frame, FRAME_ENTRY_code);
    page !== 0;
    page = load<u32>(page, CODE_PAGE_next)
  ) {
    if ((load<u64>(page, CODE_PAGE_granules) & written) !== 0) {
      forget(page, offset, offset + size);
      changed = true;
    }
    remaining |= load<u64>(page, CODE_PAGE_granules);
  }
  if (changed && remaining === 0) {
    atomic.and<u8>(frame + FRAME_ENTRY_flags, ~FRAME_FLAG_code as u8);
  }
}

/** Forget the instructions of a code page that contain one of the bytes `start` .. `end - 1`. */
export function forget(page: usize, start: i32, end: i32): void {
  const crossedFrom: usize = load<u32>(page, CODE_PAGE_crossedFrom);
  if (crossedFrom !== 0 && start < LOOK_BACK) {
    store<u32>(page, 0, CODE_PAGE_crossedFrom);
    forgetWithin(crossedFrom, 4095, 4096);
  }
  forgetWithin(page, start, end);
}

/** The same but for the instruction that reaches into the page from the one before. */
function forgetWithin(page: usize, start: i32, end: i32): void {
  const table = page + CODE_PAGE_table;
  let hasChanged = false;
  for (let at = max(start - LOOK_BACK, 0); at < end; at++) {
    const slot = slotOf(table, at);
    const record: usize = load<u32>(slot);
    if (record === 0 || at + lengthOf(record) <= start) continue;
    store<u16>(record, 0, CODE_RECORD_handler);
    store<u32>(slot, 0);
    hasChanged = true;
  }
  if (hasChanged) store<u32>(page, load<u32>(page, CODE_PAGE_changes) + 1, CODE_PAGE_changes);
  if (load<u32>(page, CODE_PAGE_extents) !== 0) dropRegions(page, start, end);
  // The granules that lost an instruction: those written, and neighbours that the instructions reached into.
  const first = max(start - LOOK_BACK, 0) >> GRANULE_SHIFT;
  const last = min(end - 1 + LOOK_BACK, 4095) >> GRANULE_SHIFT;
  let granules = load<u64>(page, CODE_PAGE_granules);
  for (let granule = first; granule <= last; granule++) {
    const bit = (1 as u64) << granule;
    if ((granules & bit) !== 0 && !granuleInUse(page, granule)) granules &= ~bit;
  }
  store<u64>(page, granules, CODE_PAGE_granules);
}

function granuleInUse(page: usize, granule: i32): bool {
  if (granule === 0 && load<u32>(page, CODE_PAGE_crossedFrom) !== 0) return true;
  const table = page + CODE_PAGE_table;
  const start = granule << GRANULE_SHIFT;
  for (let at = max(start - LOOK_BACK, 0); at < start; at++) {
    const record = recordAt(table, at);
    if (record !== 0 && at + lengthOf(record) > start) return true;
  }
  const end = start + (1 << GRANULE_SHIFT);
  if (hasPart(page, granule)) {
    for (let at = start; at < end; at++) {
      if (recordAt(table, at) !== 0) return true;
    }
  }
  return hasRegion(page, start, end);
}

/** Frames `first` .. `end - 1` have no decoded instructions any more. */
function forgetCodeOf(first: u32, end: u32): void {
  for (let mfn = first; mfn < end; mfn++) {
    const frame = frameEntry(mfn);
    if (load<u32>(frame, FRAME_ENTRY_code) === 0) continue;
    store<u32>(frame, 0, FRAME_ENTRY_code);
    store<u8>(frame, load<u8>(frame, FRAME_ENTRY_flags) & ~FRAME_FLAG_code, FRAME_ENTRY_flags);
  }
}

/** Throw the whole code cache away: all code pages and records of all domains. No vCPU may be executing. */
export function discardCode(): void {
  lockCode();
  const header = MACHINE_HEADER as usize;
  // Frames that were ever in use, but for the code cache's own: of a young clone these are a few hundred in a table of 2 MB. The
  // allocator's state lies right before the table (machine/frames.ts).
  const frontier = load<u32>((FRAME_TABLE_BASE as usize) - FRAME_ALLOCATOR_BYTES, FRAME_ALLOCATOR_frontier);
  const own = load<u32>(header, MACHINE_HEADER_codeBase) >> 12;
  forgetCodeOf(0, min(own, frontier));
  forgetCodeOf(load<u32>(header, MACHINE_HEADER_codeEnd) >> 12, frontier);
  // Behind that and before the memory is used again: a clone on another thread, which copies records from here, finds none of those
  // that are thrown away in the new generation (decode/decoded-before.ts).
  atomic.add<u32>(header + MACHINE_HEADER_codeGeneration, 1);
  awaitMaker();
  const used = max(load<u32>(header, MACHINE_HEADER_codeUsed), load<u32>(header, MACHINE_HEADER_codeNext));
  store<u32>(header, used, MACHINE_HEADER_codeUsed);
  store<u32>(header, load<u32>(header, MACHINE_HEADER_codeBase), MACHINE_HEADER_codeNext);
  for (let cpu = firstVcpu(); cpu !== 0; cpu = nextVcpu(cpu)) {
    flushExec(cpu);
    flushWatched(cpu);
    // They count by records' addresses, which are others' from now on.
    memory.fill(cpu + (HEAT_OFFSET as usize), 0, (HEAT_ENTRIES << 1) as usize);
  }
  forgetRegions();
  unlockCode();
}
