/** Grant tables, version 1 (public/grant_table.h). */
import { struct, u16, u32, u64 } from '../../base/struct.ts';
import { i16 } from './types.ts';

export const GrantEntryV1 = struct('grant_entry_v1', { flags: u16, domid: u16, frame: u32 });

export const GNTTAB_NR_RESERVED_ENTRIES = 8;
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

export const GTF_invalid = 0;
export const GTF_permit_access = 1;
export const GTF_accept_transfer = 2;
export const GTF_type_mask = 3;
export const GTF_readonly = 1 << 2;
export const GTF_reading = 1 << 3;
export const GTF_writing = 1 << 4;
export const GTF_sub_page = 1 << 8;

/** GNTTABOP_* */
export const Gnttabop = {
  map_grant_ref: 0,
  unmap_grant_ref: 1,
  setup_table: 2,
  dump_table: 3,
  transfer: 4,
  copy: 5,
  query_size: 6,
  unmap_and_replace: 7,
  set_version: 8,
  get_status_frames: 9,
  get_version: 10,
  swap_grant_ref: 11,
  cache_flush: 12,
} as const;

export const GNTMAP_device_map = 1 << 0;
export const GNTMAP_host_map = 1 << 1;
export const GNTMAP_readonly = 1 << 2;
export const GNTMAP_application_map = 1 << 3;
export const GNTMAP_contains_pte = 1 << 4;

export const GNTCOPY_source_gref = 1 << 0;
export const GNTCOPY_dest_gref = 1 << 1;

export const GNTST_okay = 0;
export const GNTST_general_error = -1;
export const GNTST_bad_domain = -2;
export const GNTST_bad_gntref = -3;
export const GNTST_bad_handle = -4;
export const GNTST_bad_virt_addr = -5;
export const GNTST_permission_denied = -8;
export const GNTST_bad_page = -9;
export const GNTST_bad_copy_arg = -10;
export const GNTST_eagain = -12;
export const GNTST_no_space = -13;

export const GnttabMapGrantRef = struct('gnttab_map_grant_ref', {
  host_addr: u64,
  flags: u32,
  ref: u32,
  dom: u16,
  status: i16,
  handle: u32,
  dev_bus_addr: u64,
});
export const GnttabUnmapGrantRef = struct('gnttab_unmap_grant_ref', {
  host_addr: u64,
  dev_bus_addr: u64,
  handle: u32,
  status: i16,
});
export const GnttabSetupTable = struct('gnttab_setup_table', {
  dom: u16,
  nr_frames: u32,
  status: i16,
  frame_list: u64,
});
/** `u` is a union of grant_ref_t (its low half) and xen_pfn_t. */
export const GnttabCopyPtr = struct('gnttab_copy_ptr', { u: u64, domid: u16, offset: u16 });
export const GnttabCopy = struct('gnttab_copy', {
  source: GnttabCopyPtr,
  dest: GnttabCopyPtr,
  len: u16,
  flags: u16,
  status: i16,
});
export const GnttabQuerySize = struct('gnttab_query_size', {
  dom: u16,
  nr_frames: u32,
  max_nr_frames: u32,
  status: i16,
});
export const GnttabSetVersion = struct('gnttab_set_version', { version: u32 });
export const GnttabGetVersion = struct('gnttab_get_version', { dom: u16, pad: u16, version: u32 });
export const GnttabSwapGrantRef = struct('gnttab_swap_grant_ref', { ref_a: u32, ref_b: u32, status: i16 });
