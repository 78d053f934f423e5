/**
 * The machine header: roots of everything that is found by following addresses, at a fixed place in machine memory.
 */
import { aligned, struct, u32, u64 } from '../base/struct.ts';
import type { MachineMemory } from './memory.ts';

export const MACHINE_HEADER = 0x8000;

export const MachineHeader = struct('machine', {
  /** Head of the list of all vCPU blocks of this machine (linked by `Vcpu.nextVcpu`). */
  firstVcpu: u32,
  /**
   * The code cache: bounds of what is in use of it, bump pointer, and how often it was thrown away as a whole. It may be made larger, up to
   * `codeEnd` (cpu/runtime/assembly/code/room.ts).
   */
  codeBase: u32,
  codeLimit: u32,
  codeNext: u32,
  codeGeneration: u32,
  /** After how many jumps to a place the translator is told of it; 0 = never. */
  hotJumps: u32,
  /** 1 when vCPUs run on several threads: a store and the decoder may then meet. */
  isParallel: u32,
  /** After how many entries a small region is made anew as part of a larger one. */
  hotEntries: u32,
  /** Address of what the translator keeps (cpu/translator/layout.ts), 0 where nothing is translated. */
  translator: u32,
  /** Where the code cache's memory ends. */
  codeEnd: u32,
  /** Behind here nothing was ever in use of it when it was thrown away: there it is as the system gave it, zero. */
  codeUsed: u32,
  /** Instructions that the vCPUs had retired together when it was full for the last time. */
  codeFullAt: u64,

  // Each on a cache line of its own.
  /** Lock of the code cache, held while code is decoded or forgotten (cpu/runtime/assembly/code/lock.ts). */
  codeLock: aligned(64, u32),
  /** Lock of whoever executes while no vCPU of the machine does (cpu/alone.ts). */
  aloneLock: aligned(64, u32),
  /** Lock of the hypervisor's state (hypervisor/pcpu.ts). */
  hypervisorLock: aligned(64, u32),
  /** Goes up whenever a vCPU becomes runnable; pCPUs without work wait for it. */
  workCount: aligned(64, u32),
  /** pCPUs that wait for work. */
  idlePcpus: u32,
  /** 1 when the pCPUs are to end. */
  stopPcpus: u32,
  /** 1 while the control domain's thread has been told that there is something for it, and has not looked yet. */
  controlCalled: aligned(64, u32),
  /** Threads that wait for the hypervisor's lock, where guest code is executed with it (hypervisor/exclusive.ts). */
  lockWanted: aligned(64, u32),
});

export const machineHeader = (memory: MachineMemory) => MachineHeader.at(memory.view, MACHINE_HEADER);

const CODE_LIMIT = (MACHINE_HEADER + MachineHeader.offsets.codeLimit) >>> 2;
const CODE_END = (MACHINE_HEADER + MachineHeader.offsets.codeEnd) >>> 2;
/** Is all of the code cache in use? Past the accessors: it is asked for each run of instructions that is decoded. */
export const usesAllCode = ({ u32 }: MachineMemory): boolean => u32[CODE_LIMIT] === u32[CODE_END];
