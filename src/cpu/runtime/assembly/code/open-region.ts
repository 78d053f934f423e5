/**
 * Letting vCPUs into a region (layouts: translator/layout.ts). The maker has written all of it to memory; what is left is to see
 * that the code is still what the region was made of, and to put the entries in place of instructions' records. A thread that runs
 * guest code does it between two slices, so that no store of its own is on its way; where several do, every store to a
 * page with code is looked at.
 */
import {
  ANY_CHANGES,
  CODE_PAGE_changes,
  CODE_PAGE_extents,
  CODE_PAGE_granules,
  CODE_PAGE_mfn,
  CODE_PAGE_table,
  CODE_RECORD_handler,
  CODE_RECORD_offset,
  ENTRY_BYTES,
  ENTRY_CODE_PAGE_OFFSET,
  EXTENT_BYTES,
  EXTENT_from,
  EXTENT_next,
  EXTENT_page,
  EXTENT_to,
  FIRST_REGION,
  GRANULE_SHIFT,
  MACHINE_HEADER,
  MACHINE_HEADER_codeGeneration,
  MACHINE_HEADER_translator,
  PSEUDO_crossing,
  PSEUDO_stale,
  REGION_PAGE_BYTES,
  REGION_PAGE_changes,
  REGION_PAGE_page,
  REGION_RECORD_BYTES,
  REGION_RECORD_code,
  REGION_RECORD_entries,
  REGION_RECORD_extents,
  REGION_RECORD_generation,
  REGION_RECORD_isSmall,
  REGION_RECORD_nrEntries,
  REGION_RECORD_nrExtents,
  REGION_RECORD_nrPages,
  REGION_RECORD_place,
  REGION_RECORD_replaced,
  TRANSLATOR_STATE_nrRegions,
} from '../generated/layout';
import { isCodeMarked, markCode } from './invalidate';
import { lockCode, unlockCode } from './lock';
import { dropRegion } from './regions';
import { makeSlot, recordAt } from './table';

/**
 * @param alone no other thread runs guest code
 * @returns 1 when the region is in use; else it is over
 */
export function openRegion(region: usize, alone: i32): i32 {
  lockCode();
  const header = MACHINE_HEADER as usize;
  let isOpen = 0;
  // After everything was thrown away the memory is somebody else's.
  if (load<u32>(region, REGION_RECORD_generation) === load<u32>(header, MACHINE_HEADER_codeGeneration)) {
    const state: usize = load<u32>(header, MACHINE_HEADER_translator);
    store<u32>(state, load<u32>(state, TRANSLATOR_STATE_nrRegions) + 1, TRANSLATOR_STATE_nrRegions);
    if (isUnchanged(region) && arePagesWatched(region, alone !== 0)) {
      linkExtents(region);
      if (hasItsCode(region)) {
        putEntries(region);
        isOpen = 1;
      }
    }
    if (isOpen === 0) dropRegion(region);
  }
  unlockCode();
  return isOpen;
}

/** Is the place still what it was, and has no instruction of its pages changed since they were read? */
function isUnchanged(region: usize): bool {
  const entry: usize = load<u32>(region, REGION_RECORD_entries);
  const place: usize = load<u32>(region, REGION_RECORD_place);
  const offset: i32 = load<u16>(entry, CODE_RECORD_offset);
  const table: usize = (load<u32>(entry + ENTRY_CODE_PAGE_OFFSET) as usize) + CODE_PAGE_table;
  if (recordAt(table, offset) !== place) return false;
  const handler: i32 = load<u16>(place, CODE_RECORD_handler);
  if (handler >= FIRST_REGION && load<u16>(region, REGION_RECORD_isSmall) !== 0) return false;
  let page: usize = region + REGION_RECORD_BYTES;
  for (let i: i32 = load<u16>(region, REGION_RECORD_nrPages); i > 0; i--, page += REGION_PAGE_BYTES) {
    const codePage: usize = load<u32>(page, REGION_PAGE_page);
    const changes = load<u32>(page, REGION_PAGE_changes);
    if (changes !== (ANY_CHANGES as u32) && load<u32>(codePage, CODE_PAGE_changes) !== changes) return false;
  }
  return true;
}

/** Are stores to all its pages looked at? */
function arePagesWatched(region: usize, alone: bool): bool {
  let page: usize = region + REGION_RECORD_BYTES;
  for (let i: i32 = load<u16>(region, REGION_RECORD_nrPages); i > 0; i--, page += REGION_PAGE_BYTES) {
    const mfn = load<u32>(load<u32>(page, REGION_PAGE_page), CODE_PAGE_mfn);
    if (isCodeMarked(mfn)) continue;
    if (!alone) return false;
    markCode(mfn);
  }
  return true;
}

/** From now on the region is over when its bytes change, whether or not they have been decoded. */
function linkExtents(region: usize): void {
  let extent: usize = load<u32>(region, REGION_RECORD_extents);
  for (let i: i32 = load<u16>(region, REGION_RECORD_nrExtents); i > 0; i--, extent += EXTENT_BYTES) {
    const page: usize = load<u32>(extent, EXTENT_page);
    store<u32>(extent, load<u32>(page, CODE_PAGE_extents), EXTENT_next);
    store<u32>(page, extent as u32, CODE_PAGE_extents);
    const first = (load<u16>(extent, EXTENT_from) as i32) >> GRANULE_SHIFT;
    const last = ((load<u16>(extent, EXTENT_to) as i32) - 1) >> GRANULE_SHIFT;
    let granules = load<u64>(page, CODE_PAGE_granules);
    for (let granule = first; granule <= last; granule++) granules |= (1 as u64) << granule;
    store<u64>(page, granules, CODE_PAGE_granules);
  }
}

/** Have the pages the bytes that it was made of? */
function hasItsCode(region: usize): bool {
  let code: usize = load<u32>(region, REGION_RECORD_code);
  if (code === 0) return true;
  let extent: usize = load<u32>(region, REGION_RECORD_extents);
  for (let i: i32 = load<u16>(region, REGION_RECORD_nrExtents); i > 0; i--, extent += EXTENT_BYTES) {
    const frame: usize = (load<u32>(load<u32>(extent, EXTENT_page), CODE_PAGE_mfn) as usize) << 12;
    const to: i32 = load<u16>(extent, EXTENT_to);
    for (let at: i32 = load<u16>(extent, EXTENT_from); at < to; at++, code++) {
      if (load<u8>(frame + (at as usize)) !== load<u8>(code)) return false;
    }
  }
  return true;
}

/** Where a region begins only a larger one that was made for this takes its place. */
function putEntries(region: usize): void {
  let entry: usize = load<u32>(region, REGION_RECORD_entries);
  const nrEntries: i32 = load<u16>(region, REGION_RECORD_nrEntries);
  for (let i: i32 = 0; i < nrEntries; i++, entry += ENTRY_BYTES) {
    const slot = makeSlot(load<u32>(entry + ENTRY_CODE_PAGE_OFFSET), load<u16>(entry, CODE_RECORD_offset));
    if (slot === 0) continue;
    const known: usize = load<u32>(slot);
    const handler: i32 = known === 0 ? PSEUDO_stale : (load<u16>(known, CODE_RECORD_handler) as i32);
    // Of an instruction over two pages there are two records.
    if ((handler >= FIRST_REGION && i > 0) || handler === PSEUDO_crossing) continue;
    if (handler >= FIRST_REGION) store<u16>(region, handler as u16, REGION_RECORD_replaced);
    // The table first: who comes by the record is sent there. Nothing else of the record may change, for a vCPU may be at it.
    atomic.store<u32>(slot, entry as u32);
    if (known !== 0) atomic.store<u16>(known + CODE_RECORD_handler, PSEUDO_stale as u16);
  }
}
