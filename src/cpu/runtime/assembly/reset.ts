/**
 * State after power-up (SDM vol. 3, table 9-1). What ties the vCPU to its machine (p2m, domain, id) stays, and so does
 * the interrupt that waits: that slot is the interrupt controller's.
 */
import {
  SEG_cs,
  SEG_gs,
  SEG_ldtr,
  SEG_tr,
  VCPU_apicBase,
  VCPU_cpl,
  VCPU_cr0,
  VCPU_dr,
  VCPU_exDelivering,
  VCPU_exVector,
  VCPU_fcw,
  VCPU_flagAux,
  VCPU_flagRes,
  VCPU_flagSys,
  VCPU_fpr,
  VCPU_fsw,
  VCPU_ftw,
  VCPU_gdtLimit,
  VCPU_halted,
  VCPU_idtLimit,
  VCPU_interruptShadow,
  VCPU_miscEnable,
  VCPU_mode,
  VCPU_mxcsr,
  VCPU_nmiBlocked,
  VCPU_pat,
  VCPU_rip,
  VCPU_scratch,
  VCPU_singleStep,
  VCPU_xcr0,
} from './generated/layout';
import { selectTlb, tlbFlushAll } from './mmu/tlb';
import { updateMode } from './mode';
import { setSegment } from './segments';
import { setGpr } from './state';
import { RDX } from './x86';

/** Family 6: what RDX tells after a reset. */
const SIGNATURE: u64 = 0x600;

export function resetCpu(cpu: usize): void {
  // From the general registers to the model-specific ones; the APIC's base is the interrupt controller's matter.
  memory.fill(cpu, 0, VCPU_apicBase);
  store<u32>(cpu, 0, VCPU_cpl);
  store<u32>(cpu, 0, VCPU_mode);
  setGpr(cpu, RDX, SIGNATURE);
  store<u64>(cpu, 0xfff0, VCPU_rip);
  store<i64>(cpu, 1, VCPU_flagRes);
  store<u32>(cpu, 0, VCPU_flagAux);
  store<u32>(cpu, 2, VCPU_flagSys);
  for (let seg = 0; seg <= SEG_gs; seg++) setSegment(cpu, seg, 0, 0, 0xffff, 0x93);
  setSegment(cpu, SEG_cs, 0xf000, 0xffff_0000, 0xffff, 0x9b);
  setSegment(cpu, SEG_ldtr, 0, 0, 0xffff, 0x82);
  setSegment(cpu, SEG_tr, 0, 0, 0xffff, 0x8b);
  store<u32>(cpu, 0xffff, VCPU_gdtLimit);
  store<u32>(cpu, 0xffff, VCPU_idtLimit);
  store<u64>(cpu, 0x6000_0010, VCPU_cr0);
  store<u64>(cpu, 0xffff_0ff0, VCPU_dr + 48);
  store<u64>(cpu, 0x400, VCPU_dr + 56);
  store<u64>(cpu, 1, VCPU_xcr0);
  store<u64>(cpu, 0x0007_0406_0007_0406, VCPU_pat);
  store<u64>(cpu, 1, VCPU_miscEnable);
  store<u16>(cpu, 0x40, VCPU_fcw);
  store<u16>(cpu, 0, VCPU_fsw);
  store<u16>(cpu, 0x5555, VCPU_ftw);
  store<u32>(cpu, 0x1f80, VCPU_mxcsr);
  memory.fill(cpu + VCPU_fpr, 0, VCPU_scratch - VCPU_fpr);
  store<i32>(cpu, -1, VCPU_exVector);
  store<i32>(cpu, -1, VCPU_exDelivering);
  store<i32>(cpu, 0, VCPU_interruptShadow);
  store<i32>(cpu, 0, VCPU_halted);
  store<i32>(cpu, 0, VCPU_nmiBlocked);
  store<i32>(cpu, 0, VCPU_singleStep);
  tlbFlushAll(cpu);
  selectTlb(cpu);
  updateMode(cpu);
}

/** The start-up message of another processor: real mode at the page `vector` of the first MiB. */
export function sipi(cpu: usize, vector: i32): void {
  resetCpu(cpu);
  setSegment(cpu, SEG_cs, (vector & 0xff) << 8, ((vector & 0xff) as u64) << 12, 0xffff, 0x9b);
  store<u64>(cpu, 0, VCPU_rip);
}
