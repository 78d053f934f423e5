/** What a debugger needs of a machine. The machine implements it; the gdb server and the traces use it. */
import type { MachineAddress } from '../base/brand.ts';
import type { CpuEngine } from '../cpu/engine.ts';

export interface DebugVcpu {
  readonly id: number;
  /** Its vCPU block. */
  readonly block: MachineAddress;
  /** Brought up by the guest. */
  isOnline(): boolean;
}

/** Why the run loop stopped by itself. It does not go on before `resume`. */
export type DebugStop =
  /** An entry returned Exit.breakpoint: the instruction at rip has not been executed. */
  | { readonly kind: 'breakpoint'; readonly vcpu: number }
  /** The guest is over. */
  | { readonly kind: 'shutdown'; readonly isCrash: boolean };

export interface DebugTarget {
  readonly engine: CpuEngine;
  readonly vcpus: readonly DebugVcpu[];
  /** Settles when no vCPU executes any more; at once if none does. */
  stop(): Promise<void>;
  resume(): void;
  /**
   * Execute one instruction of one vCPU with `engine.step`, and act on its exit as the run loop does; no interrupt is
   * delivered before it. The machine is stopped before and after. A vCPU that cannot run now stays where it is.
   */
  step(vcpu: number): void | Promise<void>;
  onStop(listener: (stop: DebugStop) => void): void;
  /** gdb's `kill`: the guest ends. */
  kill(): void;
}
