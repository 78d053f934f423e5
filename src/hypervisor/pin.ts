/** Pinning: another set of pCPUs for a vCPU, wherever it is now. */
import { RUNSTATE_offline } from '../abi/xen/vcpu.ts';
import { AFFINITY_BYTES, affinityOf, writeAffinity } from './affinity.ts';
import { attachRun } from './domain.ts';
import type { Vcpu } from './hypervisor.ts';
import { removeFromQueue } from './run-queue.ts';
import { setRunstate } from './runstate.ts';
import { DomainRun } from './state.ts';
import { wake } from './wake.ts';

/** `undefined`: all of them. A vCPU that is on another one leaves it. */
export function pinVcpu(vcpu: Vcpu, pcpus: readonly number[] | undefined): void {
  if (pcpus === undefined && affinityOf(vcpu) === undefined) return;
  attachRun(vcpu.domain, DomainRun.affinity, AFFINITY_BYTES);
  writeAffinity(vcpu, pcpus ?? []);
  vcpu.domain.hypervisor.parallel?.kick(vcpu);
  if (vcpu.state.onRunQueue === 0) return;
  // Whoever may take it now hears of it again.
  removeFromQueue(vcpu);
  setRunstate(vcpu, RUNSTATE_offline);
  wake(vcpu);
}
