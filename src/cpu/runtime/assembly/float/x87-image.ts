/**
 * The x87 environment and state images of FNSTENV, FLDENV, FNSAVE and FRSTOR, at an address that is known to be
 * writable: the caller moves them to and from guest memory. `format`: bit 0 set for 32-bit operands, bit 1 for real and
 * virtual-8086 mode. An environment has 14 or 28 bytes, a state 80 more. Source: SDM vol. 1, 8.1.10.
 */

import {
  VCPU_fcs,
  VCPU_fcw,
  VCPU_fdp,
  VCPU_fds,
  VCPU_fip,
  VCPU_fop,
  VCPU_fpr,
  VCPU_fsw,
  VCPU_ftw,
} from '../generated/layout';
import { classOf, NORMAL, ZERO } from './f80';
import { fninit } from './x87-move';
import { slot, summarize } from './x87-stack';

/** The tag word with the classes of the registers worked out: 0 valid, 1 zero, 2 special, 3 empty. */
function fullTags(cpu: usize): u32 {
  const tags = <u32>load<u16>(cpu, VCPU_ftw);
  let full: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    let tag = (tags >> (i << 1)) & 3;
    if (tag !== 3) {
      const at = cpu + VCPU_fpr + (i << 4);
      const c = classOf(<u32>load<u16>(at, 8), load<u64>(at));
      tag = c === NORMAL ? 0 : c === ZERO ? 1 : 2;
    }
    full |= tag << (i << 1);
  }
  return full;
}

export function fnstenv(cpu: usize, address: usize, format: u32): void {
  const fcw = <u32>load<u16>(cpu, VCPU_fcw);
  const fsw = <u32>load<u16>(cpu, VCPU_fsw);
  const tags = fullTags(cpu);
  const fip = u32(load<u64>(cpu, VCPU_fip));
  const fdp = u32(load<u64>(cpu, VCPU_fdp));
  const fcs = <u32>load<u16>(cpu, VCPU_fcs);
  const fds = <u32>load<u16>(cpu, VCPU_fds);
  const fop = <u32>load<u16>(cpu, VCPU_fop) & 0x7ff;
  if (format & 1) {
    const ones: u32 = 0xffff0000;
    store<u32>(address, fcw | ones);
    store<u32>(address, fsw | ones, 4);
    store<u32>(address, tags | ones, 8);
    if (format & 2) {
      const ip = fip + (fcs << 4);
      const dp = fdp + (fds << 4);
      store<u32>(address, (ip & 0xffff) | ones, 12);
      store<u32>(address, ((ip >> 16) << 12) | fop, 16);
      store<u32>(address, (dp & 0xffff) | ones, 20);
      store<u32>(address, (dp >> 16) << 12, 24);
    } else {
      store<u32>(address, fip, 12);
      store<u32>(address, fcs | (fop << 16), 16);
      store<u32>(address, fdp, 20);
      store<u32>(address, fds | ones, 24);
    }
  } else {
    store<u16>(address, <u16>fcw);
    store<u16>(address, <u16>fsw, 2);
    store<u16>(address, <u16>tags, 4);
    if (format & 2) {
      const ip = fip + (fcs << 4);
      const dp = fdp + (fds << 4);
      store<u16>(address, <u16>ip, 6);
      store<u16>(address, <u16>((((ip >> 16) & 15) << 12) | fop), 8);
      store<u16>(address, <u16>dp, 10);
      store<u16>(address, <u16>(((dp >> 16) & 15) << 12), 12);
    } else {
      store<u16>(address, <u16>fip, 6);
      store<u16>(address, <u16>fcs, 8);
      store<u16>(address, <u16>fdp, 10);
      store<u16>(address, <u16>fds, 12);
    }
  }
  // All exceptions are masked afterwards.
  store<u16>(cpu, <u16>(fcw | 0x3f), VCPU_fcw);
  summarize(cpu);
}

export function fldenv(cpu: usize, address: usize, format: u32): void {
  const wide = format & 1;
  const step: usize = wide ? 4 : 2;
  const fcw = <u32>load<u16>(address);
  store<u16>(cpu, <u16>((fcw & 0x1f3f) | 0x40), VCPU_fcw);
  store<u16>(cpu, load<u16>(address + step), VCPU_fsw);
  // Between instructions a tag only tells empty from not empty.
  const tags = <u32>load<u16>(address + 2 * step);
  const both = tags & (tags >> 1) & 0x5555;
  store<u16>(cpu, <u16>(both | (both << 1)), VCPU_ftw);
  const w3 = wide ? load<u32>(address + 3 * step) : <u32>load<u16>(address + 3 * step);
  const w4 = wide ? load<u32>(address + 4 * step) : <u32>load<u16>(address + 4 * step);
  const w5 = wide ? load<u32>(address + 5 * step) : <u32>load<u16>(address + 5 * step);
  const w6 = wide ? load<u32>(address + 6 * step) : <u32>load<u16>(address + 6 * step);
  if (format & 2) {
    store<u64>(cpu, <u64>((w3 & 0xffff) | ((w4 >> 12) << 16)), VCPU_fip);
    store<u64>(cpu, <u64>((w5 & 0xffff) | ((w6 >> 12) << 16)), VCPU_fdp);
    store<u16>(cpu, 0, VCPU_fcs);
    store<u16>(cpu, 0, VCPU_fds);
    store<u16>(cpu, <u16>(w4 & 0x7ff), VCPU_fop);
  } else {
    store<u64>(cpu, <u64>w3, VCPU_fip);
    store<u16>(cpu, <u16>w4, VCPU_fcs);
    store<u64>(cpu, <u64>w5, VCPU_fdp);
    store<u16>(cpu, <u16>w6, VCPU_fds);
    store<u16>(cpu, <u16>(wide ? (w4 >> 16) & 0x7ff : 0), VCPU_fop);
  }
  summarize(cpu);
}

/** Environment, then ST(0)..ST(7) at 10 bytes each; the unit is initialized afterwards. */
export function fnsave(cpu: usize, address: usize, format: u32): void {
  fnstenv(cpu, address, format);
  let at = address + (format & 1 ? 28 : 14);
  for (let i: u32 = 0; i < 8; i++) {
    const from = slot(cpu, i);
    store<u64>(at, load<u64>(from));
    store<u16>(at, load<u16>(from, 8), 8);
    at += 10;
  }
  fninit(cpu);
}
export function frstor(cpu: usize, address: usize, format: u32): void {
  fldenv(cpu, address, format);
  let at = address + (format & 1 ? 28 : 14);
  for (let i: u32 = 0; i < 8; i++) {
    const to = slot(cpu, i);
    store<u64>(to, load<u64>(at));
    store<u16>(to, load<u16>(at, 8), 8);
    at += 10;
  }
}
