// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * x87 loads, stores, constants and control instructions. A store is split so that a fault of the memory write leaves the
 * stack as it was: `fst...` puts the value in vcpu.temp and says whether to go on (1: write it, then popX87() if the
 * instruction pops; 0: an unmasked exception suppresses both).
 */

import {
  VCPU_fcs,
  VCPU_fcw,
  VCPU_fdp,
  VCPU_fds,
  VCPU_fip,
  VCPU_fop,
  VCPU_fsw,
  VCPU_ftw,
  VCPU_temp,
} from '../generated/layout';
import { DE, IE, OE, PE, RC_ZERO, raise, raised, setRaised, setRounding, UE } from './control';
import {
  classOf,
  exponent,
  INFINITE,
  indefinite,
  LEADING,
  memoryDenormal,
  packDropping,
  QUIET,
  result,
  rSe,
  rSig,
  SIGNALLING,
  setRoundedUp,
  significand,
  UNSUPPORTED,
  ZERO,
} from './f80';
import { defaultNan, infinity, precision, quietBit, roundedAway, roundPack } from './format';
import { inexact, roundedUp as integerRoundedUp, roundMagnitude } from './integer';
import { widen, widenInteger } from './x87-arith';
import {
  quickCopy,
  quickDuplicate,
  quickExchange,
  quickLoad32,
  quickLoad64,
  quickPush,
  quickStore,
} from './x87-quick';
import {
  anyUnmasked,
  begin,
  blocked,
  C1,
  finish,
  isEmpty,
  moveTop,
  popStack,
  push,
  put,
  report,
  setStatus,
  setTag,
  status,
  stSe,
  stSig,
  summarize,
  underflow,
} from './x87-stack';

export function popX87(cpu: usize): void {
  popStack(cpu);
}

/** Push a widened memory operand: signalling NaNs are quieted, denormals noted. */
function pushWidened(cpu: usize): void {
  if (isEmpty(cpu, 7)) {
    if (classOf(rSe, rSig) === SIGNALLING) {
      raise(IE);
      result(rSe, rSig | 0x4000000000000000);
    }
    // Even unmasked, a denormal operand is loaded.
    if (memoryDenormal) raise(DE);
  }
  push(cpu);
}
export function fld32(cpu: usize, bits: u32): void {
  if (quickLoad32(cpu, bits)) return;
  begin(cpu);
  widen<f32>(<u64>bits);
  pushWidened(cpu);
}
export function fld64(cpu: usize, bits: u64): void {
  if (quickLoad64(cpu, bits)) return;
  begin(cpu);
  widen<f64>(bits);
  pushWidened(cpu);
}
/** Load the 10 bytes at an address as they are. */
export function fld80(cpu: usize, address: usize): void {
  if (quickPush(cpu, <u32>load<u16>(address, 8), load<u64>(address))) return;
  begin(cpu);
  result(<u32>load<u16>(address, 8), load<u64>(address));
  push(cpu);
}
export function fild(cpu: usize, value: i64): void {
  begin(cpu);
  widenInteger(value);
  push(cpu);
}
/** FLD ST(i). */
export function fldSt(cpu: usize, src: u32): void {
  if (quickDuplicate(cpu, src)) return;
  begin(cpu);
  if (isEmpty(cpu, src)) {
    // The missing operand is found before the missing room.
    underflow();
    if (!blocked()) {
      moveTop(cpu, 7);
      put(cpu, 0);
    }
    report(cpu);
  } else {
    result(stSe(cpu, src), stSig(cpu, src));
    push(cpu);
  }
}

/** Constants by the low opcode bits of D9 E8..EE: 1, log2(10), log2(e), pi, log10(2), ln(2), 0. */
export function fldConst(cpu: usize, which: u32): void {
  begin(cpu);
  switch (which) {
    case 0:
      result(0x3fff, LEADING);
      break;
    case 1:
      packDropping(0, 1, 0xd49a784bcd1b8afe, 0x492bf6ff4dafdb4c, 0);
      break;
    case 2:
      packDropping(0, 0, 0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88, 0);
      break;
    case 3:
      packDropping(0, 1, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1, 0);
      break;
    case 4:
      packDropping(0, -2, 0x9a209a84fbcff798, 0x8f8959ac0b7c9178, 0);
      break;
    case 5:
      packDropping(0, -1, 0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af, 0);
      break;
    default:
      result(0, 0);
  }
  // Constants are rounded without a trace.
  setRaised(0);
  setRoundedUp(false);
  push(cpu);
}

/** ST(0) rounded to a memory format, the pattern in temp[0]. */
function storeAs<T>(cpu: usize): i32 {
  if (quickStore<T>(cpu)) return 1;
  begin(cpu);
  const se = stSe(cpu, 0);
  const sig = stSig(cpu, 0);
  const sign = (<u64>(se >> 15)) << (sizeof<T>() * 8 - 1);
  let bits: u64;
  if (isEmpty(cpu, 0)) {
    underflow();
    bits = defaultNan<T>();
  } else {
    const c = classOf(se, sig);
    if (c === UNSUPPORTED) {
      raise(IE);
      bits = defaultNan<T>();
    } else if (c >= QUIET) {
      if (c === SIGNALLING) raise(IE);
      bits = sign | infinity<T>() | quietBit<T>() | ((sig << 1) >> (65 - precision<T>()));
    } else if (c === INFINITE) {
      bits = sign | infinity<T>();
    } else if (c === ZERO) {
      bits = sign;
    } else {
      bits = roundPack<T>(se >> 15, exponent(se, sig), significand(sig), 0);
      setRoundedUp(roundedAway);
    }
  }
  const go = !anyUnmasked(IE | OE | UE);
  store<u64>(cpu, bits, VCPU_temp);
  if (!go) {
    // Nothing is stored, so nothing is inexact.
    setRaised(raised & ~PE);
    setRoundedUp(false);
  }
  report(cpu);
  return i32(go);
}
export function fst32(cpu: usize): i32 {
  return storeAs<f32>(cpu);
}
export function fst64(cpu: usize): i32 {
  return storeAs<f64>(cpu);
}
/** FSTP m80: significand in temp[0], sign and exponent in temp[1]. */
export function fst80(cpu: usize): i32 {
  begin(cpu);
  if (isEmpty(cpu, 0)) underflow();
  else result(stSe(cpu, 0), stSig(cpu, 0));
  store<u64>(cpu, rSig, VCPU_temp);
  store<u64>(cpu, <u64>rSe, VCPU_temp + 8);
  const go = !blocked();
  report(cpu);
  return i32(go);
}
/** FST ST(i) and FSTP ST(i). */
export function fstSt(cpu: usize, dst: u32, pop: u32): void {
  if (quickCopy(cpu, dst, pop)) return;
  begin(cpu);
  if (isEmpty(cpu, 0)) underflow();
  else result(stSe(cpu, 0), stSig(cpu, 0));
  finish(cpu, dst, pop);
}

/** FIST: ST(0) as an integer of `bits` (16, 32, 64) in temp[0], sign-extended; `truncate` makes it FISTTP. */
export function fist(cpu: usize, bits: u32, truncate: u32): i32 {
  begin(cpu);
  if (truncate) setRounding(RC_ZERO);
  const limit = (<u64>1) << (bits - 1);
  let value: u64 = 0 - limit;
  const se = stSe(cpu, 0);
  const sig = stSig(cpu, 0);
  if (isEmpty(cpu, 0)) {
    underflow();
  } else {
    const c = classOf(se, sig);
    if (c === ZERO) {
      value = 0;
    } else if (c >= INFINITE || exponent(se, sig) > 63) {
      raise(IE);
    } else {
      const sign = se >> 15;
      const whole = roundMagnitude(sign, exponent(se, sig), significand(sig));
      if (whole > limit - u64(sign === 0)) {
        raise(IE);
      } else {
        value = sign ? 0 - whole : whole;
        if (inexact) raise(PE);
        setRoundedUp(integerRoundedUp);
      }
    }
  }
  store<u64>(cpu, value, VCPU_temp);
  const go = !blocked();
  report(cpu);
  return i32(go);
}

/** FBLD: 18 packed decimal digits and a sign byte at an address. */
export function fbld(cpu: usize, address: usize): void {
  begin(cpu);
  let value: u64 = 0;
  for (let i: i32 = 8; i >= 0; i--) {
    const b = <u64>load<u8>(address + i);
    value = value * 100 + (b >> 4) * 10 + (b & 15);
  }
  widenInteger(<i64>value);
  result(rSe | (load<u8>(address, 9) & 0x80 ? 0x8000 : 0), rSig);
  push(cpu);
}
/** FBSTP: ten bytes in temp[0] and temp[1]. */
export function fbst(cpu: usize): i32 {
  begin(cpu);
  const se = stSe(cpu, 0);
  const sig = stSig(cpu, 0);
  let low: u64 = 0xc000000000000000;
  let high: u64 = 0xffff;
  if (isEmpty(cpu, 0)) {
    underflow();
  } else {
    const c = classOf(se, sig);
    let whole: u64 = 0;
    let fits = c < INFINITE;
    if (fits && c !== ZERO) {
      const e = exponent(se, sig);
      fits = e <= 63;
      if (fits) {
        whole = roundMagnitude(se >> 15, e, significand(sig));
        fits = whole <= 999999999999999999;
        if (fits) {
          if (inexact) raise(PE);
          setRoundedUp(integerRoundedUp);
        }
      }
    }
    if (fits) {
      low = 0;
      for (let i: u64 = 0; i < 64; i += 4) {
        low |= (whole % 10) << i;
        whole /= 10;
      }
      high = (whole % 10) | ((whole / 10) << 4) | (se >> 15 ? 0x8000 : 0);
    } else {
      raise(IE);
    }
  }
  store<u64>(cpu, low, VCPU_temp);
  store<u64>(cpu, high, VCPU_temp + 8);
  const go = !blocked();
  report(cpu);
  return i32(go);
}

export function fxch(cpu: usize, i: u32): void {
  if (quickExchange(cpu, i)) return;
  begin(cpu);
  const emptyTop = isEmpty(cpu, 0);
  const emptyOther = isEmpty(cpu, i);
  if (emptyTop || emptyOther) underflow();
  if (!blocked()) {
    const topSe = emptyTop ? 0xffff : stSe(cpu, 0);
    const topSig = emptyTop ? 0xc000000000000000 : stSig(cpu, 0);
    if (emptyOther) indefinite();
    else result(stSe(cpu, i), stSig(cpu, i));
    put(cpu, 0);
    result(topSe, topSig);
    put(cpu, i);
  }
  report(cpu);
}
/** FCMOVcc: ST(i) to ST(0) when `condition` is nonzero; missing operands are found either way. */
export function fcmov(cpu: usize, src: u32, condition: u32): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, src)) {
    underflow();
    finish(cpu, 0, 0);
  } else if (condition) {
    result(stSe(cpu, src), stSig(cpu, src));
    put(cpu, 0);
  }
}

export function fincstp(cpu: usize): void {
  moveTop(cpu, 1);
  setStatus(cpu, status(cpu) & ~C1);
}
export function fdecstp(cpu: usize): void {
  moveTop(cpu, 7);
  setStatus(cpu, status(cpu) & ~C1);
}
export function ffree(cpu: usize, i: u32): void {
  setTag(cpu, i, 3);
  setStatus(cpu, status(cpu) & ~C1);
}
export function fninit(cpu: usize): void {
  store<u16>(cpu, 0x37f, VCPU_fcw);
  store<u16>(cpu, 0, VCPU_fsw);
  store<u16>(cpu, 0xffff, VCPU_ftw);
  store<u16>(cpu, 0, VCPU_fop);
  store<u64>(cpu, 0, VCPU_fip);
  store<u64>(cpu, 0, VCPU_fdp);
  store<u16>(cpu, 0, VCPU_fcs);
  store<u16>(cpu, 0, VCPU_fds);
}
export function fnclex(cpu: usize): void {
  setStatus(cpu, status(cpu) & 0x7f00);
}
/** Bit 6 of the control word always reads as one; bits 7 and 13..15 as zero. */
export function fldcw(cpu: usize, value: u32): void {
  store<u16>(cpu, <u16>((value & 0x1f3f) | 0x40), VCPU_fcw);
  summarize(cpu);
}
