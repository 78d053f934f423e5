/**
 * Runstate accounting: how long each vCPU was running, runnable, blocked and offline, and the copy of it that a guest
 * registers by virtual address (from which Linux computes steal time).
 */
import { VcpuRunstateInfo, XEN_RUNSTATE_UPDATE } from '../abi/xen/vcpu.ts';
import { VMASST_TYPE_runstate_update_flag } from '../abi/xen/xen.ts';
import { blank, copyToGuest } from './guest-memory.ts';
import type { Vcpu } from './hypervisor.ts';

/** Close the time spent in the old state and enter the new one. */
export function setRunstate(vcpu: Vcpu, runstate: number): void {
  const { state } = vcpu;
  if (state.runstate === runstate) return;
  const now = vcpu.domain.hypervisor.clock.systemTimeNs();
  const spent = Math.max(0, now - state.runstateEntryNs);
  state.runstateTimeNs.set(state.runstate, state.runstateTimeNs.get(state.runstate) + spent);
  state.runstateEntryNs = now;
  state.runstate = runstate;
}

/** The record as of now: the current state's time includes what has passed since it was entered. */
export function runstateInfo(vcpu: Vcpu, upToNow: boolean) {
  const { state } = vcpu;
  const info = blank(VcpuRunstateInfo);
  info.value.state = state.runstate;
  info.value.state_entry_time = BigInt(state.runstateEntryNs);
  for (let i = 0; i < 4; i++) {
    let time = state.runstateTimeNs.get(i);
    if (upToNow && i === state.runstate) {
      time += Math.max(0, vcpu.domain.hypervisor.clock.systemTimeNs() - state.runstateEntryNs);
    }
    info.value.time.set(i, BigInt(time));
  }
  return info;
}

/**
 * Write the registered area. With the update flag (VMASST) the guest can tell a torn read: the top bit of the entry
 * time is set before and cleared after. An area that is not mapped now is skipped: it will be written the next time.
 */
export function updateRunstateArea(vcpu: Vcpu): void {
  const area = vcpu.state.runstateArea;
  if (area === 0n) return;
  const info = runstateInfo(vcpu, false);
  if ((vcpu.domain.state.vmAssist & (1 << VMASST_TYPE_runstate_update_flag)) === 0) {
    copyToGuest(vcpu, area, info.bytes);
    return;
  }
  const entryOffset = VcpuRunstateInfo.offsets.state_entry_time;
  const entry = info.bytes.subarray(entryOffset, entryOffset + 8);
  info.value.state_entry_time |= XEN_RUNSTATE_UPDATE;
  if (!copyToGuest(vcpu, area + BigInt(entryOffset), entry)) return;
  copyToGuest(vcpu, area, info.bytes);
  info.value.state_entry_time &= ~XEN_RUNSTATE_UPDATE;
  copyToGuest(vcpu, area + BigInt(entryOffset), entry);
}
