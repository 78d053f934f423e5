/**
 * SSE arithmetic around the ends of the ranges within which the host's arithmetic is taken for granted
 * (isa/float-range.ts): pairs of operands whose exponents lie close to these ends, or at those of the format, with the
 * control words under which it matters. All lanes of a vector are alike, or ordinary but for the first.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asRunner } from './compare.ts';
import { createGuestCpu } from './guest-cpu.ts';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { CODE_BASE, type MachineCase } from './machine-case.ts';
import { B, D, initialState, Q, stateDifferences } from './machine-state.ts';
import { hashText, type Random, random } from './random.ts';

const skip = hostUnavailable() ?? false;
const full = process.env.DOMUS_TEST_FULL === '1';

type Type = 'f32' | 'f64';
/** Biased exponents of the ends. */
const ENDS = { f32: [0, 24, 65, 127, 157, 190, 254], f64: [0, 53, 513, 897, 1023, 1053, 1149, 1534, 2046] };
const FRACTION = { f32: 23n, f64: 52n };

function operand(draw: Random, type: Type, end: number): bigint {
  const bits = FRACTION[type];
  const most = (1n << bits) - 1n;
  const fraction = draw.pick([0n, 1n, most - 1n, most, 1n << (bits - 1n), BigInt(draw.u32()) & most]);
  const exponent = Math.min(Math.max(end + draw.below(7) - 3, 0), type === 'f32' ? 255 : 2047);
  const sign = draw.oneIn(2) ? SIGN[type] : 0n;
  return draw.oneIn(12) ? sign : sign | (BigInt(exponent) << bits) | fraction;
}
const SIGN = { f32: 1n << 31n, f64: 1n << 63n };
const ONE = { f32: 0x3f800000n, f64: 0x3ff0000000000000n };

function fill(view: DataView, at: number, type: Type, value: bigint, isUniform: boolean): void {
  const bytes = type === 'f32' ? 4 : 8;
  for (let i = 0; i < 16; i += bytes) {
    const lane = i === 0 || isUniform ? value : ONE[type];
    if (type === 'f32') view.setUint32(at + i, Number(lane & 0xffffffffn), true);
    else view.setBigUint64(at + i, BigInt.asUintN(64, lane), true);
  }
}

/** Round to nearest with PE reported, and what differs from that in one respect. */
// biome-ignore format: a table
const CONTROLS = [0x1fa0, 0x1fa0, 0x1fa0, 0x9fe0, 0x9fa0, 0x1fe0, 0x1f80, 0x9fc0, 0x1fbf, 0x1fb2, 0x9fb2, 0x3fa0, 0x5fa0, 0x7fa0, 0x0fa0, 0x1ea0, 0x17a0, 0x1b80];
const XMM1 = B.ymm + 32;
const XMM2 = B.ymm + 64;

type Operands = (draw: Random, type: Type) => readonly [first: bigint, second: bigint];

const nearEnds: Operands = (draw, type) => {
  const end = draw.pick(ENDS[type]);
  const first = operand(draw, type, end);
  const second = draw.oneIn(6)
    ? // Nearly the opposite: the sum is far below the operands.
      (first ^ SIGN[type]) + BigInt(draw.below(3))
    : operand(draw, type, draw.oneIn(2) ? end : draw.pick(ENDS[type]));
  return [first, second];
};

/** Significands of few bits, of half of what there is room for, and whole ones; zeros too. */
const ofFewBits: Operands = (draw, type) => {
  const one = (): bigint => {
    const bits = Number(FRACTION[type]);
    const kept = draw.pick([0, 1, 2, 4, bits >> 1, (bits >> 1) + 1, bits - 1, bits]);
    const fraction = ((BigInt(draw.u32()) << 32n) | BigInt(draw.u32())) & ((1n << BigInt(kept)) - 1n);
    const exponent = ONE[type] + (BigInt(draw.below(2 * kept + 4) - kept) << FRACTION[type]);
    const sign = draw.oneIn(2) ? SIGN[type] : 0n;
    return sign | (draw.oneIn(8) ? 0n : exponent | (fraction << BigInt(bits - kept)));
  };
  return [one(), one()];
};

function makeCase(
  draw: Random,
  type: Type,
  code: readonly number[],
  operands: Operands,
  controls: readonly number[],
): MachineCase {
  const state = initialState();
  state.u64[Q.rip] = BigInt(CODE_BASE + 0x100);
  state.u32[D.mxcsr] = draw.pick(controls);
  const view = new DataView(state.bytes.buffer, state.bytes.byteOffset);
  const isUniform = draw.oneIn(2);
  const [first, second] = operands(draw, type);
  fill(view, XMM1, type, first, isUniform);
  fill(view, XMM2, type, second, isUniform);
  return { mode: 64, code: Uint8Array.from(code), state, patches: [] };
}

const PREFIXES = { ps: [], pd: [0x66], ss: [0xf3], sd: [0xf2] };
type Suffix = keyof typeof PREFIXES;
const typeOf = (suffix: Suffix): Type => (suffix === 'ps' || suffix === 'ss' ? 'f32' : 'f64');
const SUFFIXES = Object.keys(PREFIXES) as Suffix[];
/** xmm1, xmm2 */
const MODRM = 0xca;

interface Form {
  readonly name: string;
  readonly type: Type;
  readonly code: readonly number[];
}
const ARITHMETIC: readonly Form[] = Object.entries({
  sqrt: 0x51,
  add: 0x58,
  mul: 0x59,
  sub: 0x5c,
  min: 0x5d,
  div: 0x5e,
  max: 0x5f,
}).flatMap(([name, opcode]) =>
  SUFFIXES.map(suffix => ({
    name: name + suffix,
    type: typeOf(suffix),
    code: [...PREFIXES[suffix], 0x0f, opcode, MODRM],
  })),
);
const FORMS: readonly Form[] = [
  ...ARITHMETIC,
  ...SUFFIXES.flatMap(suffix =>
    Array.from({ length: 8 }, (_, predicate) => ({
      name: `cmp${suffix} ${predicate}`,
      type: typeOf(suffix),
      code: [...PREFIXES[suffix], 0x0f, 0xc2, MODRM, predicate],
    })),
  ),
  { name: 'ucomiss', type: 'f32', code: [0x0f, 0x2e, MODRM] },
  { name: 'ucomisd', type: 'f64', code: [0x66, 0x0f, 0x2e, MODRM] },
  { name: 'comiss', type: 'f32', code: [0x0f, 0x2f, MODRM] },
  { name: 'comisd', type: 'f64', code: [0x66, 0x0f, 0x2f, MODRM] },
  ...[0x2c, 0x2d].flatMap(opcode =>
    [[], [0x48]].flatMap(rex => [
      { name: `ss2si ${opcode}${rex}`, type: 'f32' as const, code: [0xf3, ...rex, 0x0f, opcode, MODRM] },
      { name: `sd2si ${opcode}${rex}`, type: 'f64' as const, code: [0xf2, ...rex, 0x0f, opcode, MODRM] },
    ]),
  ),
  { name: 'cvtps2pd', type: 'f32', code: [0x0f, 0x5a, MODRM] },
  { name: 'cvtpd2ps', type: 'f64', code: [0x66, 0x0f, 0x5a, MODRM] },
  { name: 'cvtss2sd', type: 'f32', code: [0xf3, 0x0f, 0x5a, MODRM] },
  { name: 'cvtsd2ss', type: 'f64', code: [0xf2, 0x0f, 0x5a, MODRM] },
  { name: 'cvtps2dq', type: 'f32', code: [0x66, 0x0f, 0x5b, MODRM] },
  { name: 'cvttps2dq', type: 'f32', code: [0xf3, 0x0f, 0x5b, MODRM] },
  { name: 'cvtpd2dq', type: 'f64', code: [0xf2, 0x0f, 0xe6, MODRM] },
  { name: 'cvttpd2dq', type: 'f64', code: [0x66, 0x0f, 0xe6, MODRM] },
  { name: 'haddpd', type: 'f64', code: [0x66, 0x0f, 0x7c, MODRM] },
  { name: 'haddps', type: 'f32', code: [0xf2, 0x0f, 0x7c, MODRM] },
  { name: 'hsubpd', type: 'f64', code: [0x66, 0x0f, 0x7d, MODRM] },
  { name: 'hsubps', type: 'f32', code: [0xf2, 0x0f, 0x7d, MODRM] },
  { name: 'addsubpd', type: 'f64', code: [0x66, 0x0f, 0xd0, MODRM] },
  { name: 'addsubps', type: 'f32', code: [0xf2, 0x0f, 0xd0, MODRM] },
  ...[8, 9, 10, 11].flatMap(opcode =>
    [0, 1, 2, 3, 4, 9, 12].map(immediate => ({
      name: `round ${opcode} ${immediate}`,
      type: opcode & 1 ? ('f64' as const) : ('f32' as const),
      code: [0x66, 0x0f, 0x3a, opcode, MODRM, immediate],
    })),
  ),
];

const hex = (bytes: Uint8Array, at: number): string =>
  [...bytes.subarray(at, at + 16)]
    .reverse()
    .map(byte => byte.toString(16).padStart(2, '0'))
    .join('');

/** How the guest differs from the host in cases of each form. */
async function compare(
  forms: readonly Form[],
  operands: Operands,
  controls: readonly number[],
): Promise<string[]> {
  await using host = await openHostCpu();
  const guest = asRunner(createGuestCpu());
  const failures: string[] = [];
  for (const { name, type, code } of forms) {
    const draw = random(hashText(name));
    const count = full ? 20_000 : 600;
    const cases = Array.from({ length: count }, () => makeCase(draw, type, code, operands, controls));
    const [expected, actual] = await Promise.all([host.run(cases), guest.run(cases)]);
    for (const [i, { state }] of cases.entries()) {
      const [want, have] = [expected[i]!, actual[i]!];
      const differences = stateDifferences(want.state, have.state);
      if (want.vector !== have.vector) differences.push(`vector ${want.vector} became ${have.vector}`);
      if (differences.length === 0) continue;
      const values = `${hex(state.bytes, XMM1)}, ${hex(state.bytes, XMM2)}`;
      failures.push(
        `${name} of ${values} with MXCSR ${state.u32[D.mxcsr]!.toString(16)}: ${differences.join('; ')}`,
      );
      break;
    }
  }
  return failures;
}

test('arithmetic at the ends of the ranges is what the host does', { skip }, async () => {
  assert.deepEqual(await compare(FORMS, nearEnds, CONTROLS), []);
});
test('results are inexact for the first time when they are on the host', { skip }, async () => {
  assert.deepEqual(
    await compare(ARITHMETIC, ofFewBits, [0x1f80, 0x1f80, 0x1f80, 0x1fa0, 0x0f80, 0x3f80]),
    [],
  );
});
