/** Memory operations (public/memory.h) and the E820 entry (public/hvm/e820.h). */
import { bytes, struct, u16, u32, u64 } from '../../base/struct.ts';

/** XENMEM_* */
export const Xenmem = {
  increase_reservation: 0,
  decrease_reservation: 1,
  maximum_ram_page: 2,
  current_reservation: 3,
  maximum_reservation: 4,
  machphys_mfn_list: 5,
  populate_physmap: 6,
  add_to_physmap: 7,
  memory_map: 9,
  machine_memory_map: 10,
  exchange: 11,
  machphys_mapping: 12,
  set_memory_map: 13,
  maximum_gpfn: 14,
  remove_from_physmap: 15,
  set_pod_target: 16,
  get_pod_target: 17,
  get_sharing_freed_pages: 18,
  get_sharing_shared_pages: 19,
  paging_op: 20,
  access_op: 21,
  sharing_op: 22,
  add_to_physmap_batch: 23,
  claim_pages: 24,
  machphys_compat_mfn_list: 25,
  get_vnumainfo: 26,
  reserved_device_memory_map: 27,
  acquire_resource: 28,
} as const;

/** The command is in the low bits; above them comes the extent at which a continued operation goes on. */
export const MEMOP_EXTENT_SHIFT = 6;
export const MEMOP_CMD_MASK = (1 << MEMOP_EXTENT_SHIFT) - 1;

export const XENMEMF_vnode = 1 << 18;

export const XENMAPSPACE_shared_info = 0;
export const XENMAPSPACE_grant_table = 1;
export const XENMAPSPACE_gmfn = 2;
export const XENMAPSPACE_gmfn_range = 3;
export const XENMAPSPACE_gmfn_foreign = 4;
export const XENMAPSPACE_dev_mmio = 5;
export const XENMAPIDX_grant_table_status = 0x8000_0000;

export const XenMemoryReservation = struct('xen_memory_reservation', {
  extent_start: u64,
  nr_extents: u64,
  extent_order: u32,
  mem_flags: u32,
  domid: u16,
});
export const XenMemoryDomain = struct('xen_memory_domain', { domid: u16 });
export const XenAddToPhysmap = struct('xen_add_to_physmap', {
  domid: u16,
  size: u16,
  space: u32,
  idx: u64,
  gpfn: u64,
});
/** `u` is the foreign domain for space gmfn_foreign, and must be zero otherwise. */
export const XenAddToPhysmapBatch = struct('xen_add_to_physmap_batch', {
  domid: u16,
  space: u16,
  size: u16,
  u: u16,
  idxs: u64,
  gpfns: u64,
  errs: u64,
});
export const XenRemoveFromPhysmap = struct('xen_remove_from_physmap', { domid: u16, gpfn: u64 });
export const XenMemoryMap = struct('xen_memory_map', { nr_entries: u32, buffer: u64 });

export const E820_RAM = 1;
export const E820_RESERVED = 2;
export const E820_ACPI = 3;
export const E820_NVS = 4;
/** One entry of a memory map: u64 address, u64 size, u32 type, packed. */
export const E820_ENTRY_BYTES = 20;
export const E820Entry = struct('e820entry', { raw: bytes(E820_ENTRY_BYTES) });
