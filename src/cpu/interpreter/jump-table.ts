/** How much of its table of jump targets (jump-targets.ts) a vCPU uses. */
import type { MachineMemory } from '../../machine/memory.ts';
import { JUMP_TARGETS, JUMP_TARGETS_OFFSET, JumpTarget, Vcpu } from '../vcpu/layout.ts';

/**
 * A vCPU begins with a small table, a page of the host's: one that does next to nothing, as an idle clone, comes by a thousand computed
 * jumps, which would touch all of the whole one.
 */
export const FEW_MASK = (256 - 1) * JumpTarget.size;
const ALL_MASK = (JUMP_TARGETS - 1) * JumpTarget.size;
/** Instructions until it has all of it: before that nothing is hot. */
export const FEW_TARGETS_UNTIL = 1_000_000;

/** Use the whole table from now on. What is in the small one would be found in two places, and is forgotten. */
export function useAllTargets({ u8, u32 }: MachineMemory, cpu: number): void {
  const word = (cpu + Vcpu.offsets.jumpTargetsMask) >>> 2;
  if (u32[word] === ALL_MASK) return;
  u32[word] = ALL_MASK;
  const first = cpu + JUMP_TARGETS_OFFSET;
  u8.fill(0, first, first + FEW_MASK + JumpTarget.size);
}
