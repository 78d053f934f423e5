/** Waking vCPUs: from blocked to runnable, onto the run queue. */
import { RUNSTATE_runnable } from '../abi/xen/vcpu.ts';
import { Vcpu as VcpuBlock } from '../cpu/vcpu/layout.ts';
import { hasAffinity } from './affinity.ts';
import type { Domain, Hypervisor, Vcpu } from './hypervisor.ts';
import { enqueue } from './run-queue.ts';
import { setRunstate } from './runstate.ts';
import { Life, NEVER, Pause, POLL_ANY, POLL_NONE } from './state.ts';

/** May the vCPU run, as far as the toolstack, the guest and its domain's life are concerned? */
export function isRunnable(vcpu: Vcpu): boolean {
  const { state } = vcpu.domain;
  return (
    vcpu.state.pauseFlags === 0 &&
    state.pauseCount === 0 &&
    state.isShutDown === 0 &&
    state.life === Life.running
  );
}

/** Put a vCPU that may run on the run queue. */
export function wake(vcpu: Vcpu): void {
  if (!isRunnable(vcpu) || vcpu.state.onRunQueue !== 0) return;
  // Its pCPU will see that it may go on.
  if (vcpu.state.runningOn !== 0) return;
  enqueue(vcpu);
  setRunstate(vcpu, RUNSTATE_runnable);
  const { parallel, notices } = vcpu.domain.hypervisor;
  if (parallel) parallel.wakePcpu(hasAffinity(vcpu));
  else notices.wake?.();
}

/** An event or interrupt has come: end HLT, SCHEDOP_block and SCHEDOP_poll. */
export function unblock(vcpu: Vcpu): void {
  if ((vcpu.state.pauseFlags & Pause.blocked) === 0) return;
  vcpu.state.pauseFlags &= ~Pause.blocked;
  vcpu.state.pollPort = POLL_NONE;
  vcpu.state.pollNs = NEVER;
  vcpu.block.halted = 0;
  wake(vcpu);
}

/** A port became pending: end polls for it. Masked events count too. */
export function wakePollers(domain: Domain, port: number): void {
  for (const vcpu of domain.vcpus) {
    const waitsFor = vcpu.state.pollPort;
    if (waitsFor === port || waitsFor === POLL_ANY) unblock(vcpu);
  }
}

/** Handle of the vCPU with this block, undefined if its domain is gone. */
export function vcpuOfBlock(hypervisor: Hypervisor, blockAddress: number): Vcpu | undefined {
  const { u32 } = hypervisor.memory;
  const domain = hypervisor.domains.get(u32[(blockAddress + VcpuBlock.offsets.domain) >>> 2]!);
  const vcpu = domain?.vcpus[u32[(blockAddress + VcpuBlock.offsets.id) >>> 2]!];
  return vcpu?.state.block === blockAddress ? vcpu : undefined;
}

/** The interrupt controller has an interrupt for this vCPU: end its HLT. */
export function interruptArrived(hypervisor: Hypervisor, blockAddress: number): void {
  const vcpu = vcpuOfBlock(hypervisor, blockAddress);
  if (vcpu === undefined) return;
  unblock(vcpu);
  hypervisor.parallel?.kick(vcpu);
}
