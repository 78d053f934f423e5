/** Bit and byte tests (SDM vol. 1, 5.1.6): BT and its relatives, BSF, BSR, POPCNT. */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import { bitsOf, type Emitter, type Operand, signExtend64, truncate, typeOf } from './emitter.ts';
import * as flags from './flags.ts';

type Change = ((value: Value, bit: Value) => Value) | undefined;

/** CF = the bit; the bit itself may change. Other flags stay (ZF by definition, the rest is undefined). */
function testAndChange(x: Emitter, size: number, old: Value, index: Value, change: Change): Value {
  const position = x.let(w.and(index, w.integer(index.type, bitsOf(size) - 1)));
  flags.setCarry(x, w.and(w.wrap(w.shrU(old, position)), w.i32(1)));
  return change ? truncate(size, change(old, w.shl(w.integer(typeOf(size), 1), position))) : old;
}

const bitTest =
  (change: Change): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const { size } = target;
    const from = source as Operand;
    const given = from.read();
    const index = size === 8 ? w.extendU(given) : given;
    // A register index reaches beyond the operand in memory: a signed bit offset from its address.
    if (target.isMemory && from.size === size) {
      const units = w.shrS(signExtend64(size, index), w.i64(Math.log2(bitsOf(size))));
      const address = x.bitAddress(target, w.mul(units, w.i64(size)));
      if (change) x.modifyMemory(address, size, old => testAndChange(x, size, old, index, change));
      else testAndChange(x, size, x.loadMemory(address, size), index, undefined);
    } else if (change) target.modify(old => testAndChange(x, size, old, index, change));
    else testAndChange(x, size, target.read(), index, undefined);
  };

const scan =
  (forward: boolean): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const value = (source as Operand).read();
    const top = w.integer(value.type, target.size === 8 ? 63 : 31);
    // A source of zero leaves the destination as it is, upper half included.
    x.if(w.truth(value), () => target.write(forward ? w.ctz(value) : w.sub(top, w.clz(value))));
    flags.setZeroOnly(x, w.eqz(value), w.i32(0));
  };

const populationCount: Semantics = (x, destination, source) => {
  const value = (source as Operand).read();
  (destination as Operand).write(w.popcnt(value));
  // Only ZF may be set; PF of a result of 1 is clear, that of 0 must be turned off.
  const isZero = x.let(w.eqz(value));
  flags.setZeroOnly(x, isZero, w.shl(isZero, w.i32(2)));
};

const set = (value: Value, bit: Value): Value => w.or(value, bit);
const reset = (value: Value, bit: Value): Value => w.and(value, w.not(bit));
const complement = (value: Value, bit: Value): Value => w.xor(value, bit);

const BT = { writes: 'oszapc', undefined: 'osap' };
const FAMILY: [string, string, number, Change][] = [
  ['bt', 'A3', 4, undefined],
  ['bts', 'AB', 5, set],
  ['btr', 'B3', 6, reset],
  ['btc', 'BB', 7, complement],
];
export const bits: Definition[] = [
  ...FAMILY.flatMap(([name, opcode, digit, change]) => [
    define(name, `0F ${opcode} /r`, 'Ev Gv', bitTest(change), {
      ...BT,
      bitString: true,
      lock: change !== undefined,
    }),
    define(name, `0F BA /${digit}`, 'Ev Ib', bitTest(change), {
      ...BT,
      lock: change !== undefined,
    }),
  ]),
  define('bsf', '0F BC /r', 'Gv Ev', scan(true), { writes: 'oszapc', undefined: 'osapc' }),
  define('bsr', '0F BD /r', 'Gv Ev', scan(false), { writes: 'oszapc', undefined: 'osapc' }),
  define('popcnt', 'F3 0F B8 /r', 'Gv Ev', populationCount, { writes: 'oszapc' }),
];
