/** Numbers of the architecture (SDM vol. 3: 2.5 control registers, 3.4.5 descriptors, 6.15 exceptions). */

export const CR0_PE: u64 = 0x1;
export const CR0_MP: u64 = 0x2;
export const CR0_EM: u64 = 0x4;
export const CR0_TS: u64 = 0x8;
export const CR0_ET: u64 = 0x10;
export const CR0_NE: u64 = 0x20;
export const CR0_WP: u64 = 0x10000;
export const CR0_AM: u64 = 0x40000;
export const CR0_NW: u64 = 0x20000000;
export const CR0_CD: u64 = 0x40000000;
export const CR0_PG: u64 = 0x80000000;

export const CR4_TSD: u64 = 0x4;
export const CR4_DE: u64 = 0x8;
export const CR4_PSE: u64 = 0x10;
export const CR4_PAE: u64 = 0x20;
export const CR4_MCE: u64 = 0x40;
export const CR4_PGE: u64 = 0x80;
export const CR4_PCE: u64 = 0x100;
export const CR4_OSFXSR: u64 = 0x200;
export const CR4_OSXMMEXCPT: u64 = 0x400;
export const CR4_FSGSBASE: u64 = 0x10000;
export const CR4_PCIDE: u64 = 0x20000;
export const CR4_OSXSAVE: u64 = 0x40000;
export const CR4_SMEP: u64 = 0x100000;
export const CR4_SMAP: u64 = 0x200000;

export const EFER_SCE: u64 = 0x1;
export const EFER_LME: u64 = 0x100;
export const EFER_LMA: u64 = 0x400;
export const EFER_NXE: u64 = 0x800;

export const FLAG_CF: u32 = 0x1;
export const FLAG_PF: u32 = 0x4;
export const FLAG_AF: u32 = 0x10;
export const FLAG_ZF: u32 = 0x40;
export const FLAG_SF: u32 = 0x80;
export const FLAG_TF: u32 = 0x100;
export const FLAG_IF: u32 = 0x200;
export const FLAG_DF: u32 = 0x400;
export const FLAG_OF: u32 = 0x800;
export const FLAG_IOPL: u32 = 0x3000;
export const FLAG_NT: u32 = 0x4000;
export const FLAG_RF: u32 = 0x10000;
export const FLAG_VM: u32 = 0x20000;
export const FLAG_AC: u32 = 0x40000;
export const FLAG_VIF: u32 = 0x80000;
export const FLAG_VIP: u32 = 0x100000;
export const FLAG_ID: u32 = 0x200000;

/** Exception vectors. */
export const DE: i32 = 0;
export const DB: i32 = 1;
export const NMI: i32 = 2;
export const BP: i32 = 3;
export const OF: i32 = 4;
export const UD: i32 = 6;
export const NM: i32 = 7;
export const DF: i32 = 8;
export const TS: i32 = 10;
export const NP: i32 = 11;
export const SS: i32 = 12;
export const GP: i32 = 13;
export const PF: i32 = 14;
export const AC: i32 = 17;
export const XM: i32 = 19;
/** Not an exception: the guest did what Domus does not implement. `deliver` turns it into Exit.unsupported. */
export const UNSUPPORTED: i32 = 256;

/** Page-fault error code. */
export const PF_PRESENT: i32 = 1;
export const PF_WRITE: i32 = 2;
export const PF_USER: i32 = 4;
export const PF_RESERVED: i32 = 8;
export const PF_FETCH: i32 = 16;

/** Segment attributes as `Segment.attributes` holds them. */
export const ATTR_ACCESSED: u32 = 0x1;
/** Writable (data) or readable (code). */
export const ATTR_RW: u32 = 0x2;
/** Expand-down (data) or conforming (code). */
export const ATTR_CONFORMING: u32 = 0x4;
export const ATTR_CODE: u32 = 0x8;
/** S: code or data, not a system descriptor. */
export const ATTR_S: u32 = 0x10;
export const ATTR_PRESENT: u32 = 0x80;
export const ATTR_L: u32 = 0x2000;
export const ATTR_DB: u32 = 0x4000;
export const ATTR_G: u32 = 0x8000;

/** General register numbers. */
export const RAX: usize = 0;
export const RCX: usize = 1;
export const RDX: usize = 2;
export const RBX: usize = 3;
export const RSP: usize = 4;
export const RBP: usize = 5;
export const RSI: usize = 6;
export const RDI: usize = 7;
export const R11: usize = 11;
