/**
 * Fused operations by the host's arithmetic against the exact ones: the former are tried when the inexact flag is set
 * already, so the same operands with that flag clear give the result to compare with.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGuestCpu } from './guest-cpu.ts';
import { CODE_BASE, End } from './machine-case.ts';
import { B, copyState, D, initialState, type MachineState, Q } from './machine-state.ts';

const full = process.env.DOMUS_TEST_FULL === '1';
const guest = createGuestCpu();
/** ymm0 = ymm1 * ymm2 + ymm0, of doubles and of singles. */
const CODE = { 8: 'c4e2f5b8c2', 4: 'c4e275b8c2' };
const [C, A, B_] = [0, 1, 2].map(n => B.ymm + 32 * n) as [number, number, number];

let seed = 0x2545_f491;
function random(): number {
  seed ^= seed << 13;
  seed ^= seed >>> 17;
  seed ^= seed << 5;
  return seed >>> 0;
}
const below = (n: number): number => random() % n;

/** Significands with few ones, in few places: products and sums that end half way between two numbers, or near it. */
function significand(bits: number): bigint {
  const all = (BigInt(random()) << 32n) | BigInt(random());
  const kept = below(bits);
  switch (below(5)) {
    case 0:
      return all >> BigInt(64 - bits);
    case 1:
      return (all >> BigInt(64 - bits)) & (-1n << BigInt(kept));
    case 2:
      return 1n << BigInt(kept);
    case 3:
      return BigInt(below(3));
    default:
      return (1n << BigInt(bits)) - 1n - BigInt(below(3));
  }
}
const number64 = (exponent: number): bigint =>
  (BigInt(below(2)) << 63n) | (BigInt(exponent + 1023) << 52n) | significand(52);
const number32 = (exponent: number): bigint =>
  (BigInt(below(2)) << 31n) | (BigInt(exponent + 127) << 23n) | significand(23);

async function result(size: 4 | 8, operands: MachineState, mxcsr: number): Promise<string[]> {
  const state = copyState(operands);
  state.u32[D.mxcsr] = mxcsr;
  const code = Uint8Array.from(Buffer.from(CODE[size], 'hex'));
  const done = await guest.run({ mode: 64, code, state, patches: [] });
  assert.equal(done.end, End.completed);
  return [0, 1, 2, 3].map(i => done.state.u64[C / 8 + i]!.toString(16));
}

async function compare(size: 4 | 8, number: (exponent: number) => bigint): Promise<void> {
  const state = initialState();
  state.u64[Q.rip] = BigInt(CODE_BASE + 0x100);
  const view = new DataView(state.bytes.buffer, state.bytes.byteOffset);
  const put = (at: number, value: bigint) =>
    size === 8 ? view.setBigUint64(at, value, true) : view.setUint32(at, Number(value), true);
  const exponents = size === 8 ? [2, 60, 390] : [2, 30, 60];
  const precision = size === 8 ? 53 : 24;
  for (let n = 0; n < (full ? 50_000 : 1500); n++) {
    for (let lane = 0; lane < 32; lane += size) {
      const range = exponents[below(3)]!;
      const [x, y] = [below(2 * range) - range, below(2 * range) - range];
      // Sums that cancel, that meet in the last places, that do not meet.
      const distance = [0, 1, precision, 2 * precision, below(3 * precision)][below(5)]!;
      const z = x + y + (below(2) ? distance : -distance) + below(3) - 1;
      const limit = size === 8 ? 799 : 126;
      put(A + lane, below(40) ? number(x) : 0n);
      put(B_ + lane, below(40) ? number(y) : 0n);
      put(C + lane, below(20) ? number(Math.max(-limit, Math.min(limit, z))) : 0n);
    }
    assert.deepEqual(
      await result(size, state, 0x1fa0),
      await result(size, state, 0x1f80),
      Buffer.from(state.bytes.subarray(B.ymm, B.ymm + 96)).toString('hex'),
    );
  }
}

test('doubles', () => compare(8, number64));
test('singles', () => compare(4, number32));
