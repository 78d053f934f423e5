/**
 * The hypervisor's handles: JavaScript objects over the state of state.ts, and what is injected from outside.
 *
 * Handles own nothing that cannot be rebuilt from machine memory, except the callbacks of TypeScript backends, which
 * are services and register again.
 */
import type { DomainId } from '../base/brand.ts';
import type { Vcpu as VcpuBlock } from '../cpu/vcpu/layout.ts';
import type { FrameTable } from '../machine/frames.ts';
import type { Lock } from '../machine/lock.ts';
import type { MachineMemory } from '../machine/memory.ts';
import type { BorrowedPages } from './borrowed-pages.ts';
import type { MemoryImages } from './memory-image.ts';
import type { MachinePages } from './page-source.ts';
import type { StoredPages } from './sharing/stored-pages.ts';
import type { DomainState, HypervisorState, VcpuState } from './state.ts';
import type { TrailRecorder } from './trail.ts';

/** Time, injected. All three go at the same rate; `tsc` is what the guest's RDTSC reads. */
export interface Clock {
  /** Nanoseconds since the machine started, below 2^53. */
  systemTimeNs(): number;
  /** Ticks of the machine's time-stamp counter, below 2^53. */
  tsc(): number;
  /** Nanoseconds since 1970-01-01 UTC. */
  wallClockNs(): bigint;
  /** How much fuel a vCPU may use before the time comes; lets timers fire exactly when time is counted in fuel. */
  fuelUntil?(deadlineNs: number): number;
}

/** The interrupt controller of a vCPU (given by the address of its block). */
export interface InterruptSink {
  /** Raise the event channel upcall through the local APIC, as an edge-triggered interrupt. */
  upcall(vcpuAddress: number, vector: number): void;
  /** Interrupts may be acceptable now: put the best waiting one into `Vcpu.pendingInterrupt`. */
  refresh?(vcpuAddress: number): void;
  /** The timer set by `setApicTimer` is due. */
  timerFired?(vcpuAddress: number): void;
  /** The vCPU has left its pCPU after a start-up IPI (`VcpuState.startUp`). */
  startLate?(vcpu: Vcpu): void;
}

/** What the hypervisor needs of the CPU engine. */
export interface CpuEngine {
  /** Run until an exit; returns `Vcpu.exitReason`. What is left of `fuel` is in `Vcpu.fuel`. */
  run(vcpuAddress: number, fuel: number): number;
  /** Machine address of a guest virtual address in the vCPU's current address space (supervisor), or 0. */
  translate(vcpuAddress: number, gva: bigint, write: boolean): number;
  /** The domain's p2m has lost or changed an entry: translations of its vCPUs are stale. */
  p2mChanged?(domain: Domain): void;
  /** The hypervisor wrote to a frame whose instructions are decoded (`FrameFlag.code`). */
  codeWritten?(machineAddress: number, sizeBytes: number): void;
}

/**
 * What a thread needs that has a machine in common with others. All of the hypervisor's state is under one lock, which is held whenever
 * hypervisor code runs. Where several threads execute vCPUs at the same time it is let go while they do (parallel.ts); where one does it is
 * held (exclusive.ts).
 */
export interface Parallel {
  /** Number of this thread's pCPU, from 1; 0 is the control domain's thread, which runs no vCPU. */
  readonly pcpu: number;
  readonly lock: Lock;
  /** No two vCPUs execute at the same time, and none while another thread has the lock. */
  readonly isExclusive: boolean;
  /** Something about the vCPU has changed: if it executes, let it come out and see. */
  kick(vcpu: Vcpu): void;
  /** A vCPU became runnable, or timers are due earlier: an idle pCPU should look, or all of them where not all may run it. */
  wakePcpu(all: boolean): void;
  /** Tell the control domain's thread that there is something for it. */
  callControl(): void;
  /** Do something while no vCPU executes. The lock is let go before and held again while `task` runs. */
  alone<T>(task: () => T): T;
}

/** Notices to the toolstack. None may call back into the hypervisor's run loop. */
export interface Notices {
  /** A domain has shut down: `code` is SHUTDOWN_*. */
  shutdown?(domain: Domain, code: number): void;
  /** A vCPU became runnable, so a run loop that sleeps should wake. */
  wake?(): void;
  /** CONSOLEIO_write of a domain. */
  console?(domain: Domain, text: Uint8Array): void;
  /** Before each hypercall, when tracing. */
  hypercall?(vcpu: Vcpu, number: number, args: readonly bigint[]): void;
  /** After each hypercall, when tracing; -ERESTART when only a part of it is done. */
  hypercallDone?(vcpu: Vcpu, number: number, args: readonly bigint[], result: number): void;
}

export type Accessor<S extends { at(view: DataView, address: number): unknown }> = ReturnType<S['at']>;

/** Handle of one vCPU. */
export interface Vcpu {
  readonly domain: Domain;
  readonly id: number;
  readonly state: Accessor<typeof VcpuState>;
  /** The vCPU block. */
  readonly block: Accessor<typeof VcpuBlock>;
}

/** Handle of one domain. */
export interface Domain {
  readonly hypervisor: Hypervisor;
  readonly id: DomainId;
  readonly state: Accessor<typeof DomainState>;
  readonly vcpus: Vcpu[];
}

export interface Hypervisor {
  readonly memory: MachineMemory;
  readonly frames: FrameTable;
  readonly state: Accessor<typeof HypervisorState>;
  readonly clock: Clock;
  readonly interrupts: InterruptSink;
  readonly engine: CpuEngine;
  readonly notices: Notices;
  /** Undefined where one thread does everything. */
  readonly parallel?: Parallel | undefined;
  /** What paged frames are filled from; set when a domain is restored. */
  pages?: MachinePages | undefined;
  /** Pages that are only executed may stay there: nobody but the decoder reads code (p2m.ts, `fillCode`). */
  leavesCode: boolean;
  /** Gives pages back that were only looked at; undefined where they stay. */
  borrowed?: BorrowedPages | undefined;
  /** Notes which pages a restored domain looks at. */
  trail?: TrailRecorder | undefined;
  /** Contents of shared pages. */
  readonly store?: StoredPages | undefined;
  /** What clones of its domains are filled from. */
  readonly images: MemoryImages;
  readonly domains: Map<number, Domain>;
  /** vCPU handles by the address of their VcpuState. */
  readonly vcpus: Map<number, Vcpu>;
  /** Callbacks of the control domain's ports, and ports of it that wait for delivery. */
  readonly callbacks: Map<number, () => void>;
  readonly pendingCallbacks: number[];
  /**
   * How long a unit of fuel has lately taken, where the clock cannot say (see scheduler.ts), and what has been run since that was
   * last computed. A measurement, not state.
   */
  readonly pace: { nsPerFuel: number; elapsedNs: number; fuel: number };
}

export interface HypervisorOptions {
  memory: MachineMemory;
  frames: FrameTable;
  clock: Clock;
  interrupts: InterruptSink;
  engine: CpuEngine;
  notices?: Notices;
  parallel?: Parallel | undefined;
  pages?: MachinePages | undefined;
  /** Default false. */
  leavesCode?: boolean;
  borrowed?: BorrowedPages | undefined;
  store?: StoredPages | undefined;
}

/** Do several threads execute vCPUs of the machine at the same time? */
export const isParallel = ({ parallel }: Hypervisor): boolean => parallel?.isExclusive === false;
