/** __HYPERVISOR_vcpu_op (24): int cmd, unsigned vcpuid, void *arg. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOENT, XEN_ENOSYS, XEN_ETIME } from '../../abi/xen/errno.ts';
import { SHUTDOWN_poweroff } from '../../abi/xen/sched.ts';
import * as abi from '../../abi/xen/vcpu.ts';
import { VCPU_SSHOTTMR_future } from '../../abi/xen/vcpu.ts';
import { VcpuInfo } from '../../abi/xen/xen.ts';
import { frameAddress, mfn, PAGE_SIZE } from '../../base/brand.ts';
import { injectUpcall } from '../event/upcall.ts';
import { copyIn, copyOut, guestRangeOkay } from '../guest-memory.ts';
import type { Vcpu } from '../hypervisor.ts';
import { domainShutdown, vcpuDown, vcpuUp } from '../life.ts';
import { gfnOfNumber, ramOfGfn, takeReference } from '../p2m.ts';
import { runstateInfo } from '../runstate.ts';
import { NEVER, Pause } from '../state.ts';
import { guestTime, setPeriodic, setSingleshot, updateTimeArea, updateVcpuTime } from '../time.ts';
import { type Call, fixed, type Operation, type OperationTable, uint } from './call.ts';

const { Vcpuop } = abi;
const PERIOD_MIN_NS = 1_000_000n;
const PERIOD_MAX_NS = 1n << 52n;

/** An operation on the vCPU named by the second argument. */
function onVcpu(
  name: string,
  body: (call: Call, vcpu: Vcpu, argument: bigint) => number,
  more: Partial<Operation> = {},
): Operation {
  return {
    name,
    ...more,
    run(call, argument) {
      const vcpu = call.domain.vcpus[uint(call.args[1]!)];
      return vcpu === undefined ? -XEN_ENOENT : body(call, vcpu, argument);
    },
  };
}

function up(_call: Call, vcpu: Vcpu): number {
  if (!vcpu.state.isInitialised) return -XEN_EINVAL;
  if ((vcpu.state.pauseFlags & Pause.down) !== 0) vcpuUp(vcpu);
  return 0;
}

function down(call: Call, vcpu: Vcpu): number {
  const others = call.domain.vcpus.some(v => v !== vcpu && (v.state.pauseFlags & Pause.down) === 0);
  if (others) vcpuDown(vcpu);
  else domainShutdown(call.domain, SHUTDOWN_poweroff, call.vcpu.id);
  return 0;
}

function registerRunstate(call: Call, vcpu: Vcpu, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.VcpuRegisterRunstateMemoryArea, argument);
  if (op === undefined) return -XEN_EFAULT;
  const area = op.value.addr;
  if (!guestRangeOkay(call.vcpu, area, abi.VcpuRunstateInfo.size, true)) return -XEN_EFAULT;
  vcpu.state.runstateArea = area;
  return copyOut(call.vcpu, area, runstateInfo(vcpu, vcpu !== call.vcpu)) ? 0 : -XEN_EFAULT;
}

function registerTimeArea(call: Call, vcpu: Vcpu, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.VcpuRegisterTimeMemoryArea, argument);
  if (op === undefined) return -XEN_EFAULT;
  if (!guestRangeOkay(call.vcpu, op.value.addr, 32, true)) return -XEN_EFAULT;
  vcpu.state.timeArea = op.value.addr;
  updateTimeArea(vcpu);
  return 0;
}

function setPeriodicTimer(call: Call, vcpu: Vcpu, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.VcpuSetPeriodicTimer, argument);
  if (op === undefined) return -XEN_EFAULT;
  const period = op.value.period_ns;
  if (period < PERIOD_MIN_NS || period > PERIOD_MAX_NS) return -XEN_EINVAL;
  setPeriodic(vcpu, Number(period));
  return 0;
}

function setSingleshotTimer(call: Call, vcpu: Vcpu, argument: bigint): number {
  if (vcpu !== call.vcpu) return -XEN_EINVAL;
  const op = copyIn(call.vcpu, abi.VcpuSetSingleshotTimer, argument);
  if (op === undefined) return -XEN_EFAULT;
  const deadline = guestTime(op.value.timeout_abs_ns);
  const past = deadline < call.hypervisor.clock.systemTimeNs();
  if (past && (op.value.flags & VCPU_SSHOTTMR_future) !== 0) return -XEN_ETIME;
  setSingleshot(vcpu, deadline);
  return 0;
}

function registerVcpuInfo(call: Call, vcpu: Vcpu, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.VcpuRegisterVcpuInfo, argument);
  if (op === undefined) return -XEN_EFAULT;
  const { state } = vcpu;
  const offset = op.value.offset;
  if (offset > PAGE_SIZE - VcpuInfo.size || state.vcpuInfoMfn !== 0) return -XEN_EINVAL;
  if (vcpu !== call.vcpu && (state.pauseFlags & Pause.down) === 0) return -XEN_EINVAL;
  const frame = ramOfGfn(call.domain, gfnOfNumber(op.value.mfn));
  if (frame === 0) return -XEN_EINVAL;
  const { memory } = call.hypervisor;
  const address = frameAddress(mfn(frame)) + offset;
  takeReference(call.hypervisor, frame);
  memory.u8.copyWithin(address, state.vcpuInfo, state.vcpuInfo + VcpuInfo.size);
  state.vcpuInfoMfn = frame;
  state.vcpuInfo = address;
  // Events that came to the old place meanwhile must not be lost: say that all words have some.
  memory.u8[address] = 1;
  memory.view.setBigUint64(address + VcpuInfo.offsets.evtchn_pending_sel, 0xffff_ffff_ffff_ffffn, true);
  updateVcpuTime(vcpu);
  injectUpcall(vcpu);
  return 0;
}

export const vcpuOperations: OperationTable = {
  [Vcpuop.initialise]: fixed('initialise', -XEN_ENOSYS, 'PVH guests start vCPUs by INIT and SIPI'),
  [Vcpuop.up]: onVcpu('up', up, { compat: true }),
  [Vcpuop.down]: onVcpu('down', down, { compat: true, note: 'the last one down powers the domain off' }),
  [Vcpuop.is_up]: onVcpu('is_up', (_call, vcpu) => ((vcpu.state.pauseFlags & Pause.down) === 0 ? 1 : 0), {
    compat: true,
  }),
  [Vcpuop.get_runstate_info]: onVcpu('get_runstate_info', (call, vcpu, argument) =>
    copyOut(call.vcpu, argument, runstateInfo(vcpu, true)) ? 0 : -XEN_EFAULT,
  ),
  [Vcpuop.register_runstate_memory_area]: onVcpu('register_runstate_memory_area', registerRunstate),
  [Vcpuop.set_periodic_timer]: onVcpu('set_periodic_timer', setPeriodicTimer, { compat: true }),
  [Vcpuop.stop_periodic_timer]: onVcpu(
    'stop_periodic_timer',
    (_call, vcpu) => {
      setPeriodic(vcpu, 0);
      return 0;
    },
    { compat: true },
  ),
  [Vcpuop.set_singleshot_timer]: onVcpu('set_singleshot_timer', setSingleshotTimer, {
    compat: true,
    note: 'a time in the past fires at once',
  }),
  [Vcpuop.stop_singleshot_timer]: onVcpu(
    'stop_singleshot_timer',
    (call, vcpu) => {
      if (vcpu !== call.vcpu) return -XEN_EINVAL;
      setSingleshot(vcpu, NEVER);
      return 0;
    },
    { compat: true },
  ),
  [Vcpuop.register_vcpu_info]: onVcpu('register_vcpu_info', registerVcpuInfo, {
    compat: true,
    note: 'once per vCPU',
  }),
  [Vcpuop.send_nmi]: fixed('send_nmi', -XEN_ENOSYS, ''),
  [Vcpuop.get_physid]: fixed('get_physid', -XEN_EINVAL, 'for the hardware domain only: -EINVAL'),
  [Vcpuop.register_vcpu_time_memory_area]: onVcpu('register_vcpu_time_memory_area', registerTimeArea),
};
