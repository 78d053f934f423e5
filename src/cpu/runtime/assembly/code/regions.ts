/**
 * Taking back what the translator made of code that has changed (layouts: translator/layout.ts). The code cache is
 * locked. A region that a vCPU is in is left by it: before the next instruction when the vCPU has changed the code
 * itself, else behind the next instruction that orders it (SDM vol. 3, 8.1.3).
 */
import {
  CODE_PAGE_extents,
  CODE_RECORD_handler,
  ENTRY_BYTES,
  EXTENT_from,
  EXTENT_next,
  EXTENT_region,
  EXTENT_to,
  LINK_OFFSET,
  MACHINE_HEADER,
  MACHINE_HEADER_translator,
  PSEUDO_proceed,
  RECORD_BYTES,
  REGION_RECORD_entries,
  REGION_RECORD_handler,
  REGION_RECORD_isOver,
  REGION_RECORD_nextOver,
  REGION_RECORD_nrEntries,
  TRANSLATOR_STATE_firstOver,
  TRANSLATOR_STATE_isWriting,
  TRANSLATOR_STATE_nrDropped,
  VCPU_regionsChanged,
} from '../generated/layout';
import { firstVcpu, nextVcpu } from '../mmu/tlb';

const translatorState = (): usize => load<u32>(MACHINE_HEADER as usize, MACHINE_HEADER_translator);

/** Bytes `start` .. `end - 1` of a code page have changed: its regions with instructions there are over. */
export function dropRegions(page: usize, start: i32, end: i32): void {
  let link: usize = page + CODE_PAGE_extents;
  for (let extent: usize = load<u32>(link); extent !== 0; extent = load<u32>(link)) {
    const region: usize = load<u32>(extent, EXTENT_region);
    const from: i32 = load<u16>(extent, EXTENT_from);
    const to: i32 = load<u16>(extent, EXTENT_to);
    if (from < end && to > start) dropRegion(region);
    // Of those that are over, here or by a change in another page, nothing stays in the list.
    if (load<u32>(region, REGION_RECORD_isOver) !== 0) store<u32>(link, load<u32>(extent, EXTENT_next));
    else link = extent + EXTENT_next;
  }
}

/** Has the code page a region with one of the bytes `start` .. `end - 1`? Its instructions need not be decoded here. */
export function hasRegion(page: usize, start: i32, end: i32): bool {
  for (
    let extent: usize = load<u32>(page, CODE_PAGE_extents);
    extent !== 0;
    extent = load<u32>(extent, EXTENT_next)
  ) {
    if ((load<u16>(extent, EXTENT_from) as i32) >= end || (load<u16>(extent, EXTENT_to) as i32) <= start) {
      continue;
    }
    if (load<u32>(load<u32>(extent, EXTENT_region), REGION_RECORD_isOver) === 0) return true;
  }
  return false;
}

export function dropRegion(region: usize): void {
  if (load<u32>(region, REGION_RECORD_isOver) !== 0) return;
  store<u32>(region, 1, REGION_RECORD_isOver);
  const handler = load<u16>(region, REGION_RECORD_handler);
  let entry: usize = load<u32>(region, REGION_RECORD_entries);
  for (let i: i32 = load<u16>(region, REGION_RECORD_nrEntries); i > 0; i--, entry += ENTRY_BYTES) {
    // Stale already when its instruction is what has changed.
    if (load<u16>(entry, CODE_RECORD_handler) !== handler) continue;
    store<u32>(entry, (entry + RECORD_BYTES) as u32, LINK_OFFSET);
    store<u16>(entry, PSEUDO_proceed as u16, CODE_RECORD_handler);
  }
  const state = translatorState();
  store<u32>(region, load<u32>(state, TRANSLATOR_STATE_firstOver), REGION_RECORD_nextOver);
  store<u32>(state, region as u32, TRANSLATOR_STATE_firstOver);
  store<u32>(state, load<u32>(state, TRANSLATOR_STATE_nrDropped) + 1, TRANSLATOR_STATE_nrDropped);
  for (let cpu = firstVcpu(); cpu !== 0; cpu = nextVcpu(cpu)) store<u32>(cpu, 1, VCPU_regionsChanged);
}

/** The code cache was thrown away, and all regions with it. */
export function forgetRegions(): void {
  const state = translatorState();
  if (state !== 0) store<u32>(state, 0, TRANSLATOR_STATE_firstOver);
}

/** The maker of regions writes to memory of the code cache for some microseconds at a time, if the generation is the right one. */
export function awaitMaker(): void {
  const state = translatorState();
  if (state === 0) return;
  while (atomic.load<u32>(state + TRANSLATOR_STATE_isWriting) !== 0) {}
}
