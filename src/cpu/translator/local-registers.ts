/**
 * Which general registers are locals of a region. V8 has twelve registers, and memory, the vCPU block, the fuel, the TLB and what is being computed
 * take some. Of sixteen locals half were on the stack: loaded from the block at the beginning and put there, moved around wherever paths
 * meet, and brought back at the end; a third of a large region's code was that. So those that are used least stay in the vCPU block.
 */
import type { Block } from './region.ts';
import { GENERAL } from './registers.ts';
import type { Structure } from './structure.ts';
import { touchedBy } from './touched.ts';

/** Others were measured: docs/design/0010. */
const LOCALS = 8;
/** What is in a loop is assumed to be executed so often each time that the loop is come by. */
const ROUNDS = 8;
/** Deeper loops count as this one: who is in them is used most anyway. */
const DEPTH_MAX = 4;

/** A set of general registers (bits 0 to 15). */
export function withoutLocals(blocks: readonly Block[], { depth }: Structure): number {
  const uses = new Array<number>(GENERAL).fill(0);
  for (const { id, instructions } of blocks) {
    const weight = ROUNDS ** Math.min(depth[id] as number, DEPTH_MAX);
    for (const instruction of instructions) {
      const { read, written } = touchedBy(instruction);
      for (let number = 0; number < GENERAL; number++) {
        if ((read | written) & (1 << number)) uses[number] = (uses[number] as number) + weight;
      }
    }
  }
  const byUse = uses.map((_, number) => number).sort((a, b) => (uses[b] as number) - (uses[a] as number));
  return byUse.slice(LOCALS).reduce((set, number) => set | (1 << number), 0);
}
