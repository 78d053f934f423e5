/** What a guest's kernel says about its memory: the answer to MEMORY, 64-bit numbers in this order (assembly/memory.ts). */
import { DomusError } from '../../base/errors.ts';

export interface MemoryReport {
  /** All that the kernel manages, what of it holds nothing, and what programs could have without anything being written out. */
  readonly totalKiB: number;
  readonly freeKiB: number;
  readonly availableKiB: number;
  // Counters since the guest's boot.
  /** Pages of files and of programs that had been dropped and were wanted again soon. */
  readonly refaults: number;
  readonly swapIns: number;
  /** Programs that were ended for want of memory. */
  readonly kills: number;
  /** Time in which some program waited for memory; 0 where the kernel does not measure it. */
  readonly waitedUs: number;
}

const NUMBERS = 7;

/** The guest has written it. @throws DomusError E_CHANNEL */
export function decodeMemoryReport(payload: Uint8Array): MemoryReport {
  if (payload.length < 8 * NUMBERS)
    throw new DomusError('E_CHANNEL', `a report about memory has ${payload.length} bytes`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const number = (index: number): number =>
    Math.min(Number.MAX_SAFE_INTEGER, Number(view.getBigUint64(8 * index, true)));
  return {
    totalKiB: number(0),
    freeKiB: number(1),
    availableKiB: number(2),
    refaults: number(3),
    swapIns: number(4),
    kills: number(5),
    waitedUs: number(6),
  };
}
