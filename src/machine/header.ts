/**
 * The machine header: roots of everything that is found by following addresses, at a fixed place in machine memory.
 */
import { struct, u32 } from '../base/struct.ts';
import type { MachineMemory } from './memory.ts';

export const MACHINE_HEADER = 0x8000;

export const MachineHeader = struct('machine', {
  /** Head of the list of all vCPU blocks of this machine (linked by `Vcpu.nextVcpu`). */
  firstVcpu: u32,
  /** The code cache: bounds, bump pointer, and how often it was thrown away as a whole. */
  codeBase: u32,
  codeLimit: u32,
  codeNext: u32,
  codeGeneration: u32,
  /** After how many jumps to a place the translator is told of it; 0 = never. */
  hotJumps: u32,
});

export const machineHeader = (memory: MachineMemory) => MachineHeader.at(memory.view, MACHINE_HEADER);
