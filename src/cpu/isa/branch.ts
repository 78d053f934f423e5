/** Control transfer within the code segment, and the flag instructions (SDM vol. 1, 5.1.7, 5.1.11). */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import { type Emitter, type Operand, truncate } from './emitter.ts';
import * as flags from './flags.ts';
import { RCX } from './general-registers.ts';
import { CONDITION_NAMES, CONDITION_READS } from './move.ts';

/** A new instruction pointer of the operand's size. */
const target = (x: Emitter, value: Value): Value => w.extendU(truncate(x.size, value));

/** Direct branches: outside 64-bit mode the target may lie beyond the code segment's limit. */
const checkDirect = (x: Emitter): void => {
  if (!x.mode64) x.checkTarget(x.branchTarget());
};
const jump: Semantics = (x, distance) => {
  checkDirect(x);
  x.leaveBranch(distance as Operand);
};
const jumpIndirect: Semantics = (x, where) => {
  const to = x.let(target(x, (where as Operand).read()));
  x.checkTarget(to);
  x.leaveJump(to);
};
const jumpIf =
  (cc: number): Semantics =>
  (x, distance) =>
    x.if(flags.condition(x, cc), () => jump(x, distance as Operand), undefined, x.isBranchLikely());

const call: Semantics = (x, distance) => {
  checkDirect(x);
  x.push(x.size, truncate(x.size, x.nextRip()));
  x.leaveBranch(distance as Operand);
};
const callIndirect: Semantics = (x, where) => {
  const to = x.let(target(x, (where as Operand).read()));
  x.push(x.size, truncate(x.size, x.nextRip()), () => x.checkTarget(to));
  x.leaveJump(to);
};
const returnNear: Semantics = (x, extra) => {
  const to = x.let(target(x, x.peekStack(x.size)));
  x.checkTarget(to);
  x.addStack(w.i32(x.size));
  if (extra) x.addStack((extra as Operand).read());
  x.leaveJump(to);
};

/** LOOP, LOOPE, LOOPNE: count in rCX, in the address size. */
const loop =
  (alsoWhile?: (x: Emitter) => Value): Semantics =>
  (x, distance) => {
    const counter = x.register(RCX, x.addressSize);
    const count = x.let(
      truncate(x.addressSize, w.sub(counter.read(), w.integer(x.addressSize === 8 ? 'i64' : 'i32', 1))),
    );
    const goOn = x.let(alsoWhile ? w.and(w.truth(count), alsoWhile(x)) : w.truth(count));
    if (!x.mode64) x.if(goOn, () => checkDirect(x));
    counter.write(count);
    x.if(goOn, () => x.leaveBranch(distance as Operand));
  };
const jumpIfCounterZero: Semantics = (x, distance) =>
  x.if(w.eqz(x.register(RCX, x.addressSize).read()), () => jump(x, distance as Operand));

const changeAux =
  (change: (aux: Value) => Value): Semantics =>
  x =>
    flags.changeAux(x, change);
const changeSystem =
  (change: (flagSys: Value) => Value): Semantics =>
  x =>
    x.setField('flagSys', change(x.field('flagSys')));

const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0');
const NEAR = { size: 'f64', modal: true, ends: true } as const;
/** A conditional branch goes on below when it is not taken: it does not end a run. */
const CONDITIONAL = { size: 'f64', modal: true } as const;
const COUNTED = { size: 'f64', modal: true, addressSized: true } as const;

export const branches: Definition[] = [
  define('jmp', 'EB', 'Jb', jump, NEAR),
  define('jmp', 'E9', 'Jz', jump, NEAR),
  define('jmp', 'FF /4', 'Ev', jumpIndirect, NEAR),
  define('call', 'E8', 'Jz', call, NEAR),
  define('call', 'FF /2', 'Ev', callIndirect, NEAR),
  define('ret', 'C3', '', returnNear, NEAR),
  define('ret', 'C2', 'Iw', returnNear, NEAR),
  ...CONDITION_NAMES.flatMap((name, cc) => [
    define(`j${name}`, hex(0x70 + cc), 'Jb', jumpIf(cc), {
      ...CONDITIONAL,
      reads: CONDITION_READS[cc] as string,
    }),
    define(`j${name}`, `0F ${hex(0x80 + cc)}`, 'Jz', jumpIf(cc), {
      ...CONDITIONAL,
      reads: CONDITION_READS[cc] as string,
    }),
  ]),
  define(
    'loopne',
    'E0',
    'Jb',
    loop(x => w.eqz(flags.zeroFlag(x))),
    { ...COUNTED, reads: 'z' },
  ),
  define('loope', 'E1', 'Jb', loop(flags.zeroFlag), { ...COUNTED, reads: 'z' }),
  define('loop', 'E2', 'Jb', loop(), COUNTED),
  define('jrcxz', 'E3', 'Jb', jumpIfCounterZero, COUNTED),
  define(
    'cmc',
    'F5',
    '',
    changeAux(v => w.xor(v, w.i32(flags.CF))),
    { writes: 'c', reads: 'c' },
  ),
  define(
    'clc',
    'F8',
    '',
    changeAux(v => w.and(v, w.i32(~flags.CF))),
    { writes: 'c' },
  ),
  define(
    'stc',
    'F9',
    '',
    changeAux(v => w.or(v, w.i32(flags.CF))),
    { writes: 'c' },
  ),
  define(
    'cld',
    'FC',
    '',
    changeSystem(v => w.and(v, w.i32(~flags.DF))),
  ),
  define(
    'std',
    'FD',
    '',
    changeSystem(v => w.or(v, w.i32(flags.DF))),
  ),
];
