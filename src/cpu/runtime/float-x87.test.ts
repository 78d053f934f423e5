/**
 * x87 instructions against the host's processor: registers, tags, status word, stored memory and EFLAGS, over edge
 * cases and seeded random operands, in every rounding mode and precision, masked and unmasked.
 */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import * as h from '../../../test/float/harness.ts';
import { Vcpu } from '../vcpu/layout.ts';

const { Place } = h;
const { cpu } = Place;
const TEMP = cpu + Vcpu.offsets.temp;
const ITEM_BYTES = 144;
const RESULT_BYTES = 152;

/** Significands and exponents that are edges for some operation. */
const SIGNIFICANDS = [
  1n << 63n,
  (1n << 63n) | 1n,
  (1n << 64n) - 1n,
  3n << 62n,
  (3n << 62n) | 1n,
  (1n << 63n) | (1n << 61n),
  (1n << 63n) | (1n << 10n),
  (1n << 63n) | (1n << 11n),
  (1n << 63n) | (3n << 10n),
  (1n << 63n) | (1n << 39n),
  (1n << 63n) | (1n << 40n),
  ((1n << 24n) - 1n) << 40n,
  ((1n << 53n) - 1n) << 11n,
  (1n << 64n) - (1n << 10n),
  (1n << 64n) - (1n << 39n),
  0xfffe000000000000n,
  0xffff000000000000n,
  0xffff800000000000n,
  0xfffffffe00000000n,
  0xffffffff00000000n,
  0xffffffff80000000n,
  0xde0b6b3a76400000n,
  0xde0b6b3a763ffff8n,
  0xb504f333f9de6484n,
];
const EXPONENTS = [
  0x3fff, 0x3ffe, 0x3ffd, 0x4000, 0x3ffc, 0x400d, 0x400e, 0x401d, 0x401e, 0x403c, 0x403d, 0x403e, 0x403f,
  0x3f81, 0x3f80, 0x3f6a, 0x3f69, 0x3f68, 0x407e, 0x407f, 0x3c01, 0x3c00, 0x3bcd, 0x3bcc, 0x43fe, 0x43ff, 1,
  2, 0x40, 0x7ffe, 0x7ffd, 0x5fff, 0x2000, 0x3fbf, 0x3fdf, 0x4010,
];
const SPECIAL: [number, bigint][] = [
  [0, 0n],
  [0, 0n],
  [0, 1n],
  [0, (1n << 63n) - 1n],
  [0, 1n << 62n],
  [0, 1n << 63n],
  [0, (1n << 64n) - 1n],
  [0, 0x123456n << 11n],
  [0x7fff, 1n << 63n],
  [0x7fff, 1n << 63n],
  [0x7fff, 3n << 62n],
  [0x7fff, (3n << 62n) | 5n],
  [0x7fff, (1n << 63n) | 5n],
  [0x7fff, (1n << 63n) | 1n],
  [0x7fff, (1n << 62n) | 5n],
  [0x7fff, 0n],
  [0x3fff, 1n << 62n],
  [1, 0n],
  [0x7fff, (1n << 64n) - 1n],
  [0x7fff, (3n << 62n) - 1n],
];

type Random = () => number;

/**
 * Whether processors differ in what underflows: functions of a denormal or the smallest normal number (Intel Sapphire Rapids rounds some
 * of them the other way), and a denormal that stays what it is, as a remainder by infinity or scaled by zero, which AMD reports where
 * underflow is not masked, and that one does not.
 */
function isUpToTheProcessor({ name, ulps }: Case, view: DataView, at: number): boolean {
  const [st0, st1] = [at + 28, at + 38];
  const exponent = view.getUint16(st1 + 8, true) & 0x7fff;
  const staysTheSame =
    (name.startsWith('fprem') && exponent === 0x7fff) ||
    (name === 'fscale' && exponent === 0 && view.getBigUint64(st1, true) === 0n);
  const isTiny = (view.getUint16(st0 + 8, true) & 0x7fff) <= 1;
  return isTiny && (ulps !== undefined || staysTheSame);
}
const big = (random: Random): bigint => (BigInt(random()) << 32n) | BigInt(random());

/** One 80-bit operand at `at`. */
function fill80(view: DataView, at: number, random: Random): void {
  const kind = random() % 8;
  let exponent: number;
  let significand: bigint;
  if (kind === 0) {
    [exponent, significand] = SPECIAL[random() % SPECIAL.length]!;
  } else if (kind < 4) {
    exponent = EXPONENTS[random() % EXPONENTS.length]!;
    significand = SIGNIFICANDS[random() % SIGNIFICANDS.length]!;
  } else {
    significand = big(random) | (1n << 63n);
    exponent =
      kind === 4
        ? random() & 0x7fff
        : kind === 5
          ? 0x3fff - 8 + (random() % 80)
          : 0x3fff - 3 + (random() % 8);
    if (kind === 7) significand &= (0xffff_f000_0000_0000n >> BigInt(random() % 20)) | (1n << 63n);
  }
  view.setBigUint64(at, significand, true);
  view.setUint16(at + 8, exponent | (random() & 0x8000), true);
}

interface State {
  readonly masked: boolean;
  /** Chance out of 16 that a register is empty. */
  readonly empty: number;
  /** Limit the exponents of ST(0) and ST(1), for functions with a domain. */
  readonly shape?: (view: DataView, st0: number, st1: number, random: Random) => void;
}

/** A state image: control and status words, tags, eight registers. */
function fillState(view: DataView, at: number, random: Random, state: State): void {
  const precision = [3, 3, 2, 0][random() & 3]!;
  const masks = state.masked ? 0x3f : random() & 0x3f;
  view.setUint32(at, 0xffff0040 | masks | (precision << 8) | ((random() & 3) << 10), true);
  const top = random() & 7;
  view.setUint32(at + 4, 0xffff0000 | (top << 11) | (random() & 0x4700), true);
  let tags = 0;
  for (let i = 0; i < 8; i++) {
    // Half of the time the register that a push would take is free.
    const empty = i === 7 ? random() % 8 !== 0 : random() % 16 < state.empty;
    if (empty) tags |= 3 << (((top + i) & 7) * 2);
  }
  view.setUint32(at + 8, 0xffff0000 | tags, true);
  for (let i = 0; i < 8; i++) fill80(view, at + 28 + 10 * i, random);
  state.shape?.(view, at + 28, at + 38, random);
}

interface Case {
  readonly name: string;
  readonly code: readonly number[];
  /** Run it in the module; returns EFLAGS bits where the instruction has any. */
  readonly run: (m: h.FloatModule) => unknown;
  /** Fill the memory operand. */
  readonly memory?: (view: DataView, at: number, random: Random) => void;
  readonly shape?: State['shape'];
  /** The result may differ by this many units in the last place; C1 is then not compared. */
  readonly ulps?: number;
}

const call = (m: h.FloatModule, name: string, ...operands: (number | bigint)[]): number => {
  const run = m.exports[name];
  assert.ok(run, `no export ${name}`);
  return Number(run(cpu, ...operands));
};
/** The second half of a split store. */
function store(m: h.FloatModule, go: number, bytes: number, pop: boolean): void {
  if (!go) return;
  for (let i = 0; i < bytes; i++) m.u8[Place.memory + i] = m.u8[TEMP + i]!;
  if (pop) call(m, 'popX87');
}

const memory32 = (view: DataView, at: number, random: Random): void => {
  const kind = random() % 4;
  const edges = [
    0, 1, 0x7fffff, 0x800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff,
    0x4f000000, 0x3f000000,
  ];
  view.setUint32(at, kind ? random() : edges[random() % edges.length]! | (random() & 0x80000000), true);
  if (kind === 2) view.setUint8(at + 3, 0x3f | (random() & 0x80));
};
const memory64 = (view: DataView, at: number, random: Random): void => {
  const kind = random() % 4;
  const edges = [
    0n,
    1n,
    0xfffffffffffffn,
    1n << 52n,
    0x3ffn << 52n,
    0x7fefffffffffffffn,
    0x7ffn << 52n,
    (0x7ffn << 52n) + 1n,
    0xfff8n << 48n,
    0x43en << 52n,
  ];
  view.setBigUint64(
    at,
    kind ? big(random) : edges[random() % edges.length]! | (BigInt(random() & 1) << 63n),
    true,
  );
  if (kind === 2) view.setUint16(at + 6, 0x3fe0 + (random() & 0x801f), true);
};
const memoryInteger = (view: DataView, at: number, random: Random): void => {
  const edges = [0n, 1n, -1n, 0x7fffn, -0x8000n, 0x7fffffffn, -0x80000000n, 1n << 63n, (1n << 63n) - 1n];
  view.setBigUint64(
    at,
    BigInt.asUintN(64, random() & 1 ? big(random) : edges[random() % edges.length]!),
    true,
  );
};
const memory80 = (view: DataView, at: number, random: Random): void => fill80(view, at, random);
const memoryBcd = (view: DataView, at: number, random: Random): void => {
  for (let i = 0; i < 9; i++) view.setUint8(at + i, (random() % 10) | ((random() % 10) << 4));
  view.setUint8(at + 9, random() & 0x80);
};

const cases: Case[] = [];
const add = (test: Case): void => void cases.push(test);
const OPS = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'];
const M = Place.memory;
for (const [op, name] of OPS.entries()) {
  // The memory forms have the operation in the reg field; [rax] is mod 0, rm 0.
  add({
    name: `${name} m32`,
    code: [0xd8, op << 3],
    memory: memory32,
    run: m => void call(m, 'farithMem32', op, m.view.getUint32(M, true)),
  });
  add({
    name: `${name} m64`,
    code: [0xdc, op << 3],
    memory: memory64,
    run: m => void call(m, 'farithMem64', op, m.view.getBigUint64(M, true)),
  });
  add({
    name: `${name} i32`,
    code: [0xda, op << 3],
    memory: memoryInteger,
    run: m => void call(m, 'farithInt', op, m.view.getInt32(M, true)),
  });
  add({
    name: `${name} i16`,
    code: [0xde, op << 3],
    memory: memoryInteger,
    run: m => void call(m, 'farithInt', op, m.view.getInt16(M, true)),
  });
  if (op === 2 || op === 3) continue;
  add({
    name: `${name} st0, st1`,
    code: [0xd8, 0xc1 | (op << 3)],
    run: m => void call(m, 'farith', op, 0, 1, 0),
  });
  // With ST(i) as destination sub and subr, div and divr change places.
  const other = op < 4 ? op : op ^ 1;
  add({
    name: `${name} st2, st0`,
    code: [0xdc, 0xc2 | (op << 3)],
    run: m => void call(m, 'farith', other, 2, 0, 0),
  });
  add({
    name: `${name}p st1, st0`,
    code: [0xde, 0xc1 | (op << 3)],
    run: m => void call(m, 'farith', other, 1, 0, 1),
  });
}
for (const [pops, code] of [
  [0, [0xd8, 0xd1]],
  [1, [0xd8, 0xd9]],
  [2, [0xde, 0xd9]],
] as const)
  add({ name: `fcom pops ${pops}`, code, run: m => void call(m, 'fcom', 1, pops, 0) });
for (const [pops, code] of [
  [0, [0xdd, 0xe1]],
  [1, [0xdd, 0xe9]],
  [2, [0xda, 0xe9]],
] as const)
  add({ name: `fucom pops ${pops}`, code, run: m => void call(m, 'fcom', 1, pops, 1) });
for (const [name, code, pop, unordered] of [
  ['fcomi', [0xdb, 0xf1], 0, 0],
  ['fcomip', [0xdf, 0xf1], 1, 0],
  ['fucomi', [0xdb, 0xe9], 0, 1],
  ['fucomip', [0xdf, 0xe9], 1, 1],
] as const)
  add({ name, code, run: m => call(m, 'fcomi', 1, pop, unordered) });
for (const [name, low] of [
  ['ftst', 0xe4],
  ['fxam', 0xe5],
  ['fsqrt', 0xfa],
  ['fchs', 0xe0],
  ['fabs', 0xe1],
  ['frndint', 0xfc],
  ['fscale', 0xfd],
  ['fxtract', 0xf4],
  ['fprem', 0xf8],
  ['fprem1', 0xf5],
  ['fincstp', 0xf7],
  ['fdecstp', 0xf6],
] as const)
  add({ name, code: [0xd9, low], run: m => void call(m, name) });
const nearOperands: State['shape'] = (view, st0, st1, random) => {
  view.setUint16(
    st0 + 8,
    (view.getUint16(st1 + 8, true) & 0x7fff) + (random() % 70) - 4 + (random() & 0x8000),
    true,
  );
};
add({ name: 'fprem', code: [0xd9, 0xf8], shape: nearOperands, run: m => void call(m, 'fprem') });
add({ name: 'fprem1', code: [0xd9, 0xf5], shape: nearOperands, run: m => void call(m, 'fprem1') });
add({
  name: 'fscale',
  code: [0xd9, 0xfd],
  run: m => void call(m, 'fscale'),
  shape: (view, _st0, st1, random) =>
    view.setUint16(st1 + 8, 0x3ffd + (random() % 20) + (random() & 0x8000), true),
});
add({
  name: 'fld m32',
  code: [0xd9, 0],
  memory: memory32,
  run: m => void call(m, 'fld32', m.view.getUint32(M, true)),
});
add({
  name: 'fld m64',
  code: [0xdd, 0],
  memory: memory64,
  run: m => void call(m, 'fld64', m.view.getBigUint64(M, true)),
});
add({ name: 'fld m80', code: [0xdb, 0x28], memory: memory80, run: m => void call(m, 'fld80', M) });
add({
  name: 'fild m16',
  code: [0xdf, 0],
  memory: memoryInteger,
  run: m => void call(m, 'fild', BigInt(m.view.getInt16(M, true))),
});
add({
  name: 'fild m32',
  code: [0xdb, 0],
  memory: memoryInteger,
  run: m => void call(m, 'fild', BigInt(m.view.getInt32(M, true))),
});
add({
  name: 'fild m64',
  code: [0xdf, 0x28],
  memory: memoryInteger,
  run: m => void call(m, 'fild', m.view.getBigInt64(M, true)),
});
add({ name: 'fbld', code: [0xdf, 0x20], memory: memoryBcd, run: m => void call(m, 'fbld', M) });
add({ name: 'fld st3', code: [0xd9, 0xc3], run: m => void call(m, 'fldSt', 3) });
for (let i = 0; i < 7; i++)
  add({ name: `constant ${i}`, code: [0xd9, 0xe8 + i], run: m => void call(m, 'fldConst', i) });
add({ name: 'fst m32', code: [0xd9, 0x10], run: m => store(m, call(m, 'fst32'), 4, false) });
add({ name: 'fstp m32', code: [0xd9, 0x18], run: m => store(m, call(m, 'fst32'), 4, true) });
add({ name: 'fst m64', code: [0xdd, 0x10], run: m => store(m, call(m, 'fst64'), 8, false) });
add({ name: 'fstp m64', code: [0xdd, 0x18], run: m => store(m, call(m, 'fst64'), 8, true) });
add({ name: 'fstp m80', code: [0xdb, 0x38], run: m => store(m, call(m, 'fst80'), 10, true) });
add({ name: 'fst st3', code: [0xdd, 0xd3], run: m => void call(m, 'fstSt', 3, 0) });
add({ name: 'fstp st3', code: [0xdd, 0xdb], run: m => void call(m, 'fstSt', 3, 1) });
const integers: State['shape'] = (view, st0, _st1, random) => {
  if (random() & 1) view.setUint16(st0 + 8, 0x3ffc + (random() % 70) + (random() & 0x8000), true);
};
for (const [bits, fist, fistp, fisttp] of [
  [16, [0xdf, 0x10], [0xdf, 0x18], [0xdf, 0x08]],
  [32, [0xdb, 0x10], [0xdb, 0x18], [0xdb, 0x08]],
  [64, undefined, [0xdf, 0x38], [0xdd, 0x08]],
] as const) {
  if (fist)
    add({
      name: `fist m${bits}`,
      code: fist,
      shape: integers,
      run: m => store(m, call(m, 'fist', bits, 0), bits / 8, false),
    });
  add({
    name: `fistp m${bits}`,
    code: fistp,
    shape: integers,
    run: m => store(m, call(m, 'fist', bits, 0), bits / 8, true),
  });
  add({
    name: `fisttp m${bits}`,
    code: fisttp,
    shape: integers,
    run: m => store(m, call(m, 'fist', bits, 1), bits / 8, true),
  });
}
add({ name: 'fbstp', code: [0xdf, 0x30], shape: integers, run: m => store(m, call(m, 'fbst'), 10, true) });
add({ name: 'fxch st2', code: [0xd9, 0xca], run: m => void call(m, 'fxch', 2) });
// The harness has ZF = CF = PF = 0: fcmovne moves, fcmove does not.
add({ name: 'fcmovne', code: [0xdb, 0xca], run: m => void call(m, 'fcmov', 2, 1) });
add({ name: 'fcmove', code: [0xda, 0xca], run: m => void call(m, 'fcmov', 2, 0) });
add({ name: 'ffree st2', code: [0xdd, 0xc2], run: m => void call(m, 'ffree', 2) });
add({ name: 'fninit', code: [0xdb, 0xe3], run: m => void call(m, 'fninit') });
add({ name: 'fnclex', code: [0xdb, 0xe2], run: m => void call(m, 'fnclex') });
add({
  name: 'fldcw',
  code: [0xd9, 0x28],
  memory: memoryInteger,
  run: m => void call(m, 'fldcw', m.view.getUint16(M, true)),
});
/** Exponents of ST(0) and ST(1) from these ranges (biased from, count). */
const exponents =
  (from0: number, count0: number, from1?: number, count1?: number): State['shape'] =>
  (view, st0, st1, random) => {
    if (random() % 8 === 0) return;
    for (const [at, from, count] of [
      [st0, from0, count0],
      [st1, from1, count1],
    ] as const) {
      if (from === undefined || count === undefined) continue;
      view.setUint16(at + 8, from + (random() % count) + (random() & 0x8000), true);
      view.setUint8(at + 7, view.getUint8(at + 7) | 0x80);
    }
  };
for (const [name, low] of [
  ['fsin', 0xfe],
  ['fcos', 0xff],
  ['fsincos', 0xfb],
  ['fptan', 0xf2],
] as const) {
  add({
    name: `${name} near one`,
    code: [0xd9, low],
    ulps: 1,
    shape: exponents(0x3ff8, 14),
    run: m => void call(m, name),
  });
  add({
    name: `${name} far`,
    code: [0xd9, low],
    ulps: 1,
    shape: exponents(0x3ffe, 70),
    run: m => void call(m, name),
  });
  add({
    name: `${name} small`,
    code: [0xd9, low],
    ulps: 1,
    shape: exponents(0x3fbe, 70),
    run: m => void call(m, name),
  });
}
for (const [name, low, ...shape] of [
  ['f2xm1', 0xf0, 0x3ff0, 15],
  ['f2xm1', 0xf0, 0x3fbc, 60],
  ['fyl2x', 0xf1, 0x3ffe, 2, 0x3ffe, 5],
  ['fyl2x', 0xf1, 1, 0x7ffe, 0x3ff0, 30],
  ['fyl2xp1', 0xf9, 0x3fbc, 65, 0x3ff0, 30],
  ['fyl2xp1', 0xf9, 0x3fe0, 30, 0x3ff0, 30],
  ['fpatan', 0xf3, 0x3ffe, 4, 0x3ffe, 4],
  ['fpatan', 0xf3, 0x3fe0, 60, 0x3fe0, 60],
  ['fpatan', 0xf3, 1, 0x7ffe, 1, 0x7ffe],
] as const)
  add({
    name,
    code: [0xd9, low],
    ulps: 1,
    shape: exponents(...(shape as [number, number, number?, number?])),
    run: m => void call(m, name),
  });
add({ name: 'fnstenv, 32 bits', code: [0xd9, 0x30], run: m => void call(m, 'fnstenv', M, 1) });
add({ name: 'fnstenv, 16 bits', code: [0x66, 0xd9, 0x30], run: m => void call(m, 'fnstenv', M, 0) });
/** Control, status and tag words `step` bytes apart. */
const environment =
  (step: number): Case['memory'] =>
  (view, at, random) => {
    for (let i = 0; i < 28; i++) view.setUint8(at + i, 0);
    for (let i = 0; i < 3; i++) view.setUint16(at + i * step, random(), true);
  };
add({
  name: 'fldenv, 32 bits',
  code: [0xd9, 0x20],
  memory: environment(4),
  run: m => void call(m, 'fldenv', M, 1),
});
add({
  name: 'fldenv, 16 bits',
  code: [0x66, 0xd9, 0x20],
  memory: environment(2),
  run: m => void call(m, 'fldenv', M, 0),
});

const reason = h.missingTools();
describe('x87 equals the host', { skip: reason }, () => {
  let m: h.FloatModule;
  let oracle: string;
  before(() => {
    const directory = h.temporaryDirectory();
    m = h.buildFloatModule(directory);
    oracle = h.buildOracle(directory, 'x87-oracle');
  });

  function check(test: Case, count: number, state: State): void {
    const random = h.generator(0x777 + test.name.length * 31 + test.code[1]! * 7 + state.empty);
    const data = new Uint8Array(16 + count * ITEM_BYTES);
    const view = new DataView(data.buffer);
    for (let i = 0; i < 12; i++) view.setUint8(i, test.code[i] ?? 0x90);
    view.setUint32(12, count, true);
    for (let i = 0; i < count; i++) {
      const at = 16 + i * ITEM_BYTES;
      fillState(view, at, random, { ...state, shape: test.shape });
      for (let j = 0; j < 32; j++) view.setUint8(at + 112 + j, 0xa5);
      test.memory?.(view, at + 112, random);
    }
    const want = h.runOracle(oracle, data);
    let failures = 0;
    let text = '';
    for (let i = 0; i < count; i++) {
      const at = 16 + i * ITEM_BYTES;
      const expected = i * RESULT_BYTES;
      m.u8.set(data.subarray(at, at + 112), Place.image);
      m.u8.set(data.subarray(at + 112, at + 144), Place.memory);
      call(m, 'frstor', Place.image, 1);
      const flags = test.run(m);
      call(m, 'fnsave', Place.out, 1);
      const wrong = differences(test, expected, want, flags);
      if (!wrong || isUpToTheProcessor(test, view, at)) continue;
      failures++;
      if (failures > 4) continue;
      text += `\n${wrong}\n   in ${show(view, at, at + 112)}\n  got ${show(m.view, Place.out, Place.memory)}\n want ${show(want, expected, expected + 112)}`;
    }
    assert.equal(failures, 0, `${test.name}: ${failures} of ${count} differ${text}`);
  }

  function differences(test: Case, expected: number, want: DataView, flags: unknown): string {
    let wrong = '';
    for (const [name, offset] of [
      ['fcw', 0],
      ['fsw', 4],
      ['ftw', 8],
    ] as const) {
      let got = m.view.getUint16(Place.out + offset, true);
      let right = want.getUint16(expected + offset, true);
      if (name === 'fsw' && test.ulps) {
        got &= ~0x0200;
        right &= ~0x0200;
      }
      if (got !== right) wrong += `${name} ${got.toString(16)} not ${right.toString(16)} `;
    }
    for (let i = 0; i < 8; i++) {
      const got = m.view.getBigUint64(Place.out + 28 + 10 * i, true);
      const right = want.getBigUint64(expected + 28 + 10 * i, true);
      const gotSe = m.view.getUint16(Place.out + 36 + 10 * i, true);
      const rightSe = want.getUint16(expected + 36 + 10 * i, true);
      if (got === right && gotSe === rightSe) continue;
      if (test.ulps && gotSe >> 15 === rightSe >> 15) {
        const x = (BigInt(gotSe & 0x7fff) << 63n) + (got & ((1n << 63n) - 1n));
        const y = (BigInt(rightSe & 0x7fff) << 63n) + (right & ((1n << 63n) - 1n));
        const distance = x > y ? x - y : y - x;
        if (distance <= BigInt(test.ulps)) continue;
      }
      wrong += `st${i} `;
    }
    for (let i = 0; i < 32; i++) {
      if (m.u8[Place.memory + i] === want.getUint8(expected + 112 + i)) continue;
      wrong += `memory ${m.view.getBigUint64(Place.memory, true).toString(16)} not ${want.getBigUint64(expected + 112, true).toString(16)} `;
      break;
    }
    if (typeof flags === 'number') {
      const right = want.getUint32(expected + 144, true) & 0x45;
      // Before the instruction all three flags are clear.
      if (flags !== right) wrong += `eflags ${flags.toString(16)} not ${right.toString(16)}`;
    }
    return wrong;
  }

  const hex = (view: DataView, at: number): string =>
    `${view
      .getUint16(at + 8, true)
      .toString(16)
      .padStart(4, '0')}.${view.getBigUint64(at, true).toString(16).padStart(16, '0')}`;
  const show = (view: DataView, at: number, memory: number): string =>
    `fcw ${view.getUint16(at, true).toString(16)} fsw ${view.getUint16(at + 4, true).toString(16)} ftw ${view.getUint16(at + 8, true).toString(16)} ` +
    `st ${[0, 1, 2, 3].map(i => hex(view, at + 28 + 10 * i)).join(' ')} memory ${hex(view, memory)}`;

  const more = h.FULL ? 20 : 0.5;
  for (const test of cases) {
    it(`${test.name}${test.shape ? ', shaped' : ''}`, () => {
      check(test, 3000 * more, { masked: true, empty: 0 });
      check(test, 1500 * more, { masked: false, empty: 0 });
      check(test, 600 * more, { masked: true, empty: 5 });
      check(test, 600 * more, { masked: false, empty: 5 });
    });
  }

  it('state images come back in every format', () => {
    for (let format = 0; format < 4; format++) {
      const random = h.generator(5 + format);
      fillState(m.view, Place.image, random, { masked: true, empty: 4 });
      call(m, 'frstor', Place.image, 1);
      const pointer = cpu + Vcpu.offsets.fip;
      m.view.setUint32(pointer, 0xc1234, true);
      call(m, 'fnsave', Place.out, format);
      call(m, 'frstor', Place.out, format);
      assert.equal(
        m.view.getUint32(pointer, true),
        format === 0 ? 0x1234 : 0xc1234,
        `pointer, format ${format}`,
      );
      call(m, 'fnsave', Place.out, 1);
      for (const offset of [0, 4])
        assert.equal(
          m.view.getUint16(Place.out + offset, true),
          m.view.getUint16(Place.image + offset, true),
        );
      for (let i = 28; i < 108; i++) assert.equal(m.u8[Place.out + i], m.u8[Place.image + i]);
    }
  });
});
