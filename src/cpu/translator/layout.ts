/**
 * What the translator keeps in machine memory: regions that are in use, where each thread that runs guest code finds
 * what to take back when code changes; hot places on their way to the maker of regions; and how far each thread is.
 *
 * Regions and extents come from the code cache and go with it. The lock of the code cache is held by whoever writes
 * them.
 */
import { aligned, array, bytes, struct, u16, u32, u64 } from '../../base/struct.ts';
import { machineHeader } from '../../machine/header.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import { CodeRecord, RECORD_BYTES } from '../decode/record.ts';

/**
 * A region. Around its record lie, in this order: its entries; the record; a `RegionPage` for each of its pages; copies of the
 * records of the instructions that handlers run; a `BlockCount` for each block that is counted; an `Extent` for each run of its
 * bytes; and the bytes of all runs, if they are to be compared. What differs from machine to machine the region's code reads from here, since it may come from another machine.
 */
export const RegionRecord = struct('region_record', {
  /** Handler number of its entry records. */
  handler: u16,
  nrEntries: u16,
  /** Address of the first entry: ENTRY_BYTES each. */
  entries: u32,
  /** 1 when its code has changed, before it was opened or since: nobody enters it. */
  isOver: u32,
  /** The next one in `TranslatorState.firstOver`. */
  nextOver: u32,
  nrPages: u16,
  nrExtents: u16,
  /** Address of the first extent. */
  extents: u32,
  /** Address of the bytes; 0 when the counts of changes are enough. */
  code: u32,
  /** The code cache's, in which this memory was taken. */
  generation: u32,
  /** The record that is to be where it begins. */
  place: u32,
  /** 1: it is not to take the place of another region. */
  isSmall: u16,
  /** Handler number of the region whose place it took; 0: none. */
  replaced: u16,
  /** Address of the first count. */
  counts: u32,
  nrCounts: u32,
});
export const RegionPage = struct('region_page', {
  /** Address of the code page. */
  page: u32,
  /** Its count of changes before its instructions were read, or `ANY_CHANGES`. */
  changes: u32,
});
export const align16 = (n: number) => (n + 15) & ~15;
/** `RegionPage.changes` of a page whose instructions were not read. */
export const ANY_CHANGES = 0xffff_ffff;
/** Offset from a region's record to its page number `index`. */
export const regionPageOffset = (index: number): number => RegionRecord.size + index * RegionPage.size;
/** Offset from the record of a region with so many pages to the record of called instruction number `index`. */
export const calledOffset = (nrPages: number, index: number): number =>
  align16(regionPageOffset(nrPages)) + index * RECORD_BYTES;

/** How often a block was executed that begins at `offset` of the region's page number `page`. */
export const BlockCount = struct('block_count', { page: u16, offset: u16, count: u32 });
/** Offset from the record of a region with so many pages and called instructions to the count number `index`. */
export const countOffset = (nrPages: number, nrCalled: number, index: number): number =>
  calledOffset(nrPages, nrCalled) + index * BlockCount.size;

/** Bytes `from` .. `to - 1` of the code page at `page` that a region was made of. */
export const Extent = struct('extent', { next: u32, region: u32, page: u32, from: u16, to: u16 });

/**
 * An entry is three records: one whose handler is the region; a copy of the instruction there, for when the region cannot
 * be entered; and the way on behind it.
 */
export const ENTRY_BYTES = 3 * RECORD_BYTES;
/** Address of the region's record, u32: in an entry, where instructions have their register operands. */
export const ENTRY_REGION_OFFSET = CodeRecord.offsets.reg;
/** Address of its code page, u32: in the way on, too. */
export const ENTRY_CODE_PAGE_OFFSET = 2 * RECORD_BYTES + CodeRecord.offsets.displacement + 4;
/** How often the region was entered there, u32: in a field of the way on that has no use otherwise. */
export const ENTRY_COUNT_OFFSET = 2 * RECORD_BYTES + CodeRecord.offsets.displacement;

/** A hot place. */
export const Request = struct('request', {
  /** 1 when the rest is complete. */
  isReady: u32,
  reason: u32,
  cpu: u32,
  mode: u32,
  record: u32,
  offset: u32,
  codePage: u32,
  generation: u32,
  /** Linear address of the page. */
  linear: u64,
});
/** A power of 2. */
export const REQUESTS = 1024;
/** Threads that have regions in a table of their own: pCPUs. */
export const INSTALLERS_MAX = 128;

export const TranslatorState = struct('translator_state', {
  /** Regions made so far, and those of them that were taken back because their code changed. */
  nrRegions: u32,
  nrDropped: u32,
  /** List of regions that are over, for the maker to take note. */
  firstOver: u32,
  /** 1 while the maker writes regions to memory of the code cache without holding its lock. */
  isWriting: u32,
  /** Ring of requests: next one to be written, and to be read. */
  tail: aligned(64, u32),
  head: aligned(64, u32),
  /** Deliveries sent to the installers. */
  nrPosted: aligned(64, u32),
  /** Of those, how many each installer has carried out. */
  nrInstalled: aligned(64, array(u32, INSTALLERS_MAX)),
  requests: aligned(64, bytes(REQUESTS * Request.size)),
});

/** Of a machine that has an engine. */
export const translatorState = (memory: MachineMemory) =>
  TranslatorState.at(memory.view, machineHeader(memory).translator);
