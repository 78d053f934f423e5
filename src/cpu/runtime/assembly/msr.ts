/** RDMSR and WRMSR: the registers of the core here, all others through the host (SDM vol. 4). */
import {
  SEG_fs,
  SEG_gs,
  VCPU_cr0,
  VCPU_cstar,
  VCPU_efer,
  VCPU_fmask,
  VCPU_kernelGsBase,
  VCPU_lstar,
  VCPU_miscEnable,
  VCPU_pat,
  VCPU_segBase,
  VCPU_star,
  VCPU_sysenterCs,
  VCPU_sysenterEip,
  VCPU_sysenterEsp,
  VCPU_temp,
  VCPU_tscAux,
} from './generated/layout';
import { rdmsr as hostRead, wrmsr as hostWrite } from './host';
import { tlbFlushAll } from './mmu/tlb';
import { updateMode } from './mode';
import { cplOf, gpr, isCanonical, raiseGp0, setGpr } from './state';
import { CR0_PG, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, RAX, RCX, RDX } from './x86';

/** Where a register of the core lies in the vCPU block, 0 when it is not one. */
function place(index: u32): usize {
  switch (index) {
    case 0x174:
      return VCPU_sysenterCs;
    case 0x175:
      return VCPU_sysenterEsp;
    case 0x176:
      return VCPU_sysenterEip;
    case 0x1a0:
      return VCPU_miscEnable;
    case 0x277:
      return VCPU_pat;
    case 0xc000_0080:
      return VCPU_efer;
    case 0xc000_0081:
      return VCPU_star;
    case 0xc000_0082:
      return VCPU_lstar;
    case 0xc000_0083:
      return VCPU_cstar;
    case 0xc000_0084:
      return VCPU_fmask;
    case 0xc000_0100:
      return VCPU_segBase + (SEG_fs << 3);
    case 0xc000_0101:
      return VCPU_segBase + (SEG_gs << 3);
    case 0xc000_0102:
      return VCPU_kernelGsBase;
    case 0xc000_0103:
      return VCPU_tscAux;
    default:
      return 0;
  }
}

/** RDMSR: edx:eax = MSR[ecx]. Nonzero = exception pending. */
export function rdmsr(cpu: usize): i32 {
  if (cplOf(cpu) !== 0) return raiseGp0(cpu);
  const index = gpr(cpu, RCX) as u32;
  const offset = place(index);
  if (offset === 0 && hostRead(cpu, index)) return raiseGp0(cpu);
  const value = load<u64>(cpu + (offset === 0 ? VCPU_temp : offset));
  setGpr(cpu, RAX, value & 0xffff_ffff);
  setGpr(cpu, RDX, value >> 32);
  return 0;
}

/** WRMSR: MSR[ecx] = edx:eax. Nonzero = exception pending. */
export function wrmsr(cpu: usize): i32 {
  if (cplOf(cpu) !== 0) return raiseGp0(cpu);
  const index = gpr(cpu, RCX) as u32;
  const value = (gpr(cpu, RAX) & 0xffff_ffff) | (gpr(cpu, RDX) << 32);
  const offset = place(index);
  if (offset === 0) {
    store<u64>(cpu, value, VCPU_temp);
    return hostWrite(cpu, index) ? raiseGp0(cpu) : 0;
  }
  switch (index) {
    case 0xc000_0080:
      return writeEfer(cpu, value);
    case 0x277:
      if (!isPat(value)) return raiseGp0(cpu);
      break;
    case 0xc000_0084:
    case 0xc000_0103:
      if (value >> 32 !== 0) return raiseGp0(cpu);
      break;
    case 0x175:
    case 0x176:
    case 0xc000_0082:
    case 0xc000_0083:
    case 0xc000_0100:
    case 0xc000_0101:
    case 0xc000_0102:
      if (!isCanonical(value)) return raiseGp0(cpu);
      break;
  }
  store<u64>(cpu + offset, value);
  return 0;
}

/** Each byte of PAT names a memory type: 0, 1, 4, 5, 6 or 7. */
function isPat(value: u64): bool {
  for (let i = 0; i < 64; i += 8) {
    const type = (value >> i) & 0xff;
    if (type > 7 || type === 2 || type === 3) return false;
  }
  return true;
}

function writeEfer(cpu: usize, value: u64): i32 {
  if ((value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) !== 0) return raiseGp0(cpu);
  const before = load<u64>(cpu, VCPU_efer);
  const changed = before ^ value;
  if ((changed & EFER_LME) !== 0 && (load<u64>(cpu, VCPU_cr0) & CR0_PG) !== 0) return raiseGp0(cpu);
  store<u64>(cpu, (value & ~EFER_LMA) | (before & EFER_LMA), VCPU_efer);
  if ((changed & EFER_NXE) !== 0) tlbFlushAll(cpu);
  updateMode(cpu);
  return 0;
}
