/**
 * The decoder's mode: everything besides the bytes themselves that decides what an instruction means. Code decoded
 * under one mode is never run under another; `Vcpu.mode` selects, and changes only where the execute TLB is flushed.
 */
export const Mode = {
  /** Bits 0..1: code size. */
  sizeMask: 3,
  code16: 0,
  code32: 1,
  code64: 2,
  /** Real or virtual-8086 mode: instructions for protected mode only are undefined. */
  real: 1 << 2,
  /** CR0.EM or CR0.TS: x87 instructions raise #NM. */
  noX87: 1 << 3,
  /** CR0.EM, or CR4.OSFXSR clear: SSE instructions raise #UD. */
  noSse: 1 << 4,
  /** CR0.TS: SSE and AVX instructions raise #NM. */
  taskSwitched: 1 << 5,
  /** CR4.OSXSAVE and XCR0 allow AVX. */
  avx: 1 << 6,
  /** The code segment ends before 4 GiB, outside of 64-bit code: each instruction is checked against its limit. */
  limited: 1 << 7,
} as const;
