/** 128-bit division for DIV and IDIV with 64-bit operands: RDX:RAX by a divisor that is not zero. */
import { gpr, setGpr } from './state';
import { RAX, RDX } from './x86';

let quotient: u64 = 0;
let remainder: u64 = 0;

/** high:low / divisor, with high < divisor, by long division a bit at a time. */
function divideWide(high: u64, low: u64, divisor: u64): void {
  if (high === 0) {
    quotient = low / divisor;
    remainder = low % divisor;
    return;
  }
  let rest = high;
  let q: u64 = 0;
  for (let i: u64 = 0; i < 64; i++) {
    const carry = rest >> 63;
    rest = (rest << 1) | ((low >> (63 - i)) & 1);
    q <<= 1;
    if (carry !== 0 || rest >= divisor) {
      rest -= divisor;
      q |= 1;
    }
  }
  quotient = q;
  remainder = rest;
}

/** Nonzero when the quotient does not fit: #DE, nothing changed. */
export function divideUnsigned128(cpu: usize, divisor: u64): i32 {
  const high = gpr(cpu, RDX);
  if (high >= divisor) return 1;
  divideWide(high, gpr(cpu, RAX), divisor);
  setGpr(cpu, RAX, quotient);
  setGpr(cpu, RDX, remainder);
  return 0;
}

/** The same, signed: the quotient is cut towards zero, the remainder has the dividend's sign. */
export function divideSigned128(cpu: usize, divisor: i64): i32 {
  let high = gpr(cpu, RDX);
  let low = gpr(cpu, RAX);
  const negative = (high as i64) < 0;
  if (negative) {
    low = 0 - low;
    high = ~high + (low === 0 ? 1 : 0);
  }
  const magnitude: u64 = divisor < 0 ? 0 - (divisor as u64) : (divisor as u64);
  if (high >= magnitude) return 1;
  divideWide(high, low, magnitude);
  const minus = negative !== divisor < 0;
  const limit: u64 = 0x8000_0000_0000_0000;
  if (quotient > limit || (quotient === limit && !minus)) return 1;
  setGpr(cpu, RAX, minus ? 0 - quotient : quotient);
  setGpr(cpu, RDX, negative ? 0 - remainder : remainder);
  return 0;
}
