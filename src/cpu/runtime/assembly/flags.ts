/**
 * RFLAGS, composed from the lazy pair and the rest, and taken apart again (see isa/flags.ts):
 * ZF = (res == 0), SF = (res < 0) ^ aux bit 7, PF = parity of res's low byte ^ aux bit 2; CF, AF, OF are in aux.
 */
import { VCPU_flagAux, VCPU_flagRes, VCPU_flagSys } from './generated/layout';
import { selectTlb } from './mmu/tlb';
import { FLAG_AC, FLAG_AF, FLAG_CF, FLAG_OF, FLAG_PF, FLAG_SF, FLAG_ZF } from './x86';

const IN_AUX: u32 = FLAG_CF | FLAG_AF | FLAG_OF;
const STATUS: u32 = IN_AUX | FLAG_PF | FLAG_ZF | FLAG_SF;

export function getFlags(cpu: usize): u64 {
  const res = load<i64>(cpu, VCPU_flagRes);
  const aux = load<u32>(cpu, VCPU_flagAux);
  let flags = (load<u32>(cpu, VCPU_flagSys) & ~STATUS) | (aux & IN_AUX);
  const parity: u32 = popcnt<u32>((res as u32) & 0xff) & 1 ? 0 : FLAG_PF;
  const sign: u32 = res < 0 ? FLAG_SF : 0;
  flags |= (parity | sign) ^ (aux & (FLAG_PF | FLAG_SF));
  if (res === 0) flags |= FLAG_ZF;
  return (flags | 2) as u64;
}

/** Write the RFLAGS bits of `mask`; the others keep their values. */
export function setFlags(cpu: usize, value: u64, mask: u64): void {
  const flags = ((getFlags(cpu) & ~mask) | (value & mask)) as u32;
  const zero = (flags & FLAG_ZF) !== 0;
  // A result of 0 has even parity by itself, 1 has odd: bit 2 of aux flips where that is not what is wanted.
  store<i64>(cpu, zero ? 0 : 1, VCPU_flagRes);
  const flips = (flags & (FLAG_PF | FLAG_SF)) ^ (zero ? FLAG_PF : 0);
  store<u32>(cpu, (flags & IN_AUX) | flips, VCPU_flagAux);
  setSystemFlags(cpu, flags & ~STATUS);
}

/** Write RFLAGS as far as it is not status flags. */
export function setSystemFlags(cpu: usize, flags: u32): void {
  const before = load<u32>(cpu, VCPU_flagSys);
  store<u32>(cpu, (flags & ~STATUS) | 2, VCPU_flagSys);
  if (((before ^ flags) & FLAG_AC) !== 0) selectTlb(cpu);
}
