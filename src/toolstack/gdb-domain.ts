/** A domain as a debugger's target: what the gdb server needs, from what a machine already has. */
import { maddr } from '../base/brand.ts';
import type { CpuEngine } from '../cpu/engine.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { pauseDomain, unpauseDomain } from '../hypervisor/life.ts';
import { stepVcpu } from '../hypervisor/scheduler.ts';
import { Pause } from '../hypervisor/state.ts';
import type { DebugStop, DebugTarget } from './gdb-target.ts';

export interface DebuggedMachine {
  readonly engine: CpuEngine;
  readonly domain: Domain;
  /** Settles when the run loop has come to rest, with the domain paused once. At once if it rests already. */
  pause(): Promise<void>;
  /** Undo `pause`. */
  resume(): void;
  /** End the guest. */
  kill(): void;
}

export interface DebuggedDomain extends DebugTarget {
  /**
   * The run loop met a breakpoint (an outcome with Exit.breakpoint), or the guest is over. After a breakpoint the
   * machine must be paused, as by `pause`, before this is called.
   */
  stopped(stop: DebugStop): void;
}

export function debugDomain(machine: DebuggedMachine): DebuggedDomain {
  const { engine, domain } = machine;
  let listener: (stop: DebugStop) => void = () => {};
  return {
    engine,
    vcpus: domain.vcpus.map(vcpu => ({
      id: vcpu.id,
      block: maddr(vcpu.state.block),
      isOnline: () => (vcpu.state.pauseFlags & Pause.down) === 0,
    })),
    stop: () => machine.pause(),
    resume: () => machine.resume(),
    step(id) {
      const vcpu = domain.vcpus[id];
      if (!vcpu) return;
      unpauseDomain(domain);
      stepVcpu(vcpu, block => engine.step(block));
      pauseDomain(domain);
    },
    onStop(own) {
      listener = own;
    },
    kill: () => machine.kill(),
    stopped: stop => listener(stop),
  };
}
