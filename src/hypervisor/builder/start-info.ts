/**
 * What a PVH guest finds at its start: the start info page with its module list and memory map.
 *
 * Source: xen/include/public/arch-x86/hvm/start_info.h.
 */
import { struct, u32, u64n } from '../../base/struct.ts';

export const HvmStartInfo = struct('hvm_start_info', {
  magic: u32,
  version: u32,
  flags: u32,
  nrModules: u32,
  modlistPaddr: u64n,
  cmdlinePaddr: u64n,
  rsdpPaddr: u64n,
  memmapPaddr: u64n,
  memmapEntries: u32,
  reserved: u32,
});
export const HVM_START_MAGIC = 0x336ec578;
export const HVM_START_VERSION = 1;

export const HvmModlistEntry = struct('hvm_modlist_entry', {
  paddr: u64n,
  size: u64n,
  cmdlinePaddr: u64n,
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

/** `HvmStartInfo.flags` (SIF_* of public/xen.h). */
export const StartFlag = { privileged: 1, initdomain: 2 } as const;
