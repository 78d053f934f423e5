// biome-ignore-all lint/correctness/noPrecisionLoss: integers have 64 bits here
/**
 * 128-bit significands: a result before rounding is `hi:lo` with its leading one in bit 127 (value 1.xxx · 2^exponent),
 * and bit 0 of `lo` is sticky: it stands for everything that was shifted out. Results come back in module globals,
 * which are dead once the caller has read them.
 */

export let zSign: u32 = 0;
export let zExp: i32 = 0;
export let zHi: u64 = 0;
export let zLo: u64 = 0;

/** Upper half of the 128-bit product. */
export function mulHi(a: u64, b: u64): u64 {
  const a0 = a & 0xffffffff;
  const a1 = a >> 32;
  const b0 = b & 0xffffffff;
  const b1 = b >> 32;
  const low = a0 * b0;
  const mid = a1 * b0 + (low >> 32);
  const cross = a0 * b1 + (mid & 0xffffffff);
  return a1 * b1 + (mid >> 32) + (cross >> 32);
}

/** z = hi:lo >> distance, bits shifted out kept as sticky. */
export function shiftRightSticky(hi: u64, lo: u64, distance: i32): void {
  if (distance === 0) {
    zHi = hi;
    zLo = lo;
  } else if (distance < 64) {
    const out = lo << (64 - distance);
    zHi = hi >> distance;
    zLo = (hi << (64 - distance)) | (lo >> distance) | u64(out !== 0);
  } else if (distance < 128) {
    const d = distance - 64;
    const out = lo | (d ? hi << (64 - d) : 0);
    zHi = 0;
    zLo = (hi >> d) | u64(out !== 0);
  } else {
    zHi = 0;
    zLo = u64((hi | lo) !== 0);
  }
}

/** Move the leading one of z to bit 127; z must not be zero. */
function normalize(): void {
  if (zHi === 0) {
    zHi = zLo;
    zLo = 0;
    zExp -= 64;
  }
  const n = i32(clz(zHi));
  if (n) {
    zHi = (zHi << n) | (zLo >> (64 - n));
    zLo <<= n;
    zExp -= n;
  }
}

/** Exact sum of two nonzero numbers, sticky in bit 0. An exact zero gives zHi = 0 (its sign is the caller's). */
export function addWide(
  aSign: u32,
  aExp: i32,
  aHi: u64,
  aLo: u64,
  bSign: u32,
  bExp: i32,
  bHi: u64,
  bLo: u64,
): void {
  // The larger magnitude first: the sign of the sum is then its sign.
  if (bExp > aExp || (bExp === aExp && (bHi > aHi || (bHi === aHi && bLo > aLo)))) {
    const s = aSign;
    aSign = bSign;
    bSign = s;
    const e = aExp;
    aExp = bExp;
    bExp = e;
    const h = aHi;
    aHi = bHi;
    bHi = h;
    const l = aLo;
    aLo = bLo;
    bLo = l;
  }
  shiftRightSticky(bHi, bLo, aExp - bExp);
  zSign = aSign;
  zExp = aExp;
  if (aSign === bSign) {
    const lo = aLo + zLo;
    const c = u64(lo < aLo);
    const part = aHi + zHi;
    const hi = part + c;
    const carry = part < aHi || hi < part;
    zHi = hi;
    zLo = lo;
    if (carry) {
      zLo = (lo >> 1) | (lo & 1) | (hi << 63);
      zHi = (hi >> 1) | ((<u64>1) << 63);
      zExp++;
    }
  } else {
    const lo = aLo - zLo;
    const borrow = u64(aLo < zLo);
    zHi = aHi - zHi - borrow;
    zLo = lo;
    if ((zHi | zLo) !== 0) normalize();
  }
}

/** Exact product of two significands with their leading one in bit 63. */
export function mulWide(sign: u32, aExp: i32, a: u64, bExp: i32, b: u64): void {
  zSign = sign;
  zExp = aExp + bExp + 1;
  zHi = mulHi(a, b);
  zLo = a * b;
  if (zHi >> 63 === 0) {
    zHi = (zHi << 1) | (zLo >> 63);
    zLo <<= 1;
    zExp--;
  }
}

export let remainder: u64 = 0;

/** Quotient of hi:lo by d for hi < d and d >= 2^63; the remainder goes to `remainder`. */
export function divide128(hi: u64, lo: u64, d: u64): u64 {
  const d1 = d >> 32;
  const d0 = d & 0xffffffff;
  // Two digits of 32 bits; each estimate is at most two too large because d is normalized.
  let q1 = hi / d1;
  let r = hi - q1 * d1;
  while (q1 >> 32 !== 0 || q1 * d0 > ((r << 32) | (lo >> 32))) {
    q1--;
    r += d1;
    if (r >> 32 !== 0) break;
  }
  const part = ((hi << 32) | (lo >> 32)) - q1 * d;
  let q0 = part / d1;
  r = part - q0 * d1;
  while (q0 >> 32 !== 0 || q0 * d0 > ((r << 32) | (lo & 0xffffffff))) {
    q0--;
    r += d1;
    if (r >> 32 !== 0) break;
  }
  remainder = ((part << 32) | (lo & 0xffffffff)) - q0 * d;
  return (q1 << 32) + q0;
}

/** Quotient of two normalized significands: 66 bits and sticky. */
export function divWide(sign: u32, aExp: i32, a: u64, bExp: i32, b: u64): void {
  zSign = sign;
  if (a >= b) {
    zExp = aExp - bExp;
    zHi = divide128(a >> 1, a << 63, b);
  } else {
    zExp = aExp - bExp - 1;
    zHi = divide128(a, 0, b);
  }
  let r = remainder;
  let lo: u64 = 0;
  let top = r >> 63 !== 0;
  r <<= 1;
  if (top || r >= b) {
    r -= b;
    lo = (<u64>1) << 63;
  }
  top = r >> 63 !== 0;
  r <<= 1;
  if (top || r >= b) {
    r -= b;
    lo |= (<u64>1) << 62;
  }
  zLo = lo | u64(r !== 0);
}

/** Root of a normalized significand: 65 bits and sticky. */
export function sqrtWide(exp: i32, a: u64): void {
  zSign = 0;
  // N = hi:lo is a · 2^63 or a · 2^62, so that its root lies in [2^63, 2^64) and the exponent halves evenly.
  let hi: u64;
  let lo: u64;
  if (exp & 1) {
    hi = a;
    lo = 0;
  } else {
    hi = a >> 1;
    lo = a << 63;
  }
  zExp = exp >> 1;
  // 53 good bits from the hardware root, then one Newton step on the exact remainder.
  const estimate = sqrt<f64>(<f64>hi * 18446744073709551616.0);
  let s: u64 = estimate >= 18446744073709549568.0 ? 0xfffffffffffff800 : <u64>estimate;
  if (s >> 63 === 0) s = (<u64>1) << 63;
  // Remainder N - s·s as a signed 128-bit number: small, so its upper word holds the sign and few bits.
  let rLo = lo - s * s;
  let rHi = hi - mulHi(s, s) - u64(lo < s * s);
  const delta = (<f64>(<i64>rHi) * 18446744073709551616.0 + <f64>rLo) / (2.0 * <f64>s);
  const step = <i64>floor<f64>(delta);
  const t = s + <u64>step;
  // The step may leave the 64-bit range at the very top.
  if (step >= 0 && t < s) s = 0xffffffffffffffff;
  else s = t;
  if (s >> 63 === 0) s = (<u64>1) << 63;
  rLo = lo - s * s;
  rHi = hi - mulHi(s, s) - u64(lo < s * s);
  while (<i64>rHi < 0) {
    // (s-1)² = s² - (2s - 1)
    s--;
    const add = (s << 1) | 1;
    const addHi = s >> 63;
    rLo += add;
    rHi += addHi + u64(rLo < add);
  }
  while (true) {
    // Enough when r <= 2s.
    const twoS = s << 1;
    const twoSHi = s >> 63;
    if (rHi < twoSHi || (rHi === twoSHi && rLo <= twoS)) break;
    // (s+1)² = s² + 2s + 1
    const sub = twoS | 1;
    rHi = rHi - twoSHi - u64(rLo < sub);
    rLo -= sub;
    s++;
  }
  zHi = s;
  // The next bit is one when r > s; whatever remains is sticky.
  zLo = (rHi !== 0 || rLo > s ? (<u64>1) << 63 : 0) | u64((rHi | rLo) !== 0);
}
