/** The run queue of all pCPUs: vCPUs linked through `VcpuState.runNext`, first in, first out. */

import { mayRunOn } from './affinity.ts';
import type { Hypervisor, Vcpu } from './hypervisor.ts';
import { VcpuState } from './state.ts';

export function enqueue(vcpu: Vcpu): void {
  const { state, memory } = vcpu.domain.hypervisor;
  const address = vcpu.state.address;
  vcpu.state.onRunQueue = 1;
  vcpu.state.runNext = 0;
  if (state.runTail === 0) state.runHead = address;
  else VcpuState.at(memory.view, state.runTail).runNext = address;
  state.runTail = address;
}

/** The first one that may run on this pCPU, counted from 0. */
export function dequeue(hypervisor: Hypervisor, pcpu: number): Vcpu | undefined {
  const { state, vcpus } = hypervisor;
  let vcpu = vcpus.get(state.runHead);
  if (vcpu === undefined) return undefined;
  if (!mayRunOn(vcpu, pcpu)) {
    do vcpu = vcpus.get(vcpu.state.runNext);
    while (vcpu !== undefined && !mayRunOn(vcpu, pcpu));
    if (vcpu !== undefined) removeFromQueue(vcpu);
    return vcpu;
  }
  state.runHead = vcpu.state.runNext;
  if (state.runHead === 0) state.runTail = 0;
  vcpu.state.onRunQueue = 0;
  vcpu.state.runNext = 0;
  return vcpu;
}

/** Take a vCPU out wherever it is. */
export function removeFromQueue(vcpu: Vcpu): void {
  if (vcpu.state.onRunQueue === 0) return;
  const { state, memory } = vcpu.domain.hypervisor;
  const address = vcpu.state.address;
  let previous = 0;
  for (let at = state.runHead; at !== 0; at = VcpuState.at(memory.view, at).runNext) {
    if (at === address) break;
    previous = at;
  }
  if (previous === 0) state.runHead = vcpu.state.runNext;
  else VcpuState.at(memory.view, previous).runNext = vcpu.state.runNext;
  if (state.runTail === address) state.runTail = previous;
  vcpu.state.onRunQueue = 0;
  vcpu.state.runNext = 0;
}
