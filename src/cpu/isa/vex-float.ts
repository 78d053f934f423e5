/**
 * Floating point of AVX, FMA and F16C (SDM vol. 1, 14.2 to 14.5). As for SSE the runtime module computes; each call handles 16
 * bytes of the result, which goes to the vCPU block's `temp` first: the destination changes when nothing faults any more.
 */

import { Vcpu } from '../vcpu/layout.ts';
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, defineVex, type Options, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import { simdFaultIf } from './sse-common.ts';
import { compareFlags, toInteger } from './sse-float.ts';
import { AVX, vexEncoding } from './vex-common.ts';

const EXCEPTIONS = 0x3f;
/** Invalid, denormal, division by zero: they come before the computation. */
const EARLY = 7;

const temporary = (x: Emitter): Value => x.let(w.add(x.cpu, w.i32(Vcpu.offsets.temp)));
const at = (address: Value, offset: number): Value => w.add(address, w.i32(offset));

/**
 * Run an operation on each part and raise what it reports: exceptions of all parts are one instruction's. When one is unmasked, the
 * flags are what the parts together raise, which means finding that out again from clear flags.
 */
function runParts(x: Emitter, count: number, run: (part: number) => Value): void {
  if (count === 1) {
    simdFaultIf(x, run(0));
    return;
  }
  const before = x.let(x.field('mxcsr'));
  const unmasked = x.let(w.or(run(0), run(1)));
  x.if(unmasked, () => {
    x.setField('mxcsr', w.and(before, w.i32(~EXCEPTIONS)));
    run(0);
    run(1);
    const raised = x.let(w.and(x.field('mxcsr'), w.i32(EXCEPTIONS)));
    const early = w.and(w.and(raised, w.i32(EARLY)), w.not(w.shrU(before, w.i32(7))));
    x.setField('mxcsr', w.or(before, w.select(early, w.and(raised, w.i32(EARLY)), raised)));
    simdFaultIf(x, w.i32(1));
  });
}
/** What `temp` has, as a destination of this size takes it. */
const results = (target: Operand, temp: Value): Value[] => {
  if (target.size < 16) return [w.loadZeroExtended(8, temp)];
  return target.size === 32 ? [w.loadV128(temp), w.loadV128(temp, 16)] : [w.loadV128(temp)];
};

/** destination = name(first, second), or with an immediate of which `mask` counts. */
const binary =
  (name: string, mask = 0): Semantics =>
  (x, destination, first, second, immediate) => {
    const target = destination as Operand;
    const b = x.let((second as Operand).location());
    const a = x.let((first as Operand).location());
    const temp = temporary(x);
    const rest = immediate ? [x.let(w.and(immediate.read(), w.i32(mask)))] : [];
    runParts(x, target.size / 16, i =>
      x.runtime(name, at(a, 16 * i), at(b, 16 * i), at(temp, 16 * i), ...rest),
    );
    target.writeParts(results(target, temp));
  };
/** The same for the low element; the others are those of the first source. */
const scalar =
  (name: string, mask = 0): Semantics =>
  (x, destination, first, second, immediate) => {
    const b = x.let((second as Operand).location());
    const source = first as Operand;
    const a = x.let(source.location());
    const temp = temporary(x);
    x.code.store(16, temp, source.readVector());
    const rest = immediate ? [x.let(w.and(immediate.read(), w.i32(mask)))] : [];
    simdFaultIf(x, x.runtime(name, a, b, temp, ...rest));
    (destination as Operand).writeParts([w.loadV128(temp)]);
  };
/**
 * destination = name(source).
 * @param quiet it raises nothing and returns nothing
 */
const unary =
  (name: string, quiet = false): Semantics =>
  (x, destination, source, immediate) => {
    const target = destination as Operand;
    const from = x.let((source as Operand).location());
    const temp = temporary(x);
    const rest = immediate ? [immediate.read()] : [];
    const parts = Math.max(target.size, (source as Operand).size) / 16;
    // Of a conversion between sizes the narrow side has half of each part.
    const [step, targetStep] = [(source as Operand).size / parts, target.size / parts];
    const run = (i: number) => x.runtime(name, at(from, step * i), at(temp, targetStep * i), ...rest);
    if (quiet) for (let i = 0; i < parts; i++) run(i);
    else runParts(x, parts, run);
    target.writeParts(results(target, temp));
  };
const scalarUnary =
  (name: string, quiet = false): Semantics =>
  (x, destination, first, second, immediate) => {
    const from = x.let((second as Operand).location());
    const temp = temporary(x);
    x.code.store(16, temp, (first as Operand).readVector());
    const rest = immediate ? [immediate.read()] : [];
    const unmasked = x.runtime(name, from, temp, ...rest);
    if (!quiet) simdFaultIf(x, unmasked);
    (destination as Operand).writeParts([w.loadV128(temp)]);
  };
/** Conversions to half as many bytes of 128 bits fill the rest of the 16 with zeros. */
const narrow =
  (name: string): Semantics =>
  (x, destination, source) => {
    const from = x.let((source as Operand).location());
    const temp = temporary(x);
    runParts(x, (source as Operand).size / 16, i => x.runtime(name, at(from, 16 * i), at(temp, 8 * i)));
    (destination as Operand).writeParts([w.loadV128(temp)]);
  };
/** VCVTPS2PH: a store's faults come before those of the conversion, which then has not happened. */
const toHalf: Semantics = (x, destination, source, immediate) => {
  const target = destination as Operand;
  const from = x.let((source as Operand).location());
  const control = (immediate as Operand).read();
  const temp = temporary(x);
  const convert = () =>
    runParts(x, (source as Operand).size / 16, i =>
      x.runtime('cvtps2ph', at(from, 16 * i), at(temp, 8 * i), control),
    );
  if (!target.isMemory) {
    convert();
    target.writeParts(results(target, temp));
    return;
  }
  x.writable(target.address(), target.size, host => {
    convert();
    for (let i = 0; i < target.size; i += 8) x.code.store(8, host, w.load('i64', 8, temp, i), i);
  });
};
const fromInteger =
  (kind: 'ss' | 'sd'): Semantics =>
  (x, destination, first, second) => {
    const value = (second as Operand).read();
    const temp = temporary(x);
    x.code.store(16, temp, (first as Operand).readVector());
    simdFaultIf(x, x.runtime(`cvtsi${value.type === 'i64' ? 64 : 32}${kind}`, value, temp));
    (destination as Operand).writeParts([w.loadV128(temp)]);
  };
/** MPSADBW: the runtime's as well, three bits of the immediate for each part. */
const windows: Semantics = (x, destination, first, second, immediate) => {
  const target = destination as Operand;
  const b = x.let((second as Operand).location());
  const a = x.let((first as Operand).location());
  const temp = temporary(x);
  const control = (immediate as Operand).read();
  for (let i = 0; i < target.size / 16; i++) {
    const field = w.and(w.shrU(control, w.i32(3 * i)), w.i32(7));
    x.runtime('sumDifferenceWindows', at(a, 16 * i), at(b, 16 * i), at(temp, 16 * i), field);
  }
  target.writeParts(results(target, temp));
};

// ---- fused multiplication and addition ----

/** Which operands (0 destination, 1, 2) are multiplied, and which one is added. */
const ORDERS: [string, readonly [number, number, number]][] = [
  ['132', [0, 2, 1]],
  ['213', [1, 0, 2]],
  ['231', [1, 2, 0]],
];
const fused =
  (name: string, kind: number, [a, b, c]: readonly [number, number, number], isScalar: boolean): Semantics =>
  (x, ...given) => {
    const operands = given as Operand[];
    const target = operands[0] as Operand;
    // The memory operand is the last one: what can fault comes first.
    const last = x.let((operands[2] as Operand).location());
    const places = [x.let(target.location()), x.let((operands[1] as Operand).location()), last];
    const temp = temporary(x);
    const run = (i: number) => {
      const [first, second, third] = [a, b, c].map(n => at(places[n] as Value, 16 * i)) as [
        Value,
        Value,
        Value,
      ];
      return x.runtime(name, first, second, third, at(temp, 16 * i), w.i32(kind));
    };
    if (isScalar) x.code.store(16, temp, target.readVector());
    runParts(x, target.size / 16, run);
    target.writeParts(results(target, temp));
  };
/** Low opcode digit of the 132 order, kind of the runtime's function, packed only. */
const FUSED: [string, number, number, boolean][] = [
  ['fmaddsub', 0x6, 6, true],
  ['fmsubadd', 0x7, 4, true],
  ['fmadd', 0x8, 0, false],
  ['fmsub', 0xa, 2, false],
  ['fnmadd', 0xc, 1, false],
  ['fnmsub', 0xe, 3, false],
];
const hex = (n: number): string => n.toString(16).toUpperCase();
const fusedEntries = FUSED.flatMap(([operation, digit, kind, packedOnly]) =>
  ORDERS.flatMap(([order, places], i) =>
    [0, 1].flatMap(w1 => {
      const [packed, single] = w1 ? ['pd', 'sd'] : ['ps', 'ss'];
      const encoding = (n: number, length: string) =>
        `VEX.${length}66.0F38.W${w1} ${hex(0x90 + 0x10 * i + n)} /r`;
      const name = `v${operation}${order}`;
      const wide = fused(`fma${packed}`, kind, places, false);
      const entries = defineVex(`${name}${packed}`, encoding(digit, ''), 'Vx Hx Wx', wide);
      if (packedOnly) return entries;
      const narrowed = fused(`fma${single}`, kind, places, true);
      return [
        ...entries,
        define(`${name}${single}`, encoding(digit + 1, 'LIG.'), `Vx Hx W${w1 ? 'q' : 'd'}`, narrowed, AVX),
      ];
    }),
  ),
);

// ---- the table ----

const FORMS = [
  ['ps', 'NP'],
  ['pd', '66'],
  ['ss', 'F3'],
  ['sd', 'F2'],
] as const;
/** The four forms of an operation with two sources. */
const family = (name: string, opcode: string, mask = 0): Definition[] =>
  FORMS.flatMap(([suffix, prefix]) => {
    const encoding = `${prefix} 0F ${opcode} /r`;
    const rest = mask > 0 ? ' Ib' : '';
    const full = `${name}${suffix}`;
    if (suffix[0] === 'p')
      return defineVex(`v${full}`, vexEncoding(encoding), `Vx Hx Wx${rest}`, binary(full, mask));
    const low = suffix === 'ss' ? 'Wd' : 'Wq';
    return define(`v${full}`, vexEncoding(encoding, 'LIG'), `Vx Hx ${low}${rest}`, scalar(full, mask), AVX);
  });
const packed = (name: string, encoding: string, operands = 'Vx Wx'): Definition[] =>
  defineVex(`v${name}`, vexEncoding(encoding), operands, unary(name));
const horizontal = (name: string, encoding: string): Definition[] =>
  defineVex(`v${name}`, vexEncoding(encoding), 'Vx Hx Wx', binary(name));
const lig = (name: string, encoding: string, operands: string, semantics: Semantics, options = AVX) =>
  define(`v${name}`, vexEncoding(encoding, 'LIG'), operands, semantics, options);
const FLAGS: Options = { ...AVX, writes: 'oszapc' };

export const vexFloats: Definition[] = [
  ...family('add', '58'),
  ...family('mul', '59'),
  ...family('sub', '5C'),
  ...family('min', '5D'),
  ...family('div', '5E'),
  ...family('max', '5F'),
  ...family('cmp', 'C2', 31),
  ...packed('sqrtps', 'NP 0F 51 /r'),
  ...packed('sqrtpd', '66 0F 51 /r'),
  lig('sqrtss', 'F3 0F 51 /r', 'Vx Hx Wd', scalarUnary('sqrtss')),
  lig('sqrtsd', 'F2 0F 51 /r', 'Vx Hx Wq', scalarUnary('sqrtsd')),
  ...defineVex('vrsqrtps', 'VEX.0F 52 /r', 'Vx Wx', unary('rsqrtps', true)),
  lig('rsqrtss', 'F3 0F 52 /r', 'Vx Hx Wd', scalarUnary('rsqrtss', true)),
  ...defineVex('vrcpps', 'VEX.0F 53 /r', 'Vx Wx', unary('rcpps', true)),
  lig('rcpss', 'F3 0F 53 /r', 'Vx Hx Wd', scalarUnary('rcpss', true)),
  lig('ucomiss', 'NP 0F 2E /r', 'Vd Wd', compareFlags('ucomiss'), FLAGS),
  lig('ucomisd', '66 0F 2E /r', 'Vq Wq', compareFlags('ucomisd'), FLAGS),
  lig('comiss', 'NP 0F 2F /r', 'Vd Wd', compareFlags('comiss'), FLAGS),
  lig('comisd', '66 0F 2F /r', 'Vq Wq', compareFlags('comisd'), FLAGS),
  lig('cvtsi2ss', 'F3 0F 2A /r', 'Vx Hx Ey', fromInteger('ss')),
  lig('cvtsi2sd', 'F2 0F 2A /r', 'Vx Hx Ey', fromInteger('sd')),
  lig('cvttss2si', 'F3 0F 2C /r', 'Gy Wd', toInteger('cvttss')),
  lig('cvttsd2si', 'F2 0F 2C /r', 'Gy Wq', toInteger('cvttsd')),
  lig('cvtss2si', 'F3 0F 2D /r', 'Gy Wd', toInteger('cvtss')),
  lig('cvtsd2si', 'F2 0F 2D /r', 'Gy Wq', toInteger('cvtsd')),
  ...packed('cvtps2pd', 'NP 0F 5A /r', 'Vx Wh'),
  ...defineVex('vcvtpd2ps', 'VEX.66.0F 5A /r', 'Vdq Wx', narrow('cvtpd2ps')),
  lig('cvtss2sd', 'F3 0F 5A /r', 'Vx Hx Wd', scalarUnary('cvtss2sd')),
  lig('cvtsd2ss', 'F2 0F 5A /r', 'Vx Hx Wq', scalarUnary('cvtsd2ss')),
  ...packed('cvtdq2ps', 'NP 0F 5B /r'),
  ...packed('cvtps2dq', '66 0F 5B /r'),
  ...packed('cvttps2dq', 'F3 0F 5B /r'),
  ...defineVex('vcvttpd2dq', 'VEX.66.0F E6 /r', 'Vdq Wx', narrow('cvttpd2dq')),
  ...packed('cvtdq2pd', 'F3 0F E6 /r', 'Vx Wh'),
  ...defineVex('vcvtpd2dq', 'VEX.F2.0F E6 /r', 'Vdq Wx', narrow('cvtpd2dq')),
  ...horizontal('haddpd', '66 0F 7C /r'),
  ...horizontal('haddps', 'F2 0F 7C /r'),
  ...horizontal('hsubpd', '66 0F 7D /r'),
  ...horizontal('hsubps', 'F2 0F 7D /r'),
  ...horizontal('addsubpd', '66 0F D0 /r'),
  ...horizontal('addsubps', 'F2 0F D0 /r'),
  ...defineVex('vroundps', 'VEX.66.0F3A 08 /r', 'Vx Wx Ib', unary('roundps')),
  ...defineVex('vroundpd', 'VEX.66.0F3A 09 /r', 'Vx Wx Ib', unary('roundpd')),
  lig('roundss', '66 0F 3A 0A /r', 'Vx Hx Wd Ib', scalarUnary('roundss')),
  lig('roundsd', '66 0F 3A 0B /r', 'Vx Hx Wq Ib', scalarUnary('roundsd')),
  ...defineVex('vdpps', 'VEX.66.0F3A 40 /r', 'Vx Hx Wx Ib', binary('dpps', 0xff)),
  define('vdppd', 'VEX.128.66.0F3A 41 /r', 'Vx Hx Wx Ib', binary('dppd', 0xff), AVX),
  ...defineVex('vmpsadbw', 'VEX.66.0F3A 42 /r', 'Vx Hx Wx Ib', windows),
  ...fusedEntries,
  ...defineVex('vcvtph2ps', 'VEX.66.0F38.W0 13 /r', 'Vx Wh', unary('cvtph2ps')),
  ...defineVex('vcvtps2ph', 'VEX.66.0F3A.W0 1D /r', 'Wh Vx Ib', toHalf),
];
