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

/** A region that is in use. */
export const RegionRecord = struct('region_record', {
  /** Handler number of its entry records. */
  handler: u16,
  nrEntries: u16,
  /** Address of the first entry: ENTRY_BYTES each. */
  entries: u32,
  /** 1 when its code has changed: nobody enters it any more. */
  isOver: u32,
  /** The next one in `TranslatorState.firstOver`. */
  nextOver: u32,
});

/** Bytes of a code page that a region was made of: `from` .. `to - 1`. */
export const Extent = struct('extent', { next: u32, region: u32, from: u16, to: u16, pad: u32 });

/**
 * An entry is three records: one whose handler is the region; a copy of the instruction there, for when the region cannot
 * be entered; and the way on behind it.
 */
export const ENTRY_BYTES = 3 * RECORD_BYTES;
/** How often the region was entered there, u32: in a field of the way on that has no use otherwise. */
export const ENTRY_COUNT_OFFSET = 2 * RECORD_BYTES + CodeRecord.offsets.displacement;

/** A hot place. */
export const Request = struct('request', {
  /** 1 when the rest is complete. */
  isReady: u32,
  cpu: u32,
  mode: u32,
  record: u32,
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
