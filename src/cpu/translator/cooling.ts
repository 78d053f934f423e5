/**
 * What is hot is what is executed often *in some time*: counts are halved once a period. Otherwise everything would be
 * translated in the end, also what runs a few times a second, and there would be more code the longer a guest runs.
 *
 * Nobody looks at the time for this: counts are halved when one of them has come to where something would happen.
 */
import { machineHeader } from '../../machine/header.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import { heatIndex } from '../interpreter/heat-index.ts';
import { HEAT_ENTRIES, HEAT_OFFSET, Vcpu } from '../vcpu/layout.ts';
import { ENTRY_BYTES, ENTRY_COUNT_OFFSET, RegionRecord } from './layout.ts';

const V = Vcpu.offsets;
/** A period is 2 ** 34 instructions of a vCPU, some twenty seconds: docs/design/0010 has the reckoning. */
const PERIOD_HIGH_SHIFT = 2;

/** The period that a vCPU is in. */
export const periodOf = ({ u32 }: MachineMemory, cpu: number): number =>
  (u32[(cpu + V.retired + 4) >>> 2] as number) >>> PERIOD_HIGH_SHIFT;

/**
 * A vCPU's counter of jumps to `record` has come to its limit and is 0 again. If another period has begun since the last time,
 * halve all its counters, what this one had too.
 * @returns whether it is so: then the place is not hot yet
 */
export function coolJumps(memory: MachineMemory, cpu: number, record: number): boolean {
  const { u16, u32 } = memory;
  const word = (cpu + V.heatPeriod) >>> 2;
  const period = periodOf(memory, cpu);
  const passed = Math.min(period - (u32[word] as number), 16);
  if (passed <= 0) return false;
  u32[word] = period;
  const first = (cpu + HEAT_OFFSET) >>> 1;
  u16[first + heatIndex(record)] = machineHeader(memory).hotJumps;
  const heat = u16.subarray(first, first + HEAT_ENTRIES);
  for (let i = 0; i < HEAT_ENTRIES; i++) heat[i] = (heat[i] as number) >>> passed;
  return true;
}

/**
 * Halve the counts of entries, as often as periods have passed.
 * @param regions addresses of their records; the code cache is locked
 */
export function coolEntries({ u32, view }: MachineMemory, regions: Iterable<number>, passed: number): void {
  const shift = Math.min(passed, 31);
  for (const address of regions) {
    const { entries, nrEntries } = RegionRecord.at(view, address);
    for (let i = 0; i < nrEntries; i++) {
      const word = (entries + i * ENTRY_BYTES + ENTRY_COUNT_OFFSET) >>> 2;
      u32[word] = (u32[word] as number) >>> shift;
    }
  }
}
