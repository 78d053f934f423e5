/** What follows from a change of mode or privilege: the decoder's mode, the TLB tables in use, segment bases. */
import {
  MODE_avx,
  MODE_code16,
  MODE_code32,
  MODE_code64,
  MODE_limited,
  MODE_noSse,
  MODE_noX87,
  MODE_real,
  MODE_sizeMask,
  MODE_taskSwitched,
  SEG_cs,
  SEG_fs,
  SEGMENT_hiddenBase,
  VCPU_cpl,
  VCPU_cr0,
  VCPU_cr4,
  VCPU_mode,
  VCPU_segBase,
  VCPU_segment,
  VCPU_xcr0,
} from './generated/layout';
import { flushExec, selectTlb } from './mmu/tlb';
import { attributesOf, isLong, isVm86, limitOf } from './state';
import { ATTR_DB, ATTR_L, CR0_EM, CR0_PE, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE } from './x86';

const XCR0_AVX: u64 = 6;

/** Recompute `Vcpu.mode`; after any change of CS, EFER.LMA, CR0, CR4, XCR0 or RFLAGS.VM. */
export function updateMode(cpu: usize): void {
  const cr0 = load<u64>(cpu, VCPU_cr0);
  const cr4 = load<u64>(cpu, VCPU_cr4);
  const code = attributesOf(cpu, SEG_cs);
  const vm86 = isVm86(cpu);
  let mode = MODE_code16;
  if (isLong(cpu) && (code & ATTR_L) !== 0) mode = MODE_code64;
  else if (!vm86 && (code & ATTR_DB) !== 0) mode = MODE_code32;
  if ((cr0 & CR0_PE) === 0 || vm86) mode |= MODE_real;
  if (mode !== MODE_code64 && limitOf(cpu, SEG_cs) !== 0xffff_ffff) mode |= MODE_limited;
  if ((cr0 & (CR0_EM | CR0_TS)) !== 0) mode |= MODE_noX87;
  if ((cr0 & CR0_EM) !== 0 || (cr4 & CR4_OSFXSR) === 0) mode |= MODE_noSse;
  if ((cr0 & CR0_TS) !== 0) mode |= MODE_taskSwitched;
  if ((cr4 & CR4_OSXSAVE) !== 0 && (load<u64>(cpu, VCPU_xcr0) & XCR0_AVX) === XCR0_AVX) mode |= MODE_avx;

  const before = load<i32>(cpu, VCPU_mode);
  if (mode === before) return;
  store<i32>(cpu, mode, VCPU_mode);
  flushExec(cpu);
  if (((mode ^ before) & MODE_sizeMask) === 0) return;
  const wide = (mode & MODE_sizeMask) === MODE_code64;
  for (let seg = 0; seg < SEG_fs; seg++) {
    const base: u64 = load<u32>(cpu + (seg << 4), VCPU_segment + SEGMENT_hiddenBase);
    store<u64>(cpu + (seg << 3), wide ? 0 : base, VCPU_segBase);
  }
}

/** Set the privilege level and the TLB tables that go with it. */
export function setCpl(cpu: usize, cpl: i32): void {
  if (load<i32>(cpu, VCPU_cpl) === cpl) return;
  store<i32>(cpu, cpl, VCPU_cpl);
  selectTlb(cpu);
}
