/** __HYPERVISOR_hvm_op (34): unsigned long op, void *arg. */
import * as errno from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/hvm.ts';
import { P2m } from '../../cpu/vcpu/layout.ts';
import { injectUpcall, upcallPending } from '../event/upcall.ts';
import { copyIn, copyOut } from '../guest-memory.ts';
import { p2mEntry, p2mType } from '../p2m.ts';
import { type Call, domainOf, fixed, mustBeSelf, type OperationTable } from './call.ts';

const { Hvmop, HvmParam } = abi;

const SETTABLE_BY_GUEST = new Set<number>([
  HvmParam.CALLBACK_IRQ,
  HvmParam.STORE_EVTCHN,
  HvmParam.CONSOLE_EVTCHN,
  HvmParam.VM86_TSS,
  HvmParam.VM86_TSS_SIZED,
  HvmParam.ACPI_IOPORTS_LOCATION,
  HvmParam.VM_GENERATION_ID_ADDR,
]);
const READABLE_BY_GUEST = new Set<number>([
  ...SETTABLE_BY_GUEST,
  HvmParam.STORE_PFN,
  HvmParam.CONSOLE_PFN,
  HvmParam.X87_FIP_WIDTH,
]);
const DEPRECATED = new Set<number>([
  HvmParam.PAE_ENABLED,
  HvmParam.DM_DOMAIN,
  HvmParam.MEMORY_EVENT_CR0,
  HvmParam.MEMORY_EVENT_CR3,
  HvmParam.MEMORY_EVENT_CR4,
  HvmParam.MEMORY_EVENT_INT3,
  HvmParam.NESTEDHVM,
  HvmParam.MEMORY_EVENT_SINGLE_STEP,
  HvmParam.BUFIOREQ_EVTCHN,
  HvmParam.MEMORY_EVENT_MSR,
]);

/** Checks that reading and writing have in common; 0 or a negative errno. */
function checkParam(call: Call, domain: number, index: number, allowed: Set<number>): number {
  if (index >= abi.HVM_NR_PARAMS) return -errno.XEN_EINVAL;
  const refused = mustBeSelf(call, domain);
  if (refused < 0) return refused;
  if (DEPRECATED.has(index)) return -errno.XEN_EOPNOTSUPP;
  return allowed.has(index) ? 0 : -errno.XEN_EPERM;
}

function setParam(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenHvmParam, argument);
  if (op === undefined) return -errno.XEN_EFAULT;
  const refused = checkParam(call, op.value.domid, op.value.index, SETTABLE_BY_GUEST);
  if (refused < 0) return refused;
  const { index, value } = op.value;
  if (index === HvmParam.CALLBACK_IRQ && value >> 56n === 2n && (value & 0xffn) < 0x10n)
    return -errno.XEN_EINVAL;
  call.domain.state.hvmParams.set(index, value);
  // A vector is asserted at once when events already wait; GSI and INTx forms are recorded only (there is no IOAPIC).
  if (index === HvmParam.CALLBACK_IRQ) {
    for (const vcpu of call.domain.vcpus) {
      if (vcpu.state.upcallVector === 0 && upcallPending(vcpu)) injectUpcall(vcpu);
    }
  }
  return 0;
}

function getParam(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenHvmParam, argument);
  if (op === undefined) return -errno.XEN_EFAULT;
  const refused = checkParam(call, op.value.domid, op.value.index, READABLE_BY_GUEST);
  if (refused < 0) return refused;
  op.value.value = call.domain.state.hvmParams.get(op.value.index);
  return copyOut(call.vcpu, argument, op) ? 0 : -errno.XEN_EFAULT;
}

function setUpcallVector(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenHvmEvtchnUpcallVector, argument);
  if (op === undefined) return -errno.XEN_EFAULT;
  const vcpu = call.domain.vcpus[op.value.vcpu];
  if (op.value.vector < 0x10) return -errno.XEN_EINVAL;
  if (vcpu === undefined) return -errno.XEN_ENOENT;
  vcpu.state.upcallVector = op.value.vector;
  injectUpcall(vcpu);
  return 0;
}

function getTime(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenHvmGetTime, argument);
  if (op === undefined) return -errno.XEN_EFAULT;
  op.value.now = BigInt(call.hypervisor.clock.systemTimeNs());
  return copyOut(call.vcpu, argument, op) ? 0 : -errno.XEN_EFAULT;
}

function getMemType(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenHvmGetMemType, argument);
  if (op === undefined) return -errno.XEN_EFAULT;
  if (domainOf(call, op.value.domid) === undefined) return -errno.XEN_ESRCH;
  const refused = mustBeSelf(call, op.value.domid);
  if (refused < 0) return refused;
  const pfn = op.value.pfn < BigInt(call.domain.state.p2mCount) ? Number(op.value.pfn) : -1;
  const type = p2mType(p2mEntry(call.domain, pfn));
  op.value.mem_type = abi.HVMMEM_mmio_dm;
  if (type === P2m.ram) op.value.mem_type = abi.HVMMEM_ram_rw;
  if (type === P2m.readOnly) op.value.mem_type = abi.HVMMEM_ram_ro;
  return copyOut(call.vcpu, argument, op) ? 0 : -errno.XEN_EFAULT;
}

function flushTlbs(call: Call, argument: bigint): number {
  if (argument !== 0n) return -errno.XEN_EINVAL;
  call.domain.state.p2mStale = 1;
  return 0;
}

function xentrace(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenHvmXentrace, argument);
  if (op === undefined) return -errno.XEN_EFAULT;
  return op.value.extra_bytes > 28 || op.value.event > 0xfff ? -errno.XEN_EINVAL : 0;
}

export const hvmOperations: OperationTable = {
  [Hvmop.set_param]: {
    name: 'set_param',
    compat: true,
    run: setParam,
    note: 'by the guest: CALLBACK_IRQ, STORE_EVTCHN, CONSOLE_EVTCHN and a few without effect',
  },
  [Hvmop.get_param]: { name: 'get_param', compat: true, run: getParam },
  [Hvmop.flush_tlbs]: { name: 'flush_tlbs', compat: true, run: flushTlbs },
  [Hvmop.pagetable_dying]: fixed('pagetable_dying', -errno.XEN_ENOSYS, '-ENOSYS: guests then leave it alone'),
  [Hvmop.get_time]: { name: 'get_time', compat: true, run: getTime },
  [Hvmop.xentrace]: { name: 'xentrace', compat: true, run: xentrace, note: 'checked, not recorded' },
  [Hvmop.get_mem_type]: { name: 'get_mem_type', compat: true, run: getMemType },
  [Hvmop.set_evtchn_upcall_vector]: {
    name: 'set_evtchn_upcall_vector',
    compat: true,
    run: setUpcallVector,
  },
  [Hvmop.guest_request_vm_event]: {
    name: 'guest_request_vm_event',
    compat: true,
    run: (_call, argument) => (argument === 0n ? 0 : -errno.XEN_EINVAL),
    note: 'nobody listens: 0',
  },
  [Hvmop.altp2m]: fixed('altp2m', -errno.XEN_EOPNOTSUPP, '-EOPNOTSUPP'),
};
