/**
 * Contiguous runs of frames that can be given back.
 *
 * The frame allocator's frontier only moves up; runs of domains that are gone (vCPU blocks, p2m tables) are kept in a
 * list here and used again first, so that a host which starts and destroys domains all day does not run dry. The list
 * is ordered by address, neighbours are joined, and the smallest run that fits is taken. It goes through the first
 * words of the free runs: number of frames, then address of the next.
 */
import { frameAddress, type Mfn, mfn, PAGE_SIZE } from '../base/brand.ts';
import { DOMID_XEN } from '../machine/frames.ts';
import type { Hypervisor } from './hypervisor.ts';

const countOf = (hypervisor: Hypervisor, run: number): number => hypervisor.memory.u32[run >>> 2]!;
const nextOf = (hypervisor: Hypervisor, run: number): number => hypervisor.memory.u32[(run >>> 2) + 1]!;

/** Make `run` what follows `previous`, or the head of the list. */
function link(hypervisor: Hypervisor, previous: number, run: number): void {
  if (previous === 0) hypervisor.state.freeRuns = run;
  else hypervisor.memory.u32[(previous >>> 2) + 1] = run;
}

function describe(hypervisor: Hypervisor, run: number, count: number, next: number): void {
  hypervisor.memory.u32[run >>> 2] = count;
  hypervisor.memory.u32[(run >>> 2) + 1] = next;
}

/** `count` contiguous frames of the hypervisor's own, zeroed. Returns their machine address. @throws DomusError */
export function takeRun(hypervisor: Hypervisor, count: number): number {
  let best = 0;
  let beforeBest = 0;
  let previous = 0;
  for (let run = hypervisor.state.freeRuns; run !== 0; run = nextOf(hypervisor, run)) {
    const size = countOf(hypervisor, run);
    if (size >= count && (best === 0 || size < countOf(hypervisor, best))) {
      best = run;
      beforeBest = previous;
    }
    previous = run;
  }
  if (best === 0) return frameAddress(hypervisor.frames.allocateRun(count, DOMID_XEN));
  const rest = countOf(hypervisor, best) - count;
  let following = nextOf(hypervisor, best);
  if (rest > 0) {
    const remainder = best + count * PAGE_SIZE;
    describe(hypervisor, remainder, rest, following);
    following = remainder;
  }
  link(hypervisor, beforeBest, following);
  hypervisor.memory.u8.fill(0, best, best + count * PAGE_SIZE);
  return best;
}

export function giveRunBack(hypervisor: Hypervisor, address: number, count: number): void {
  let previous = 0;
  let next = hypervisor.state.freeRuns;
  while (next !== 0 && next < address) {
    previous = next;
    next = nextOf(hypervisor, next);
  }
  let frames = count;
  if (next !== 0 && address + count * PAGE_SIZE === next) {
    frames += countOf(hypervisor, next);
    next = nextOf(hypervisor, next);
  }
  if (previous !== 0 && previous + countOf(hypervisor, previous) * PAGE_SIZE === address) {
    describe(hypervisor, previous, countOf(hypervisor, previous) + frames, next);
    return;
  }
  describe(hypervisor, address, frames, next);
  link(hypervisor, previous, address);
}

/** A single zeroed frame of the hypervisor's own. */
export const takeFrame = (hypervisor: Hypervisor): Mfn => hypervisor.frames.allocate(DOMID_XEN, 1);
export const mfnOf = (address: number): Mfn => mfn(address >>> 12);
