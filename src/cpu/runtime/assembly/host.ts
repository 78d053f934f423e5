/** Imports of the runtime module (module "host"): what it needs from the TypeScript side. */

/** Decodes the instruction at `offset` of a page; the address of its record, or 0 with an exception pending. */
export declare function decode(cpu: usize, hostPage: usize, codePage: usize, offset: i32): usize;
/** Give a guest frame that is `P2M_paged` its memory. One that is only executed may stay without its contents, as `P2M_unread`. */
export declare function pageIn(cpu: usize, gfn: u32, isFetch: i32): void;
/** Device read of 1, 2, 4 or 8 bytes; the result goes to the start of the vCPU's scratch. */
export declare function mmioRead(cpu: usize, gpa: u32, size: i32): void;
/** Device write of 1, 2, 4 or 8 bytes, which are at the start of the vCPU's scratch. */
export declare function mmioWrite(cpu: usize, gpa: u32, size: i32): void;
/** A model-specific register that is not part of the core: value to temp[0]; nonzero = #GP. */
export declare function rdmsr(cpu: usize, index: u32): i32;
/** The same for writing: value in temp[0]; nonzero = #GP. */
export declare function wrmsr(cpu: usize, index: u32): i32;
