/**
 * Contiguous runs of frames that can be given back.
 *
 * The frame allocator's frontier only moves up; runs of domains that are gone (vCPU blocks, p2m tables) are kept in a
 * list here and used again first, so that a host which starts and destroys domains all day does not run dry.
 * The list goes through the first words of the free runs: count, then address of the next.
 */
import { frameAddress, type Mfn, mfn, PAGE_SIZE } from '../base/brand.ts';
import { DOMID_XEN } from '../machine/frames.ts';
import type { Hypervisor } from './hypervisor.ts';

/** `count` contiguous frames of the hypervisor's own, zeroed. Returns their machine address. */
export function takeRun(hypervisor: Hypervisor, count: number): number {
  const { memory, state } = hypervisor;
  let previous = 0;
  for (let run = state.freeRuns; run !== 0; run = memory.u32[run / 4 + 1]!) {
    const size = memory.u32[run / 4]!;
    if (size >= count) {
      const next = memory.u32[run / 4 + 1]!;
      let replacement = next;
      if (size > count) {
        replacement = run + count * PAGE_SIZE;
        memory.u32[replacement / 4] = size - count;
        memory.u32[replacement / 4 + 1] = next;
      }
      if (previous === 0) state.freeRuns = replacement;
      else memory.u32[previous / 4 + 1] = replacement;
      memory.u8.fill(0, run, run + count * PAGE_SIZE);
      return run;
    }
    previous = run;
  }
  return frameAddress(hypervisor.frames.allocateRun(count, DOMID_XEN));
}

export function giveRunBack(hypervisor: Hypervisor, address: number, count: number): void {
  const { memory, state } = hypervisor;
  memory.u32[address / 4] = count;
  memory.u32[address / 4 + 1] = state.freeRuns;
  state.freeRuns = address;
}

/** A single zeroed frame of the hypervisor's own. */
export const takeFrame = (hypervisor: Hypervisor): Mfn => hypervisor.frames.allocate(DOMID_XEN, 1);
export const mfnOf = (address: number): Mfn => mfn(address >>> 12);
