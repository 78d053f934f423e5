/** Version queries (public/version.h) and feature bits (public/features.h). */
import { bytes, struct, u32, u64 } from '../../base/struct.ts';

/** XENVER_* */
export const Xenver = {
  version: 0,
  extraversion: 1,
  compile_info: 2,
  capabilities: 3,
  changeset: 4,
  platform_parameters: 5,
  get_features: 6,
  pagesize: 7,
  guest_handle: 8,
  commandline: 9,
  build_id: 10,
} as const;

export const XEN_EXTRAVERSION_LEN = 16;
export const XEN_CAPABILITIES_INFO_LEN = 1024;
export const XEN_CHANGESET_INFO_LEN = 64;
export const XEN_COMMANDLINE_LEN = 1024;

export const XenCompileInfo = struct('xen_compile_info', {
  compiler: bytes(64),
  compile_by: bytes(16),
  compile_domain: bytes(32),
  compile_date: bytes(32),
});
export const XenPlatformParameters = struct('xen_platform_parameters', { virt_start: u64 });
export const XenFeatureInfo = struct('xen_feature_info', { submap_idx: u32, submap: u32 });

/** XENFEAT_*: bit numbers. */
export const Xenfeat = {
  writable_page_tables: 0,
  auto_translated_physmap: 2,
  hvm_callback_vector: 8,
  hvm_safe_pvclock: 9,
  hvm_pirqs: 10,
  dom0: 11,
  memory_op_vnode_supported: 13,
  linux_rsdp_unrestricted: 15,
  not_direct_mapped: 16,
} as const;
