/** 128-bit products from 64-bit parts, since WebAssembly's wide arithmetic is not in every engine yet. */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { Emitter } from './emitter.ts';

/** Upper 64 bits of the product of two i64 values. */
export function multiplyHigh(x: Emitter, a: Value, b: Value, signed: boolean): Value {
  const low = (v: Value) => w.and(v, w.i64(0xffffffff));
  const high = (v: Value) => w.shrU(v, w.i64(32));
  const aLow = x.let(low(a));
  const aHigh = x.let(high(a));
  const bLow = x.let(low(b));
  const bHigh = x.let(high(b));
  const cross = x.let(w.add(w.mul(aHigh, bLow), high(w.mul(aLow, bLow))));
  const middle = w.add(w.mul(aLow, bHigh), low(cross));
  const unsigned = w.add(w.add(w.mul(aHigh, bHigh), high(cross)), high(middle));
  if (!signed) return unsigned;
  // A negative factor counts 2^64 too much of the other one.
  const correction = (factor: Value, other: Value) => w.and(w.shrS(factor, w.i64(63)), other);
  return w.sub(w.sub(unsigned, correction(a, b)), correction(b, a));
}
