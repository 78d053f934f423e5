/** Data movement (SDM vol. 1, 5.1.1): MOV and its relatives, exchanges, conditional moves, LEA. */
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import { type Operand, signExtend, signExtend64, truncate, Vector } from './emitter.ts';
import * as flags from './flags.ts';
import { RAX, RBX, RCX, RDX } from './general-registers.ts';

const move: Semantics = (_x, destination, source) =>
  (destination as Operand).write((source as Operand).read());

const moveZero: Semantics = (_x, destination, source) => {
  const value = (source as Operand).read();
  const { size } = destination as Operand;
  (destination as Operand).write(size === 8 ? w.extendU(value) : value);
};
const moveSign: Semantics = (_x, destination, source) => {
  const from = source as Operand;
  const { size } = destination as Operand;
  const value = from.read();
  (destination as Operand).write(
    size === 8 ? signExtend64(from.size, value) : truncate(size, signExtend(from.size, value)),
  );
};

const exchange: Semantics = (_x, destination, source) => {
  const value = (source as Operand).read();
  (destination as Operand).modify(old => {
    (source as Operand).write(old);
    return value;
  });
};

const exchangeAdd: Semantics = (x, destination, source) => {
  const { size } = destination as Operand;
  const b = (source as Operand).read();
  (destination as Operand).modify(a => {
    const r = x.let(truncate(size, w.add(a, b)));
    flags.addFlags(x, size, a, b, r);
    (source as Operand).write(a);
    return r;
  });
};

const compareExchange: Semantics = (x, destination, source) => {
  const target = destination as Operand;
  const accumulator = x.register(RAX, target.size);
  const expected = accumulator.read();
  const replacement = (source as Operand).read();
  const found = x.local(expected.type);
  const compare = (old: w.Value) => {
    x.set(found, old);
    const difference = x.let(truncate(target.size, w.sub(expected, old)));
    flags.subFlags(x, target.size, expected, old, difference);
  };
  // Memory is written in any case; a register only on success, and rAX only on failure: not even its upper half.
  if (target.isMemory) {
    target.modify(old => {
      compare(old);
      return w.select(w.eq(expected, old), replacement, old);
    });
    x.if(w.ne(found, expected), () => accumulator.write(found));
  } else {
    compare(target.read());
    x.if(
      w.eq(found, expected),
      () => target.write(replacement),
      () => accumulator.write(found),
    );
  }
};

/** CMPXCHG8B and CMPXCHG16B: rDX:rAX against memory, rCX:rBX into it. Only ZF changes. */
const compareExchangePair: Semantics = (x, destination) => {
  const half = x.size === 8 ? 8 : 4;
  const address = x.let((destination as Operand).address());
  if (half === 8) x.raiseIf(w.truth(w.and(address, w.i64(15))), Vector.GP, w.i32(0));
  const [a, b, c, d] = [RAX, RBX, RCX, RDX].map(n => x.register(n, half).read()) as [
    Value,
    Value,
    Value,
    Value,
  ];
  const [low, high] = [x.local(half === 8 ? 'i64' : 'i32'), x.local(half === 8 ? 'i64' : 'i32')];
  const equal = x.local('i32');
  if (half === 4) {
    const join = (top: Value, bottom: Value) =>
      x.let(w.or(w.shl(w.extendU(top), w.i64(32)), w.extendU(bottom)));
    const expected = join(d, a);
    const replacement = join(c, b);
    const found = x.local('i64');
    x.modifyMemory(address, 8, old => {
      x.set(found, old);
      return w.select(w.eq(old, expected), replacement, old);
    });
    x.set(equal, w.eq(found, expected));
    x.set(low, w.wrap(found));
    x.set(high, w.wrap(w.shrU(found, w.i64(32))));
  } else {
    // WebAssembly has nothing atomic of 16 bytes.
    const exchange = (host: Value) => {
      x.set(low, w.load('i64', 8, host));
      x.set(high, w.load('i64', 8, host, 8));
      x.set(equal, w.and(w.eq(low, a), w.eq(high, d)));
      x.code.store(8, host, w.select(equal, b, low));
      x.code.store(8, host, w.select(equal, c, high), 8);
    };
    if (x.locked) x.modifiableAlone(address, 16, exchange);
    else x.modifiable(address, 16, exchange);
  }
  x.if(w.eqz(equal), () => {
    x.register(RAX, half).write(low);
    x.register(RDX, half).write(high);
  });
  const others = x.let(w.and(w.wrap(flags.readFlags(x)), w.i32(flags.ARITHMETIC & ~flags.ZF)));
  flags.loadArithmeticFlags(x, w.or(others, w.shl(equal, w.i32(6))));
};

const loadAddress: Semantics = (_x, destination, source) => {
  const { size } = destination as Operand;
  (destination as Operand).write(truncate(size, (source as Operand).address()));
};

const moveConditional =
  (cc: number): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    // The source is read (and may fault) whatever the condition; a 32-bit destination is always zero-extended.
    const value = (source as Operand).read();
    target.write(w.select(flags.condition(x, cc), value, target.read()));
  };
const setConditional =
  (cc: number): Semantics =>
  (x, destination) =>
    (destination as Operand).write(w.truth(flags.condition(x, cc)));

/** The bytes of a value of 4 or 8 bytes in the opposite order. */
export function swapped(size: number, value: w.Value): w.Value {
  if (size === 4) {
    return w.or(
      w.and(w.rotl(value, w.i32(8)), w.i32(0x00ff00ff)),
      w.and(w.rotr(value, w.i32(8)), w.i32(0xff00ff00 | 0)),
    );
  }
  const lanes = Array.from({ length: 16 }, (_, i) => (i < 8 ? 7 - i : 0));
  const vector = w.simd('i64x2.splat', value);
  return w.extractLane('i64x2', w.shuffle(vector, vector, lanes), 0);
}
const swapBytes: Semantics = (_x, destination) => {
  const target = destination as Operand;
  const value = target.read();
  // Undefined for 16 bits; processors give zero.
  target.write(target.size === 2 ? w.i32(0) : swapped(target.size, value));
};

/** XLAT: AL = [rBX + AL], through the segment at hand. */
const translateByte: Semantics = x => {
  const base = w.extendU(x.register(RBX, x.addressSize).read());
  const sum = w.add(base, w.extendU(x.register(RAX, 1).read()));
  const cut = x.addressSize === 8 ? sum : w.extendU(truncate(x.addressSize, w.wrap(sum)));
  const offset = x.let(cut);
  x.checkSegment(offset, 1, false);
  x.register(RAX, 1).write(x.loadMemory(x.linear(w.add(offset, x.segmentBase())), 1));
};

/** SALC (undocumented): AL = all ones when CF is set, else 0. */
const carryToAl: Semantics = x =>
  x.register(RAX, 1).write(w.and(w.sub(w.i32(0), flags.carryFlag(x)), w.i32(0xff)));

export const CONDITION_NAMES = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g']; // biome-ignore format: a table
export const CONDITION_READS = [
  'o',
  'o',
  'c',
  'c',
  'z',
  'z',
  'cz',
  'cz',
  's',
  's',
  'p',
  'p',
  'so',
  'so',
  'soz',
  'soz',
];
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0');

export const moves: Definition[] = [
  define('mov', '88 /r', 'Eb Gb', move),
  define('mov', '89 /r', 'Ev Gv', move),
  define('mov', '8A /r', 'Gb Eb', move),
  define('mov', '8B /r', 'Gv Ev', move),
  define('mov', 'A0', 'AL Ob', move),
  define('mov', 'A1', 'rAX Ov', move),
  define('mov', 'A2', 'Ob AL', move),
  define('mov', 'A3', 'Ov rAX', move),
  define('mov', 'B0+r', 'Zb Ib', move),
  define('mov', 'B8+r', 'Zv Iv', move),
  define('mov', 'C6 /0', 'Eb Ib', move),
  define('mov', 'C7 /0', 'Ev Iz', move),
  define('movzx', '0F B6 /r', 'Gv Eb', moveZero),
  define('movzx', '0F B7 /r', 'Gv Ew', moveZero),
  define('movsx', '0F BE /r', 'Gv Eb', moveSign),
  define('movsx', '0F BF /r', 'Gv Ew', moveSign),
  define('movsxd', '63 /r', 'Gv Ez', moveSign, { mode: 'only64' }),
  define('lea', '8D /r', 'Gv Mv', loadAddress, { noAccess: true }),
  define('xchg', '86 /r', 'Eb Gb', exchange, { lock: 'always' }),
  define('xchg', '87 /r', 'Ev Gv', exchange, { lock: 'always' }),
  define('xchg', '90+r', 'Zv rAX', exchange),
  define('xadd', '0F C0 /r', 'Eb Gb', exchangeAdd, { lock: true, writes: 'oszapc' }),
  define('xadd', '0F C1 /r', 'Ev Gv', exchangeAdd, { lock: true, writes: 'oszapc' }),
  define('cmpxchg', '0F B0 /r', 'Eb Gb', compareExchange, { lock: true, writes: 'oszapc' }),
  define('cmpxchg', '0F B1 /r', 'Ev Gv', compareExchange, { lock: true, writes: 'oszapc' }),
  define('cmpxchg8b', '0F C7 /1', 'Myy', compareExchangePair, { lock: true, writes: 'z' }),
  ...CONDITION_NAMES.flatMap((name, cc) => [
    define(`cmov${name}`, `0F ${hex(0x40 + cc)} /r`, 'Gv Ev', moveConditional(cc), {
      reads: CONDITION_READS[cc] as string,
    }),
    define(`set${name}`, `0F ${hex(0x90 + cc)} /r`, 'Eb', setConditional(cc), {
      reads: CONDITION_READS[cc] as string,
    }),
  ]),
  define('bswap', '0F C8+r', 'Zv', swapBytes),
  define('xlat', 'D7', '', translateByte, { addressSized: true, modal: true }),
  define('salc', 'D6', '', carryToAl, { mode: 'no64', reads: 'c' }),
  define('movnti', 'NP 0F C3 /r', 'My Gy', move),
];
