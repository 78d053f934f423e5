/**
 * What HVM and PVH guests have besides: parameters and operations (public/hvm/params.h, hvm_op.h) and the start
 * information of a PVH entry (public/arch-x86/hvm/start_info.h).
 */
import { bytes, struct, u8, u16, u32, u64, u64n } from '../../base/struct.ts';

/** HVMOP_* */
export const Hvmop = {
  set_param: 0,
  get_param: 1,
  flush_tlbs: 5,
  pagetable_dying: 9,
  get_time: 10,
  xentrace: 11,
  get_mem_type: 15,
  set_evtchn_upcall_vector: 23,
  guest_request_vm_event: 24,
  altp2m: 25,
} as const;

/** HVM_PARAM_* */
export const HvmParam = {
  CALLBACK_IRQ: 0,
  STORE_PFN: 1,
  STORE_EVTCHN: 2,
  PAE_ENABLED: 4,
  IOREQ_PFN: 5,
  BUFIOREQ_PFN: 6,
  VIRIDIAN: 9,
  TIMER_MODE: 10,
  HPET_ENABLED: 11,
  IDENT_PT: 12,
  DM_DOMAIN: 13,
  ACPI_S_STATE: 14,
  VM86_TSS: 15,
  VPT_ALIGN: 16,
  CONSOLE_PFN: 17,
  CONSOLE_EVTCHN: 18,
  ACPI_IOPORTS_LOCATION: 19,
  MEMORY_EVENT_CR0: 20,
  MEMORY_EVENT_CR3: 21,
  MEMORY_EVENT_CR4: 22,
  MEMORY_EVENT_INT3: 23,
  NESTEDHVM: 24,
  MEMORY_EVENT_SINGLE_STEP: 25,
  BUFIOREQ_EVTCHN: 26,
  PAGING_RING_PFN: 27,
  MONITOR_RING_PFN: 28,
  SHARING_RING_PFN: 29,
  MEMORY_EVENT_MSR: 30,
  TRIPLE_FAULT_REASON: 31,
  IOREQ_SERVER_PFN: 32,
  NR_IOREQ_SERVER_PAGES: 33,
  VM_GENERATION_ID_ADDR: 34,
  ALTP2M: 35,
  X87_FIP_WIDTH: 36,
  VM86_TSS_SIZED: 37,
  MCA_CAP: 38,
} as const;
export const HVM_NR_PARAMS = 39;

/** Bits 63..56 of CALLBACK_IRQ. */
export const HVM_PARAM_CALLBACK_TYPE_GSI = 0;
export const HVM_PARAM_CALLBACK_TYPE_PCI_INTX = 1;
export const HVM_PARAM_CALLBACK_TYPE_VECTOR = 2;

export const HVMMEM_ram_rw = 0;
export const HVMMEM_ram_ro = 1;
export const HVMMEM_mmio_dm = 2;

export const XenHvmParam = struct('xen_hvm_param', { domid: u16, pad: u16, index: u32, value: u64 });
export const XenHvmEvtchnUpcallVector = struct('xen_hvm_evtchn_upcall_vector', { vcpu: u32, vector: u8 });
export const XenHvmGetTime = struct('xen_hvm_get_time', { now: u64 });
export const XenHvmGetMemType = struct('xen_hvm_get_mem_type', {
  domid: u16,
  mem_type: u16,
  pad: bytes(4),
  pfn: u64,
});
export const XenHvmXentrace = struct('xen_hvm_xentrace', { event: u16, extra_bytes: u16, extra: bytes(28) });

export const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;
export const XEN_HVM_MEMMAP_TYPE_RAM = 1;
export const XEN_HVM_MEMMAP_TYPE_RESERVED = 2;
export const XEN_HVM_MEMMAP_TYPE_ACPI = 3;
export const XEN_HVM_MEMMAP_TYPE_NVS = 4;

export const HvmStartInfo = struct('hvm_start_info', {
  magic: u32,
  version: u32,
  flags: u32,
  nr_modules: u32,
  modlist_paddr: u64n,
  cmdline_paddr: u64n,
  rsdp_paddr: u64n,
  memmap_paddr: u64n,
  memmap_entries: u32,
  reserved: u32,
});
export const HvmModlistEntry = struct('hvm_modlist_entry', {
  paddr: u64n,
  size: u64n,
  cmdline_paddr: u64n,
  reserved: u64n,
});
export const HvmMemmapTableEntry = struct('hvm_memmap_table_entry', {
  addr: u64n,
  size: u64n,
  type: u32,
  reserved: u32,
});
/** `HvmMemmapTableEntry.type`; the numbers are those of E820. */
export const MemoryType = { ram: 1, reserved: 2, acpi: 3, nvs: 4, unusable: 5 } as const;
