/**
 * The core of the guest ABI: hypercall numbers, domain ids, virtual interrupts, and the shared info page with what it
 * contains (public/xen.h, public/arch-x86/xen.h, the 64-bit layouts).
 */
import { type DomainId, domid } from '../../base/brand.ts';
import { array, bytes, struct, u8, u32, u64 } from '../../base/struct.ts';
import { i8 } from './types.ts';

/** __HYPERVISOR_* */
export const Hypervisor = {
  set_trap_table: 0,
  mmu_update: 1,
  set_gdt: 2,
  stack_switch: 3,
  set_callbacks: 4,
  fpu_taskswitch: 5,
  sched_op_compat: 6,
  platform_op: 7,
  set_debugreg: 8,
  get_debugreg: 9,
  update_descriptor: 10,
  memory_op: 12,
  multicall: 13,
  update_va_mapping: 14,
  set_timer_op: 15,
  event_channel_op_compat: 16,
  xen_version: 17,
  console_io: 18,
  physdev_op_compat: 19,
  grant_table_op: 20,
  vm_assist: 21,
  update_va_mapping_otherdomain: 22,
  iret: 23,
  vcpu_op: 24,
  set_segment_base: 25,
  mmuext_op: 26,
  xsm_op: 27,
  nmi_op: 28,
  sched_op: 29,
  callback_op: 30,
  xenoprof_op: 31,
  event_channel_op: 32,
  physdev_op: 33,
  hvm_op: 34,
  sysctl: 35,
  domctl: 36,
  kexec_op: 37,
  tmem_op: 38,
  argo_op: 39,
  xenpmu_op: 40,
  dm_op: 41,
  hypfs_op: 42,
} as const;

export const DOMID_SELF: DomainId = domid(0x7ff0);
export const DOMID_IO: DomainId = domid(0x7ff1);
export const DOMID_FIRST_RESERVED = 0x7ff0;
export const DOMID_INVALID: DomainId = domid(0x7ff4);

export const VIRQ_TIMER = 0;
export const VIRQ_DEBUG = 1;
export const VIRQ_CONSOLE = 2;
export const VIRQ_DOM_EXC = 3;
export const VIRQ_XENOPROF = 7;
export const VIRQ_XENPMU = 13;
export const NR_VIRQS = 24;

export const CONSOLEIO_write = 0;
export const CONSOLEIO_read = 1;

export const VMASST_CMD_enable = 0;
export const VMASST_CMD_disable = 1;
export const VMASST_TYPE_runstate_update_flag = 5;

export const SIF_PRIVILEGED = 1 << 0;
export const SIF_INITDOMAIN = 1 << 1;

export const XEN_LEGACY_MAX_VCPUS = 32;
export const XEN_PVCLOCK_TSC_STABLE_BIT = 1 << 0;
export const XEN_PVCLOCK_GUEST_STOPPED = 1 << 1;
/** Byte writes to this port are console output (arch-x86/xen.h). */
export const XEN_HVM_DEBUGCONS_IOPORT = 0xe9;

export const VcpuTimeInfo = struct('vcpu_time_info', {
  version: u32,
  pad0: u32,
  tsc_timestamp: u64,
  system_time: u64,
  tsc_to_system_mul: u32,
  tsc_shift: i8,
  flags: u8,
  pad1: bytes(2),
});

export const ArchVcpuInfo = struct('arch_vcpu_info', { cr2: u64, pad: u64 });

export const VcpuInfo = struct('vcpu_info', {
  evtchn_upcall_pending: u8,
  evtchn_upcall_mask: u8,
  evtchn_pending_sel: u64,
  arch: ArchVcpuInfo,
  time: VcpuTimeInfo,
});

export const ArchSharedInfo = struct('arch_shared_info', {
  max_pfn: u64,
  pfn_to_mfn_frame_list_list: u64,
  nmi_reason: u64,
  p2m_cr3: u64,
  p2m_vaddr: u64,
  p2m_generation: u64,
});

export const SharedInfo = struct('shared_info', {
  vcpu_info: array(VcpuInfo, XEN_LEGACY_MAX_VCPUS),
  evtchn_pending: array(u64, 64),
  evtchn_mask: array(u64, 64),
  wc_version: u32,
  wc_sec: u32,
  wc_nsec: u32,
  wc_sec_hi: u32,
  arch: ArchSharedInfo,
});

export const MulticallEntry = struct('multicall_entry', { op: u64, result: u64, args: array(u64, 6) });
