/** From a pending event to a running interrupt handler: vcpu_info.evtchn_upcall_pending and the upcall. */
import { HVM_PARAM_CALLBACK_TYPE_VECTOR, HvmParam } from '../../abi/xen/hvm.ts';
import type { Vcpu } from '../hypervisor.ts';
import { unblock } from '../wake.ts';

/** Events wait for this vCPU: set the flag and, if it was clear, deliver the upcall. */
export function markEventsPending(vcpu: Vcpu): void {
  const { u8 } = vcpu.domain.hypervisor.memory;
  if (Atomics.or(u8, vcpu.state.vcpuInfo, 1) !== 0) return;
  injectUpcall(vcpu);
}

export const upcallPending = (vcpu: Vcpu): boolean =>
  vcpu.domain.hypervisor.memory.u8[vcpu.state.vcpuInfo] !== 0;

/** Vector of HVM_PARAM_CALLBACK_IRQ in its vector form, which is delivered past the local APIC; 0 if not in use. */
export function callbackVector(vcpu: Vcpu): number {
  const value = vcpu.domain.state.hvmParams.get(HvmParam.CALLBACK_IRQ);
  return Number(value >> 56n) === HVM_PARAM_CALLBACK_TYPE_VECTOR ? Number(value & 0xffn) : 0;
}

/** Deliver the upcall whether or not it was delivered before. */
export function injectUpcall(vcpu: Vcpu): void {
  const vector = vcpu.state.upcallVector;
  if (vector !== 0) vcpu.domain.hypervisor.interrupts.upcall(vcpu.state.block, vector);
  else assertCallbackVector(vcpu);
  unblock(vcpu);
  vcpu.domain.hypervisor.parallel?.kick(vcpu);
}

/**
 * The callback vector behaves like a level: as long as the flag is set, the interrupt is there. It waits in the vCPU's
 * slot for the next interrupt, unless another one is already there; the scheduler asserts it again on each entry.
 */
export function assertCallbackVector(vcpu: Vcpu): void {
  const vector = callbackVector(vcpu);
  if (vector !== 0 && upcallPending(vcpu) && vcpu.block.pendingInterrupt < 0)
    vcpu.block.pendingInterrupt = vector;
}
