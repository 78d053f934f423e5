/**
 * One WebAssembly function under construction: typed expressions, and statements written as they are called.
 *
 * A `Value` is a pure expression, emitted each time it is used; `let` evaluates one now and gives a value that may be
 * used many times. Statements (`store`, `set`, `if`, ...) append to the body in call order. Operators choose the
 * instruction by the operands' type, so that code generic in the operand size is written once.
 */
import { invariant } from '../../base/errors.ts';
import { ByteWriter } from './bytes.ts';
import type { Type } from './opcodes.ts';
import * as op from './opcodes.ts';

export type { Type } from './opcodes.ts';

/** A pure typed expression. */
export interface Value {
  readonly type: Type;
  readonly opcode: number;
  readonly operands: readonly Value[];
  /** The number itself for integer constants. */
  readonly constant: number | bigint | undefined;
  /** What else follows the opcode: a local's index, the offset of an access, or bytes (a v128, lanes). */
  readonly immediate: number | readonly number[] | undefined;
}
export interface Local extends Value {
  readonly immediate: number;
}
/** A place to branch to: a nesting depth. */
export interface Label {
  readonly depth: number;
}
/** A function that can be called: its index in the module, and its type. */
export interface Callee {
  readonly index: number;
  readonly params: readonly Type[];
  readonly result?: Type | undefined;
}

/** Whether the branch at an offset of a function's body is usually taken. */
export interface BranchHint {
  readonly offset: number;
  readonly isLikely: boolean;
}

const NONE: readonly Value[] = [];
/** Every value has the same shape, which keeps the code that walks them fast. */
const node = (
  type: Type,
  opcode: number,
  operands: readonly Value[],
  immediate?: number | readonly number[],
): Value => ({ type, opcode, operands, constant: undefined, immediate });
const constantNode = (type: Type, opcode: number, constant: number | bigint): Value => ({
  type,
  opcode,
  operands: NONE,
  constant,
  immediate: undefined,
});

export const i32 = (n: number): Value => constantNode('i32', op.I32_CONST, n | 0);
export const i64 = (n: number | bigint): Value => constantNode('i64', op.I64_CONST, n);
/** A constant of the given integer type. */
export const integer = (type: Type, n: number | bigint): Value => (type === 'i64' ? i64(n) : i32(Number(n)));
export const v128 = (bytes: readonly number[]): Value => node('v128', op.V128_CONST, NONE, bytes);

type IntegerType = 'i32' | 'i64';
const integerType = (v: Value): IntegerType => {
  invariant(v.type === 'i32' || v.type === 'i64', `integer wanted, got ${v.type}`);
  return v.type;
};

/** Is it this constant? Loosely equal, since constants are numbers or bigints. */
const isConst = (v: Value, n: number): boolean =>
  v.constant === n || (typeof v.constant === 'bigint' && v.constant === BigInt(n));

/** What a constant expression comes to, for the operators that generated code is full of. */
const FOLD: Readonly<Record<string, (a: bigint, b: bigint, bits: bigint) => bigint>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b, bits) => a << (b & (bits - 1n)),
  shrU: (a, b, bits) => BigInt.asUintN(Number(bits), a) >> (b & (bits - 1n)),
  shrS: (a, b, bits) => BigInt.asIntN(Number(bits), a) >> (b & (bits - 1n)),
};

function binary(table: { i32: number; i64: number }, a: Value, b: Value, result?: Type): Value {
  const type = integerType(a);
  invariant(a.type === b.type, `operands differ in type: ${a.type}, ${b.type}`);
  return node(result ?? type, table[type], [a, b]);
}
function folding(name: keyof typeof op.INTEGER_OPERATORS, a: Value, b: Value): Value {
  const fold = a.constant !== undefined && b.constant !== undefined ? FOLD[name] : undefined;
  if (!fold) return binary(op.INTEGER_OPERATORS[name], a, b);
  const value = fold(BigInt(a.constant ?? 0), BigInt(b.constant ?? 0), a.type === 'i64' ? 64n : 32n);
  return a.type === 'i64' ? i64(BigInt.asIntN(64, value)) : i32(Number(BigInt.asIntN(32, value)));
}
export const add = (a: Value, b: Value): Value =>
  isConst(b, 0) ? a : isConst(a, 0) ? b : folding('add', a, b);
export const sub = (a: Value, b: Value): Value => (isConst(b, 0) ? a : folding('sub', a, b));
export const mul = (a: Value, b: Value): Value => folding('mul', a, b);
export const divS = (a: Value, b: Value): Value => binary(op.INTEGER_OPERATORS.divS, a, b);
export const divU = (a: Value, b: Value): Value => binary(op.INTEGER_OPERATORS.divU, a, b);
export const remS = (a: Value, b: Value): Value => binary(op.INTEGER_OPERATORS.remS, a, b);
export const remU = (a: Value, b: Value): Value => binary(op.INTEGER_OPERATORS.remU, a, b);
export const and = (a: Value, b: Value): Value => (isConst(b, 0) ? b : folding('and', a, b));
export const or = (a: Value, b: Value): Value =>
  isConst(b, 0) ? a : isConst(a, 0) ? b : folding('or', a, b);
export const xor = (a: Value, b: Value): Value => folding('xor', a, b);
export const shl = (a: Value, b: Value): Value => (isConst(b, 0) ? a : folding('shl', a, b));
export const shrS = (a: Value, b: Value): Value => (isConst(b, 0) ? a : folding('shrS', a, b));
export const shrU = (a: Value, b: Value): Value => (isConst(b, 0) ? a : folding('shrU', a, b));
export const rotl = (a: Value, b: Value): Value => binary(op.INTEGER_OPERATORS.rotl, a, b);
export const rotr = (a: Value, b: Value): Value => binary(op.INTEGER_OPERATORS.rotr, a, b);
export const not = (a: Value): Value => xor(a, integer(a.type, -1));

export const eq = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.eq, a, b, 'i32');
export const ne = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.ne, a, b, 'i32');
export const ltS = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.ltS, a, b, 'i32');
export const ltU = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.ltU, a, b, 'i32');
export const gtS = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.gtS, a, b, 'i32');
export const gtU = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.gtU, a, b, 'i32');
export const leS = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.leS, a, b, 'i32');
export const leU = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.leU, a, b, 'i32');
export const geS = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.geS, a, b, 'i32');
export const geU = (a: Value, b: Value): Value => binary(op.INTEGER_COMPARISONS.geU, a, b, 'i32');
export const eqz = (a: Value): Value =>
  a.constant !== undefined ? i32(isConst(a, 0) ? 1 : 0) : node('i32', op.EQZ[integerType(a)], [a]);
/** 1 when `a` is not zero, else 0. */
export const truth = (a: Value): Value =>
  a.constant !== undefined ? i32(isConst(a, 0) ? 0 : 1) : ne(a, integer(a.type, 0));

const unary = (table: { i32: number; i64: number }, a: Value): Value =>
  node(a.type, table[integerType(a)], [a]);
export const clz = (a: Value): Value => unary(op.INTEGER_UNARY.clz, a);
export const ctz = (a: Value): Value => unary(op.INTEGER_UNARY.ctz, a);
export const popcnt = (a: Value): Value => unary(op.INTEGER_UNARY.popcnt, a);
export const extend8S = (a: Value): Value => unary(op.INTEGER_UNARY.extend8S, a);
export const extend16S = (a: Value): Value => unary(op.INTEGER_UNARY.extend16S, a);
export const extend32S = (a: Value): Value => node('i64', op.I64_EXTEND32_S, [a]);

/** i64 to i32; an i32 stays as it is. */
export const wrap = (a: Value): Value =>
  a.type === 'i32'
    ? a
    : a.constant !== undefined
      ? i32(Number(BigInt.asIntN(32, BigInt(a.constant))))
      : a.opcode === op.I64_EXTEND_I32_U || a.opcode === op.I64_EXTEND_I32_S
        ? (a.operands[0] as Value)
        : node('i32', op.I32_WRAP_I64, [a]);
/** i32 to i64 with zeros; an i64 stays as it is. */
export const extendU = (a: Value): Value =>
  a.type === 'i64'
    ? a
    : a.constant !== undefined
      ? i64(Number(a.constant) >>> 0)
      : node('i64', op.I64_EXTEND_I32_U, [a]);
export const extendS = (a: Value): Value =>
  a.type === 'i64' ? a : a.constant !== undefined ? i64(a.constant) : node('i64', op.I64_EXTEND_I32_S, [a]);

export const select = (condition: Value, whenTrue: Value, whenFalse: Value): Value =>
  condition.constant !== undefined
    ? isConst(condition, 0)
      ? whenFalse
      : whenTrue
    : node(whenTrue.type, op.SELECT, [whenTrue, whenFalse, condition]);

/** An integer load of `width` bytes, zero-extended unless `signed`. It is a pure expression: mind the order of stores. */
export function load(type: IntegerType, width: number, address: Value, offset = 0, signed = false): Value {
  const row = (op.LOADS[type] as Record<number, { u: number; s: number }>)[width];
  invariant(row, `no load of ${width} bytes to ${type}`);
  return node(type, signed ? row.s : row.u, [address], offset);
}
export const loadF32 = (address: Value, offset = 0): Value => node('f32', op.F32_LOAD, [address], offset);
export const loadF64 = (address: Value, offset = 0): Value => node('f64', op.F64_LOAD, [address], offset);
export const loadV128 = (address: Value, offset = 0): Value => node('v128', op.V128_LOAD, [address], offset);

/** 4 or 8 bytes into the low lane of a vector, the rest zero. */
export const loadZeroExtended = (width: 4 | 8, address: Value, offset = 0): Value =>
  node('v128', width === 8 ? op.V128_LOAD64_ZERO : op.V128_LOAD32_ZERO, [address], offset);

function operation(
  operators: ReadonlyMap<string, op.Operator>,
  name: string,
  operands: readonly Value[],
): Value {
  const found = operators.get(name);
  invariant(found, `unknown operator ${name}`);
  operands.forEach((operand, i) => {
    invariant(operand.type === found.parameters[i], `${name}: operand ${i} is ${operand.type}`);
  });
  return node(found.result, found.opcode, operands);
}
/** A SIMD operator by its text-format name, such as 'i32x4.add'. */
export const simd = (name: string, ...operands: Value[]): Value =>
  operation(op.SIMD_OPERATORS, name, operands);
/** A scalar floating-point operator by its text-format name, such as 'f64.add'. */
export const float = (name: string, ...operands: Value[]): Value =>
  operation(op.FLOAT_OPERATORS, name, operands);
/** Bytes of `a` (0..15) and `b` (16..31) picked by `lanes`. */
export const shuffle = (a: Value, b: Value, lanes: readonly number[]): Value =>
  node('v128', op.I8X16_SHUFFLE, [a, b], lanes);
export function extractLane(shape: keyof typeof op.EXTRACT_LANE, vector: Value, lane: number): Value {
  const [opcode, type] = op.EXTRACT_LANE[shape];
  return node(type, opcode, [vector], [lane]);
}
export const replaceLane = (
  shape: keyof typeof op.REPLACE_LANE,
  vector: Value,
  lane: number,
  v: Value,
): Value => node('v128', op.REPLACE_LANE[shape], [vector, v], [lane]);

/** Any other instruction with a plain opcode, for conversions and floating point. */
export const instruction = (type: Type, opcode: number, ...operands: Value[]): Value =>
  node(type, opcode, operands);

/** Add the locals that an expression reads to `found`. */
export function collectLocals(value: Value, found: Set<number>): void {
  if (value.opcode === op.LOCAL_GET) found.add((value as Local).immediate);
  for (const operand of value.operands) collectLocals(operand, found);
}

/** Buffers of functions that are finished, for the next ones: fresh memory costs more than what is written to it. */
const spareBodies: ByteWriter[] = [];

export class Code {
  readonly #body = spareBodies.pop() ?? new ByteWriter();
  readonly #params: readonly Type[];
  readonly #localTypes: Type[] = [];
  /** Locals that `release` gave back, by type. */
  readonly #free: Record<Type, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  #taken: { type: Type; index: number }[] = [];
  #depth = 0;
  readonly #hints: BranchHint[] = [];
  #headerBytes = 0;
  /** The last `local.set`: where it ends, and which local. Read at once, it becomes a `local.tee`. */
  #lastSet = { end: -1, start: -1, local: -1 };

  constructor(params: readonly Type[]) {
    this.#params = params;
  }

  parameter(index: number): Local {
    return this.#localValue(this.#params[index] as Type, index);
  }

  #localValue(type: Type, index: number): Local {
    return node(type, op.LOCAL_GET, NONE, index) as Local;
  }

  /** A fresh local variable with no defined value. */
  local(type: Type): Local {
    const reused = this.#free[type].pop();
    const index = reused ?? this.#params.length + this.#localTypes.push(type) - 1;
    this.#taken.push({ type, index });
    return this.#localValue(type, index);
  }

  /**
   * Give back all locals taken since `mark` (the number of locals taken then): code after this may reuse them. Those
   * in `kept` stay taken.
   */
  releaseLocals(mark: number, kept?: ReadonlySet<number>): void {
    if (this.#taken.length === mark) return;
    for (const entry of this.#taken.splice(mark)) {
      if (kept?.has(entry.index)) this.#taken.push(entry);
      else this.#free[entry.type].push(entry.index);
    }
  }
  get nrLocalsTaken(): number {
    return this.#taken.length;
  }

  /** Evaluate now; the result may be used any number of times. Constants and locals cost nothing. */
  let(value: Value): Value {
    if (value.constant !== undefined) return value;
    const local = this.local(value.type);
    this.set(local, value);
    return local;
  }

  set(local: Local, value: Value): void {
    invariant(local.type === value.type, `local is ${local.type}, value ${value.type}`);
    this.#emit(value);
    this.#setLocal(local.immediate);
  }
  #setLocal(index: number): void {
    const last = this.#lastSet;
    last.start = this.#body.length;
    last.local = index;
    this.#body.byte(op.LOCAL_SET);
    this.#body.unsigned(index);
    last.end = this.#body.length;
  }

  /** Set several locals at once: all values are evaluated before the first local changes. */
  setAll(...pairs: (readonly [Local, Value])[]): void {
    for (const [local, value] of pairs) {
      invariant(local.type === value.type, `local is ${local.type}, value ${value.type}`);
      this.#emit(value);
    }
    for (let i = pairs.length - 1; i >= 0; i--) this.#setLocal((pairs[i] as [Local, Value])[0].immediate);
  }

  #opcode(opcode: number): void {
    if (opcode > 0xff) {
      this.#body.byte(opcode >> 12);
      this.#body.unsigned(opcode & 0xfff);
    } else this.#body.byte(opcode);
  }

  #emit(value: Value): void {
    const { operands, constant, immediate } = value;
    if (value.opcode === op.LOCAL_GET) {
      const last = this.#lastSet;
      if (last.end === this.#body.length && last.local === immediate) {
        this.#body.patch(last.start, op.LOCAL_TEE);
        last.end = -1;
        return;
      }
    }
    for (const operand of operands) this.#emit(operand);
    this.#opcode(value.opcode);
    if (constant !== undefined) this.#body.signed(constant);
    else if (typeof immediate === 'number') {
      // A local's index, or an access: alignment (none is promised) and offset.
      if (operands.length > 0) this.#body.byte(0);
      this.#body.unsigned(immediate);
    } else if (immediate !== undefined) this.#body.bytes(immediate);
  }

  /** Store the low `width` bytes of an integer, or a whole f32, f64 or v128. */
  store(width: number, address: Value, value: Value, offset = 0): void {
    this.#emit(address);
    this.#emit(value);
    const opcode =
      value.type === 'v128'
        ? op.V128_STORE
        : value.type === 'f32'
          ? op.F32_STORE
          : value.type === 'f64'
            ? op.F64_STORE
            : (op.STORES[value.type] as Record<number, number>)[width];
    invariant(opcode !== undefined, `no store of ${width} bytes from ${value.type}`);
    this.#opcode(opcode);
    this.#body.byte(0);
    this.#body.unsigned(offset);
  }

  /**
   * Compare-and-exchange of `width` bytes at a naturally aligned address: what was there. It orders everything before it
   * and after it.
   */
  compareExchange(width: number, address: Value, expected: Value, replacement: Value): Value {
    const type = integerType(expected);
    const opcode = (op.ATOMIC_COMPARE_EXCHANGE[type] as Record<number, number>)[width];
    invariant(opcode !== undefined, `no compare-and-exchange of ${width} bytes with ${type}`);
    for (const operand of [address, expected, replacement]) this.#emit(operand);
    this.#opcode(opcode);
    this.#body.byte(Math.log2(width));
    this.#body.unsigned(0);
    return this.#result(type);
  }
  /** OR an i32 into memory at a multiple of 4, atomically; the old value is not wanted. */
  atomicOr(address: Value, value: Value, offset = 0): void {
    this.#emit(address);
    this.#emit(value);
    this.#opcode(op.I32_ATOMIC_RMW_OR);
    this.#body.byte(2);
    this.#body.unsigned(offset);
    this.#body.byte(op.DROP);
  }

  /** Call and keep the result (if any) in a local. */
  call(callee: Callee, ...args: Value[]): Value {
    invariant(callee.params.length === args.length, `${args.length} arguments for ${callee.params.length}`);
    args.forEach((arg, i) => {
      invariant(arg.type === callee.params[i], `argument ${i} is ${arg.type}, not ${callee.params[i]}`);
      this.#emit(arg);
    });
    this.#body.byte(op.CALL);
    this.#body.unsigned(callee.index);
    return this.#result(callee.result);
  }

  /** Call through the module's table. */
  callIndirect(typeIndex: number, result: Type | undefined, target: Value, ...args: Value[]): Value {
    for (const arg of args) this.#emit(arg);
    this.#emit(target);
    this.#body.byte(op.CALL_INDIRECT);
    this.#body.unsigned(typeIndex);
    this.#body.unsigned(0);
    return this.#result(result);
  }

  /** Go on in a function of the table instead of this one; it must have the same result type. */
  returnCallIndirect(typeIndex: number, target: Value, ...args: Value[]): void {
    for (const arg of args) this.#emit(arg);
    this.#emit(target);
    this.#body.byte(op.RETURN_CALL_INDIRECT);
    this.#body.unsigned(typeIndex);
    this.#body.unsigned(0);
  }

  #result(type: Type | undefined): Value {
    if (!type) return i32(0);
    const local = this.local(type);
    this.#setLocal(local.immediate);
    return local;
  }

  #nest(opcode: number, body: (label: Label) => void): void {
    this.#body.byte(opcode);
    this.#body.byte(op.VOID);
    this.#depth += 1;
    body({ depth: this.#depth });
  }
  #end(): void {
    this.#body.byte(op.END);
    this.#depth -= 1;
  }

  /** @param likely what the compiler may assume of the condition: code for the other case then goes out of the way */
  if(condition: Value, then: (label: Label) => void, otherwise?: () => void, likely?: boolean): void {
    if (condition.constant !== undefined && isConst(condition, 0)) {
      otherwise?.();
      return;
    }
    this.#emit(condition);
    if (likely !== undefined) this.#hints.push({ offset: this.#body.length, isLikely: likely });
    this.#nest(op.IF, then);
    if (otherwise) {
      this.#body.byte(op.ELSE);
      otherwise();
    }
    this.#end();
  }
  /** A branch to the label leaves the block. */
  block(body: (label: Label) => void): void {
    this.#nest(op.BLOCK, body);
    this.#end();
  }
  /** A branch to the label starts the body again; falling off the end leaves the loop. */
  loop(body: (label: Label) => void): void {
    this.#nest(op.LOOP, body);
    this.#end();
  }
  br(label: Label): void {
    this.#body.byte(op.BR);
    this.#body.unsigned(this.#depth - label.depth);
  }
  /** @param likely as for `if` */
  brIf(label: Label, condition: Value, likely?: boolean): void {
    this.#emit(condition);
    if (likely !== undefined) this.#hints.push({ offset: this.#body.length, isLikely: likely });
    this.#body.byte(op.BR_IF);
    this.#body.unsigned(this.#depth - label.depth);
  }
  brTable(index: Value, labels: readonly Label[], otherwise: Label): void {
    this.#emit(index);
    this.#body.byte(op.BR_TABLE);
    this.#body.unsigned(labels.length);
    for (const label of [...labels, otherwise]) this.#body.unsigned(this.#depth - label.depth);
  }
  return(value?: Value): void {
    if (value) this.#emit(value);
    this.#body.byte(op.RETURN);
  }
  unreachable(): void {
    this.#body.byte(op.UNREACHABLE);
  }

  /** Of a finished function. */
  get hints(): readonly BranchHint[] {
    return this.#hints.map(({ offset, isLikely }) => ({ offset: offset + this.#headerBytes, isLikely }));
  }

  /** The function body as it goes into the code section. The function is done with then. */
  finish(): ByteWriter {
    invariant(this.#depth === 0, 'a block is still open');
    const out = new ByteWriter(this.#body.length + 4 * this.#localTypes.length + 16);
    const runs: { type: Type; count: number }[] = [];
    for (const type of this.#localTypes) {
      const last = runs.at(-1);
      if (last?.type === type) last.count += 1;
      else runs.push({ type, count: 1 });
    }
    out.unsigned(runs.length);
    for (const { type, count } of runs) {
      out.unsigned(count);
      out.byte(op.ValueType[type]);
    }
    this.#headerBytes = out.length;
    out.bytes(this.#body.view());
    out.byte(op.END);
    this.#body.clear();
    spareBodies.push(this.#body);
    return out;
  }
}
