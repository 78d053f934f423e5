/**
 * WebAssembly's numbers (core specification 5, threads and SIMD included), under the names of the text format.
 * Prefixed instructions are `prefix << 12 | number`.
 */
export const ValueType = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type Type = keyof typeof ValueType;

export const BLOCK = 0x02;
export const LOOP = 0x03;
export const IF = 0x04;
export const ELSE = 0x05;
export const END = 0x0b;
export const BR = 0x0c;
export const BR_IF = 0x0d;
export const BR_TABLE = 0x0e;
export const RETURN = 0x0f;
export const CALL = 0x10;
export const CALL_INDIRECT = 0x11;
export const RETURN_CALL_INDIRECT = 0x13;
export const DROP = 0x1a;
export const SELECT = 0x1b;
export const LOCAL_GET = 0x20;
export const LOCAL_SET = 0x21;
export const LOCAL_TEE = 0x22;
export const I32_CONST = 0x41;
export const I64_CONST = 0x42;
export const F32_CONST = 0x43;
export const F64_CONST = 0x44;
export const UNREACHABLE = 0x00;
export const VOID = 0x40;

/** Binary and unary operators that exist for both integer types, with the result of the same type. */
export const INTEGER_OPERATORS = {
  add: { i32: 0x6a, i64: 0x7c },
  sub: { i32: 0x6b, i64: 0x7d },
  mul: { i32: 0x6c, i64: 0x7e },
  divS: { i32: 0x6d, i64: 0x7f },
  divU: { i32: 0x6e, i64: 0x80 },
  remS: { i32: 0x6f, i64: 0x81 },
  remU: { i32: 0x70, i64: 0x82 },
  and: { i32: 0x71, i64: 0x83 },
  or: { i32: 0x72, i64: 0x84 },
  xor: { i32: 0x73, i64: 0x85 },
  shl: { i32: 0x74, i64: 0x86 },
  shrS: { i32: 0x75, i64: 0x87 },
  shrU: { i32: 0x76, i64: 0x88 },
  rotl: { i32: 0x77, i64: 0x89 },
  rotr: { i32: 0x78, i64: 0x8a },
} as const;

/** Comparisons of integers; the result is an i32. */
export const INTEGER_COMPARISONS = {
  eq: { i32: 0x46, i64: 0x51 },
  ne: { i32: 0x47, i64: 0x52 },
  ltS: { i32: 0x48, i64: 0x53 },
  ltU: { i32: 0x49, i64: 0x54 },
  gtS: { i32: 0x4a, i64: 0x55 },
  gtU: { i32: 0x4b, i64: 0x56 },
  leS: { i32: 0x4c, i64: 0x57 },
  leU: { i32: 0x4d, i64: 0x58 },
  geS: { i32: 0x4e, i64: 0x59 },
  geU: { i32: 0x4f, i64: 0x5a },
} as const;

export const INTEGER_UNARY = {
  clz: { i32: 0x67, i64: 0x79 },
  ctz: { i32: 0x68, i64: 0x7a },
  popcnt: { i32: 0x69, i64: 0x7b },
  extend8S: { i32: 0xc0, i64: 0xc2 },
  extend16S: { i32: 0xc1, i64: 0xc3 },
} as const;

export const EQZ = { i32: 0x45, i64: 0x50 } as const;
export const I32_WRAP_I64 = 0xa7;
export const I64_EXTEND_I32_S = 0xac;
export const I64_EXTEND_I32_U = 0xad;
export const I64_EXTEND32_S = 0xc4;

/** Loads by result type, width in bytes and signedness; `log2` is the natural alignment. */
export const LOADS = {
  i32: { 1: { u: 0x2d, s: 0x2c }, 2: { u: 0x2f, s: 0x2e }, 4: { u: 0x28, s: 0x28 } },
  i64: { 1: { u: 0x31, s: 0x30 }, 2: { u: 0x33, s: 0x32 }, 4: { u: 0x35, s: 0x34 }, 8: { u: 0x29, s: 0x29 } },
} as const;
export const STORES = {
  i32: { 1: 0x3a, 2: 0x3b, 4: 0x36 },
  i64: { 1: 0x3c, 2: 0x3d, 4: 0x3e, 8: 0x37 },
} as const;
export const F32_LOAD = 0x2a;
export const F64_LOAD = 0x2b;
export const F32_STORE = 0x38;
export const F64_STORE = 0x39;

export const SIMD_PREFIX = 0xfd;
export const ATOMIC_PREFIX = 0xfe;
export const prefixed = (prefix: number, code: number): number => (prefix << 12) | code;
/** cmpxchg by the type of its operands and the width in bytes; the address must be naturally aligned. */
export const ATOMIC_COMPARE_EXCHANGE = {
  i32: {
    1: prefixed(ATOMIC_PREFIX, 0x4a),
    2: prefixed(ATOMIC_PREFIX, 0x4b),
    4: prefixed(ATOMIC_PREFIX, 0x48),
  },
  i64: { 8: prefixed(ATOMIC_PREFIX, 0x49) },
} as const;
export const I32_ATOMIC_RMW_OR = prefixed(ATOMIC_PREFIX, 0x33);
export const V128_LOAD = prefixed(SIMD_PREFIX, 0x00);
export const V128_STORE = prefixed(SIMD_PREFIX, 0x0b);
export const V128_LOAD32_ZERO = prefixed(SIMD_PREFIX, 0x5c);
export const V128_LOAD64_ZERO = prefixed(SIMD_PREFIX, 0x5d);
export const V128_CONST = prefixed(SIMD_PREFIX, 0x0c);
export const I8X16_SHUFFLE = prefixed(SIMD_PREFIX, 0x0d);

/** SIMD operators without immediates, by text-format name: operand types and result type follow from the table. */
const SIMD_BINARY_V: Record<string, number> = {
  'i8x16.swizzle': 0x0e,
  'i8x16.eq': 0x23,
  'i8x16.ne': 0x24,
  'i8x16.lt_s': 0x25,
  'i8x16.lt_u': 0x26,
  'i8x16.gt_s': 0x27,
  'i8x16.gt_u': 0x28,
  'i16x8.eq': 0x2d,
  'i16x8.ne': 0x2e,
  'i16x8.lt_s': 0x2f,
  'i16x8.gt_s': 0x31,
  'i16x8.gt_u': 0x32,
  'i32x4.eq': 0x37,
  'i32x4.ne': 0x38,
  'i32x4.lt_s': 0x39,
  'i32x4.gt_s': 0x3b,
  'i32x4.gt_u': 0x3c,
  'f32x4.eq': 0x41,
  'f32x4.ne': 0x42,
  'f32x4.lt': 0x43,
  'f32x4.gt': 0x44,
  'f32x4.le': 0x45,
  'f32x4.ge': 0x46,
  'f64x2.eq': 0x47,
  'f64x2.ne': 0x48,
  'f64x2.lt': 0x49,
  'f64x2.gt': 0x4a,
  'f64x2.le': 0x4b,
  'f64x2.ge': 0x4c,
  'v128.and': 0x4e,
  'v128.andnot': 0x4f,
  'v128.or': 0x50,
  'v128.xor': 0x51,
  'i8x16.narrow_i16x8_s': 0x65,
  'i8x16.narrow_i16x8_u': 0x66,
  'i8x16.add': 0x6e,
  'i8x16.add_sat_s': 0x6f,
  'i8x16.add_sat_u': 0x70,
  'i8x16.sub': 0x71,
  'i8x16.sub_sat_s': 0x72,
  'i8x16.sub_sat_u': 0x73,
  'i8x16.min_s': 0x76,
  'i8x16.min_u': 0x77,
  'i8x16.max_s': 0x78,
  'i8x16.max_u': 0x79,
  'i8x16.avgr_u': 0x7b,
  'i16x8.q15mulr_sat_s': 0x82,
  'i16x8.narrow_i32x4_s': 0x85,
  'i16x8.narrow_i32x4_u': 0x86,
  'i16x8.add': 0x8e,
  'i16x8.add_sat_s': 0x8f,
  'i16x8.add_sat_u': 0x90,
  'i16x8.sub': 0x91,
  'i16x8.sub_sat_s': 0x92,
  'i16x8.sub_sat_u': 0x93,
  'i16x8.mul': 0x95,
  'i16x8.min_s': 0x96,
  'i16x8.min_u': 0x97,
  'i16x8.max_s': 0x98,
  'i16x8.max_u': 0x99,
  'i16x8.avgr_u': 0x9b,
  'i16x8.extmul_low_i8x16_s': 0x9c,
  'i16x8.extmul_high_i8x16_s': 0x9d,
  'i16x8.extmul_low_i8x16_u': 0x9e,
  'i16x8.extmul_high_i8x16_u': 0x9f,
  'i32x4.add': 0xae,
  'i32x4.sub': 0xb1,
  'i32x4.mul': 0xb5,
  'i32x4.min_s': 0xb6,
  'i32x4.min_u': 0xb7,
  'i32x4.max_s': 0xb8,
  'i32x4.max_u': 0xb9,
  'i32x4.dot_i16x8_s': 0xba,
  'i32x4.extmul_low_i16x8_s': 0xbc,
  'i32x4.extmul_high_i16x8_s': 0xbd,
  'i32x4.extmul_low_i16x8_u': 0xbe,
  'i32x4.extmul_high_i16x8_u': 0xbf,
  'i64x2.add': 0xce,
  'i64x2.sub': 0xd1,
  'i64x2.mul': 0xd5,
  'i64x2.eq': 0xd6,
  'i64x2.ne': 0xd7,
  'i64x2.lt_s': 0xd8,
  'i64x2.gt_s': 0xd9,
  'i64x2.extmul_low_i32x4_s': 0xdc,
  'i64x2.extmul_high_i32x4_s': 0xdd,
  'i64x2.extmul_low_i32x4_u': 0xde,
  'i64x2.extmul_high_i32x4_u': 0xdf,
  'f32x4.add': 0xe4,
  'f32x4.sub': 0xe5,
  'f32x4.mul': 0xe6,
  'f32x4.div': 0xe7,
  'f32x4.pmin': 0xea,
  'f32x4.pmax': 0xeb,
  'f64x2.add': 0xf0,
  'f64x2.sub': 0xf1,
  'f64x2.mul': 0xf2,
  'f64x2.div': 0xf3,
  'f64x2.pmin': 0xf6,
  'f64x2.pmax': 0xf7,
};
const SIMD_UNARY_V: Record<string, number> = {
  'v128.not': 0x4d,
  'i8x16.abs': 0x60,
  'i8x16.neg': 0x61,
  'i8x16.popcnt': 0x62,
  'i16x8.extadd_pairwise_i8x16_s': 0x7c,
  'i16x8.extadd_pairwise_i8x16_u': 0x7d,
  'i32x4.extadd_pairwise_i16x8_s': 0x7e,
  'i32x4.extadd_pairwise_i16x8_u': 0x7f,
  'i16x8.abs': 0x80,
  'i16x8.neg': 0x81,
  'i16x8.extend_low_i8x16_s': 0x87,
  'i16x8.extend_high_i8x16_s': 0x88,
  'i16x8.extend_low_i8x16_u': 0x89,
  'i16x8.extend_high_i8x16_u': 0x8a,
  'i32x4.abs': 0xa0,
  'i32x4.neg': 0xa1,
  'i32x4.extend_low_i16x8_s': 0xa7,
  'i32x4.extend_high_i16x8_s': 0xa8,
  'i32x4.extend_low_i16x8_u': 0xa9,
  'i32x4.extend_high_i16x8_u': 0xaa,
  'i64x2.neg': 0xc1,
  'i64x2.extend_low_i32x4_s': 0xc7,
  'i64x2.extend_high_i32x4_s': 0xc8,
  'i64x2.extend_low_i32x4_u': 0xc9,
  'i64x2.extend_high_i32x4_u': 0xca,
  'f32x4.sqrt': 0xe3,
  'f32x4.abs': 0xe0,
  'f32x4.ceil': 0x67,
  'f32x4.floor': 0x68,
  'f32x4.trunc': 0x69,
  'f32x4.nearest': 0x6a,
  'f64x2.sqrt': 0xef,
  'f64x2.abs': 0xec,
  'f64x2.ceil': 0x74,
  'f64x2.floor': 0x75,
  'f64x2.trunc': 0x7a,
  'f64x2.nearest': 0x94,
  'i32x4.trunc_sat_f32x4_s': 0xf8,
  'f32x4.convert_i32x4_s': 0xfa,
  'i32x4.trunc_sat_f64x2_s_zero': 0xfc,
  'f64x2.convert_low_i32x4_s': 0xfe,
  'f32x4.demote_f64x2_zero': 0x5e,
  'f64x2.promote_low_f32x4': 0x5f,
};
const SIMD_TERNARY_V: Record<string, number> = {
  'v128.bitselect': 0x52,
};
const SIMD_SHIFT: Record<string, number> = {
  'i8x16.shl': 0x6b,
  'i8x16.shr_s': 0x6c,
  'i8x16.shr_u': 0x6d,
  'i16x8.shl': 0x8b,
  'i16x8.shr_s': 0x8c,
  'i16x8.shr_u': 0x8d,
  'i32x4.shl': 0xab,
  'i32x4.shr_s': 0xac,
  'i32x4.shr_u': 0xad,
  'i64x2.shl': 0xcb,
  'i64x2.shr_s': 0xcc,
  'i64x2.shr_u': 0xcd,
};
const SIMD_TO_I32: Record<string, number> = {
  'v128.any_true': 0x53,
  'i8x16.all_true': 0x63,
  'i8x16.bitmask': 0x64,
  'i16x8.bitmask': 0x84,
  'i32x4.bitmask': 0xa4,
  'i64x2.bitmask': 0xc4,
};
const SIMD_SPLAT: Record<string, [number, Type]> = {
  'i8x16.splat': [0x0f, 'i32'],
  'i16x8.splat': [0x10, 'i32'],
  'i32x4.splat': [0x11, 'i32'],
  'i64x2.splat': [0x12, 'i64'],
};

export interface Operator {
  readonly opcode: number;
  readonly parameters: readonly Type[];
  readonly result: Type;
}

const simd = (code: number, parameters: readonly Type[], result: Type): Operator => ({
  opcode: prefixed(SIMD_PREFIX, code),
  parameters,
  result,
});

export const SIMD_OPERATORS: ReadonlyMap<string, Operator> = new Map([
  ...Object.entries(SIMD_BINARY_V).map(([n, c]) => [n, simd(c, ['v128', 'v128'], 'v128')] as const),
  ...Object.entries(SIMD_UNARY_V).map(([n, c]) => [n, simd(c, ['v128'], 'v128')] as const),
  ...Object.entries(SIMD_TERNARY_V).map(([n, c]) => [n, simd(c, ['v128', 'v128', 'v128'], 'v128')] as const),
  ...Object.entries(SIMD_SHIFT).map(([n, c]) => [n, simd(c, ['v128', 'i32'], 'v128')] as const),
  ...Object.entries(SIMD_TO_I32).map(([n, c]) => [n, simd(c, ['v128'], 'i32')] as const),
  ...Object.entries(SIMD_SPLAT).map(([n, [c, t]]) => [n, simd(c, [t], 'v128')] as const),
]);

/** Lane accessors: opcode and scalar type by lane shape. */
export const EXTRACT_LANE = {
  i8x16u: [prefixed(SIMD_PREFIX, 0x16), 'i32'],
  i16x8u: [prefixed(SIMD_PREFIX, 0x19), 'i32'],
  i32x4: [prefixed(SIMD_PREFIX, 0x1b), 'i32'],
  i64x2: [prefixed(SIMD_PREFIX, 0x1d), 'i64'],
  f32x4: [prefixed(SIMD_PREFIX, 0x1f), 'f32'],
  f64x2: [prefixed(SIMD_PREFIX, 0x21), 'f64'],
} as const satisfies Record<string, readonly [number, Type]>;
export const REPLACE_LANE = {
  i8x16: prefixed(SIMD_PREFIX, 0x17),
  i16x8: prefixed(SIMD_PREFIX, 0x1a),
  i32x4: prefixed(SIMD_PREFIX, 0x1c),
  i64x2: prefixed(SIMD_PREFIX, 0x1e),
  f32x4: prefixed(SIMD_PREFIX, 0x20),
  f64x2: prefixed(SIMD_PREFIX, 0x22),
} as const;

/** Scalar floating-point operators by text-format name: those that both types have, from their first opcode on. */
const FLOAT_COMPARISONS = ['eq', 'ne', 'lt', 'gt', 'le', 'ge'];
// biome-ignore format: a table
const FLOAT_ARITHMETIC = ['abs', 'neg', 'ceil', 'floor', 'trunc', 'nearest', 'sqrt', 'add', 'sub', 'mul', 'div', 'min', 'max', 'copysign'];
const FIRST_BINARY = FLOAT_ARITHMETIC.indexOf('add');
const SATURATING_PREFIX = 0xfc;
/** Name, opcode, operand type, result type. */
const FLOAT_CONVERSIONS: readonly (readonly [string, number, Type, Type])[] = [
  ['f32.convert_i32_s', 0xb2, 'i32', 'f32'],
  ['f32.convert_i64_s', 0xb4, 'i64', 'f32'],
  ['f32.demote_f64', 0xb6, 'f64', 'f32'],
  ['f64.convert_i32_s', 0xb7, 'i32', 'f64'],
  ['f64.convert_i64_s', 0xb9, 'i64', 'f64'],
  ['f64.promote_f32', 0xbb, 'f32', 'f64'],
  ['i32.reinterpret_f32', 0xbc, 'f32', 'i32'],
  ['i64.reinterpret_f64', 0xbd, 'f64', 'i64'],
  ['f32.reinterpret_i32', 0xbe, 'i32', 'f32'],
  ['f64.reinterpret_i64', 0xbf, 'i64', 'f64'],
  ['i32.trunc_sat_f32_s', prefixed(SATURATING_PREFIX, 0), 'f32', 'i32'],
  ['i32.trunc_sat_f64_s', prefixed(SATURATING_PREFIX, 2), 'f64', 'i32'],
  ['i64.trunc_sat_f32_s', prefixed(SATURATING_PREFIX, 4), 'f32', 'i64'],
  ['i64.trunc_sat_f64_s', prefixed(SATURATING_PREFIX, 6), 'f64', 'i64'],
];
const floatOperators = (type: 'f32' | 'f64', comparisons: number, arithmetic: number) => [
  ...FLOAT_COMPARISONS.map(
    (name, i) =>
      [`${type}.${name}`, { opcode: comparisons + i, parameters: [type, type], result: 'i32' }] as const,
  ),
  ...FLOAT_ARITHMETIC.map(
    (name, i) =>
      [
        `${type}.${name}`,
        { opcode: arithmetic + i, parameters: i < FIRST_BINARY ? [type] : [type, type], result: type },
      ] as const,
  ),
];
export const FLOAT_OPERATORS: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ...floatOperators('f32', 0x5b, 0x8b),
  ...floatOperators('f64', 0x61, 0x99),
  ...FLOAT_CONVERSIONS.map(
    ([name, opcode, from, result]) => [name, { opcode, parameters: [from], result }] as const,
  ),
]);
