/**
 * The x87 floating-point unit (SDM vol. 1, chapter 8; vol. 2, table A-7 onwards). The computing is the runtime's
 * (runtime/assembly/float); here is which operands it gets, from where, and in which order things may fail.
 *
 * Order of a waiting instruction: a pending unmasked exception (#MF), then faults of the memory operand, then the
 * computation, whose own unmasked exceptions wait in FSW for the next waiting instruction. #MF is raised whether
 * CR0.NE is set or not: there is no external interrupt controller behind FERR#.
 *
 * FOP, FIP and FDP are written by instructions that leave an unmasked exception pending, and by nothing else but
 * FLDENV, FRSTOR, FXRSTOR, XRSTOR and FNINIT. Software may rely on them only then: processors without RstrFpErrPtrs
 * (CPUID 8000_0008 EBX bit 2) store zeros in FXSAVE otherwise. FCS and FDS are zero (CPUID 7 EBX bit 13). FDP is an
 * offset, but a linear address where the effective address has less than 64 bits.
 */
import { Mode } from '../decode/mode.ts';
import { Vcpu } from '../vcpu/layout.ts';
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import { type Emitter, type Operand, Vector } from './emitter.ts';
import * as flags from './flags.ts';
import { RAX } from './general-registers.ts';

/** ES in FSW: an unmasked exception is pending. */
const ERROR_SUMMARY = 0x80;
const CR0_MP = 2;
const CR0_TS = 8;

const pending = (x: Emitter): Value => w.and(x.field('fsw'), w.i32(ERROR_SUMMARY));
const wait = (x: Emitter): void => x.raiseIf(pending(x), Vector.MF);

/** Remember where an unmasked exception comes from. */
function recordOrigin(x: Emitter, operandAddress?: Value): void {
  x.if(pending(x), () => {
    x.synchronise();
    x.setField('fop', x.x87Opcode());
    x.setField('fip', x.field('rip'));
    x.setField('fcs', w.i32(0));
    if (!operandAddress) return;
    x.setField('fdp', w.sub(operandAddress, x.segmentBase()));
    x.setField('fds', w.i32(0));
  });
}

/** The frame of all computing instructions. `operate` returns the address of its memory operand if it has one. */
const computing =
  (operate: (x: Emitter, operand: Operand) => Value | undefined): Semantics =>
  (x, operand) => {
    wait(x);
    recordOrigin(x, operate(x, operand as Operand));
  };
/** A runtime function over the register stack alone; the x87 register of the encoding, if any, comes first. */
const onStack = (name: string, ...constants: number[]): Semantics =>
  computing((x, operand) => {
    const registers = operand ? [operand.number()] : [];
    x.runtime(name, ...registers, ...constants.map(w.i32));
    return undefined;
  });

// ---- loads and arithmetic ----

/** A runtime function over a value from memory. `widen` gives the value the type that the function takes. */
const fromMemory = (
  name: string,
  constants: number[] = [],
  widen: (value: Value, size: number) => Value = v => v,
): Semantics =>
  computing((x, operand) => {
    const address = x.let(operand.address());
    const value = x.loadMemory(address, operand.size);
    x.runtime(name, ...constants.map(w.i32), widen(value, operand.size));
    return address;
  });
/** A runtime function over ten bytes in memory. */
const fromTenBytes = (name: string): Semantics =>
  computing((x, operand) => {
    const address = x.let(operand.address());
    x.runtime(name, x.readable(address, 10));
    return address;
  });
const signed32 = (value: Value, size: number): Value => (size === 2 ? w.extend16S(value) : value);
const signed64 = (value: Value, size: number): Value =>
  size === 8 ? value : w.extendS(signed32(value, size));

/** ST(0) = ST(0) op ST(i), ST(i) = ST(i) op ST(0). */
const arithmetic = (op: number, toTop: boolean, pops: number): Semantics =>
  computing((x, operand) => {
    const register = x.let(operand.number());
    const [to, from] = toTop ? [w.i32(0), register] : [register, w.i32(0)];
    x.runtime('farith', w.i32(op), to, from, w.i32(pops));
    return undefined;
  });
const compare = (pops: number, unordered: boolean): Semantics => onStack('fcom', pops, unordered ? 1 : 0);
/** FCOMPP, FUCOMPP: with ST(1), and both go. */
const compareBoth = (unordered: boolean): Semantics =>
  computing(x => {
    x.runtime('fcom', w.i32(1), w.i32(2), w.i32(unordered ? 1 : 0));
    return undefined;
  });
const compareToFlags = (pops: number, unordered: boolean): Semantics =>
  computing((x, operand) => {
    flags.loadArithmeticFlags(x, x.runtime('fcomi', operand.number(), w.i32(pops), w.i32(unordered ? 1 : 0)));
    return undefined;
  });
const conditionalMove = (condition: number): Semantics =>
  computing((x, operand) => {
    x.runtime('fcmov', operand.number(), w.truth(flags.condition(x, condition)));
    return undefined;
  });

// ---- stores ----

/**
 * A runtime function leaves the bytes in `temp` and says whether they are to be stored. Its exceptions must not show
 * when the store faults, so the memory is made sure of first; with its old bytes, as it may have to stay as it is.
 */
const toMemory = (name: string, pops: boolean, ...constants: number[]): Semantics =>
  computing((x, operand) => {
    const address = x.let(operand.address());
    x.modifiable(address, operand.size, host => {
      x.if(x.runtime(name, ...constants.map(w.i32)), () => {
        const low = x.field('temp');
        if (operand.size === 10) {
          x.code.store(8, host, low);
          x.code.store(2, host, x.field('temp', 8), 8);
        } else x.code.store(operand.size, host, low);
        if (pops) x.runtime('popX87');
      });
    });
    return address;
  });
/** FSTPNCE (undocumented): FSTP ST(i) without an exception for an empty ST(0), which is popped and no more. */
const storeUnchecked: Semantics = computing((x, operand) => {
  const top = w.and(w.shrU(x.field('fsw'), w.i32(11)), w.i32(7));
  const tag = w.and(w.shrU(x.field('ftw'), w.shl(top, w.i32(1))), w.i32(3));
  x.if(
    w.eq(tag, w.i32(3)),
    () => void x.runtime('fincstp'),
    () => void x.runtime('fstSt', operand.number(), w.i32(1)),
  );
  return undefined;
});
const storeInteger = (size: number, pops: boolean, truncating = false): Semantics =>
  toMemory('fist', pops, size * 8, truncating ? 1 : 0);

// ---- control ----

const storeWord =
  (field: 'fcw' | 'fsw'): Semantics =>
  (x, destination) =>
    (destination as Operand).write(x.field(field));
const storeStatus: Semantics = x => x.register(RAX, 2).write(x.field('fsw'));
const loadControl: Semantics = (x, source) => {
  wait(x);
  x.runtime('fldcw', (source as Operand).read());
};
const clearExceptions: Semantics = x => void x.runtime('fnclex');
const initialise: Semantics = x => void x.runtime('fninit');
const nothing: Semantics = () => {};
const waitAlone: Semantics = x => {
  const both = w.i32(CR0_MP | CR0_TS);
  x.raiseIf(w.eq(w.and(w.wrap(x.field('cr0')), both), both), Vector.NM);
  wait(x);
};
const waiting =
  (semantics: Semantics): Semantics =>
  (x, ...operands) => {
    wait(x);
    semantics(x, ...operands);
  };

/** The runtime's code for the layout of an image: bit 0 32-bit operands, bit 1 real or virtual-8086 mode. */
const imageFormat = (x: Emitter): Value =>
  w.or(w.shl(w.truth(w.and(x.field('mode'), w.i32(Mode.real))), w.i32(1)), w.i32(x.size === 2 ? 0 : 1));
const image = (x: Emitter): Value => w.add(x.cpu, w.i32(Vcpu.offsets.x87Image));

/** Call `move` for each two bytes of an image, whose lengths are even. */
function forImage(x: Emitter, bytes: number, move: (offset: Value) => void): void {
  const offset = x.local('i32');
  x.set(offset, w.i32(0));
  x.loop(again => {
    move(offset);
    x.set(offset, w.add(offset, w.i32(2)));
    x.code.brIf(again, w.ltU(offset, w.i32(bytes)));
  });
}
/** FNSTENV, FNSAVE: the runtime makes the image and changes the state once nothing can fault any more. */
const storeImage =
  (name: 'fnstenv' | 'fnsave'): Semantics =>
  (x, destination) => {
    const { size } = destination as Operand;
    const address = x.let((destination as Operand).address());
    x.faultIf(x.runtime('checkWrite', address, w.i32(size)));
    x.runtime(name, image(x), imageFormat(x));
    forImage(x, size, offset => {
      const value = w.load('i32', 2, w.add(image(x), offset));
      x.storeMemory(w.add(address, w.extendU(offset)), 2, value);
    });
  };
const loadImage =
  (name: 'fldenv' | 'frstor'): Semantics =>
  (x, source) => {
    wait(x);
    const { size } = source as Operand;
    const address = x.let((source as Operand).address());
    forImage(x, size, offset => {
      const value = x.loadMemory(w.add(address, w.extendU(offset)), 2);
      x.code.store(2, w.add(image(x), offset), value);
    });
    x.runtime(name, image(x), imageFormat(x));
  };

const X87: Options = { unit: 'x87' };
const entry = (name: string, encoding: string, operands: string, semantics: Semantics): Definition =>
  define(name, encoding, operands, semantics, X87);
/** Instructions without an operand, from a ModRM byte on; gaps are undefined. */
const row = (
  opcode: string,
  first: number,
  entries: (readonly [string, Semantics] | undefined)[],
): Definition[] =>
  entries.flatMap((item, i) =>
    item ? [entry(item[0], `${opcode} ${(first + i).toString(16).toUpperCase()}`, '', item[1])] : [],
  );

/** In encoding order; com and comp are no arithmetic. */
const OPERATIONS = ['add', 'mul', 'com', 'comp', 'sub', 'subr', 'div', 'divr'];
/** With the result in ST(i) the encodings of an operation and its reverse are exchanged. */
const reversed = (op: number): number => (op >= 4 ? op ^ 1 : op);
const isCompare = (op: number): boolean => op === 2 || op === 3;
const operations = (define_: (name: string, op: number) => Definition[]): Definition[] =>
  OPERATIONS.flatMap((name, op) => define_(name, op));

const MOVES: [string, number][] = [
  ['b', 2],
  ['e', 4],
  ['be', 6],
  ['u', 10],
];
const CONSTANTS = ['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'];
const plain = (name: string): readonly [string, Semantics] => [name, onStack(name)];
const fnop: readonly [string, Semantics] = ['fnop', waiting(nothing)];

export const x87: Definition[] = [
  define('fwait', '9B', '', waitAlone),
  ...operations((name, op) => [
    entry(`f${name}`, `D8 /${op}`, 'Md', fromMemory('farithMem32', [op])),
    entry(`f${name}`, `DC /${op}`, 'Mq', fromMemory('farithMem64', [op])),
    entry(`fi${name}`, `DA /${op}`, 'Md', fromMemory('farithInt', [op])),
    entry(`fi${name}`, `DE /${op}`, 'Mw', fromMemory('farithInt', [op], signed32)),
  ]),
  ...operations((name, op) => {
    if (isCompare(op)) {
      // DC D0 and DC D8 are undocumented names of D8 D0 and D8 D8.
      return ['D8', 'DC'].map(code => entry(`f${name}`, `${code} /${op}`, 'ST', compare(op - 2, false)));
    }
    const back = `f${OPERATIONS[reversed(op)] as string}`;
    return [
      entry(`f${name}`, `D8 /${op}`, 'ST', arithmetic(op, true, 0)),
      entry(back, `DC /${op}`, 'ST', arithmetic(reversed(op), false, 0)),
      entry(`${back}p`, `DE /${op}`, 'ST', arithmetic(reversed(op), false, 1)),
    ];
  }),

  entry('fld', 'D9 /0', 'ST', onStack('fldSt')),
  entry('fld', 'D9 /0', 'Md', fromMemory('fld32')),
  entry('fld', 'DD /0', 'Mq', fromMemory('fld64')),
  entry('fld', 'DB /5', 'Mt', fromTenBytes('fld80')),
  entry('fild', 'DF /0', 'Mw', fromMemory('fild', [], signed64)),
  entry('fild', 'DB /0', 'Md', fromMemory('fild', [], signed64)),
  entry('fild', 'DF /5', 'Mq', fromMemory('fild', [], signed64)),
  entry('fbld', 'DF /4', 'Mt', fromTenBytes('fbld')),

  entry('fst', 'D9 /2', 'Md', toMemory('fst32', false)),
  entry('fstp', 'D9 /3', 'Md', toMemory('fst32', true)),
  entry('fst', 'DD /2', 'Mq', toMemory('fst64', false)),
  entry('fstp', 'DD /3', 'Mq', toMemory('fst64', true)),
  entry('fstp', 'DB /7', 'Mt', toMemory('fst80', true)),
  entry('fst', 'DD /2', 'ST', onStack('fstSt', 0)),
  entry('fstpnce', 'D9 /3', 'ST', storeUnchecked),
  // DD D8, and two undocumented names of it.
  ...['DD /3', 'DF /2', 'DF /3'].map(encoding => entry('fstp', encoding, 'ST', onStack('fstSt', 1))),
  ...(
    [
      ['DF', 'Mw', 2],
      ['DB', 'Md', 4],
    ] as const
  ).flatMap(([opcode, operand, size]) => [
    entry('fisttp', `${opcode} /1`, operand, storeInteger(size, true, true)),
    entry('fist', `${opcode} /2`, operand, storeInteger(size, false)),
    entry('fistp', `${opcode} /3`, operand, storeInteger(size, true)),
  ]),
  entry('fisttp', 'DD /1', 'Mq', storeInteger(8, true, true)),
  entry('fistp', 'DF /7', 'Mq', storeInteger(8, true)),
  entry('fbstp', 'DF /6', 'Mt', toMemory('fbst', true)),

  // D9 C8, and two undocumented names of it.
  ...['D9 /1', 'DD /1', 'DF /1'].map(encoding => entry('fxch', encoding, 'ST', onStack('fxch'))),
  ...MOVES.flatMap(([name, condition], i) => [
    entry(`fcmov${name}`, `DA /${i}`, 'ST', conditionalMove(condition)),
    entry(`fcmovn${name}`, `DB /${i}`, 'ST', conditionalMove(condition + 1)),
  ]),

  entry('fcomp', 'DE /2', 'ST', compare(1, false)),
  entry('fucom', 'DD /4', 'ST', compare(0, true)),
  entry('fucomp', 'DD /5', 'ST', compare(1, true)),
  entry('fcompp', 'DE D9', '', compareBoth(false)),
  entry('fucompp', 'DA E9', '', compareBoth(true)),
  entry('fucomi', 'DB /5', 'ST', compareToFlags(0, true)),
  entry('fcomi', 'DB /6', 'ST', compareToFlags(0, false)),
  entry('fucomip', 'DF /5', 'ST', compareToFlags(1, true)),
  entry('fcomip', 'DF /6', 'ST', compareToFlags(1, false)),

  ...row('D9', 0xd0, [fnop]),
  ...row('D9', 0xe0, [plain('fchs'), plain('fabs'), undefined, undefined, plain('ftst'), plain('fxam')]),
  ...row(
    'D9',
    0xe8,
    CONSTANTS.map((name, i) => [name, onStack('fldConst', i)]),
  ),
  ...row(
    'D9',
    0xf0,
    ['f2xm1', 'fyl2x', 'fptan', 'fpatan', 'fxtract', 'fprem1', 'fdecstp', 'fincstp'].map(plain),
  ),
  ...row(
    'D9',
    0xf8,
    ['fprem', 'fyl2xp1', 'fsqrt', 'fsincos', 'frndint', 'fscale', 'fsin', 'fcos'].map(plain),
  ),
  // The 8087's and 80287's FENI, FDISI, FSETPM do nothing.
  ...row('DB', 0xe0, [
    ['fneni', nothing],
    ['fndisi', nothing],
    ['fnclex', clearExceptions],
    ['fninit', initialise],
    ['fnsetpm', nothing],
  ]),
  entry('ffree', 'DD /0', 'ST', onStack('ffree')),
  entry(
    'ffreep',
    'DF /0',
    'ST',
    waiting((x, register) => {
      x.runtime('ffree', (register as Operand).number());
      x.runtime('popX87');
    }),
  ),

  entry('fldcw', 'D9 /5', 'Mw', loadControl),
  entry('fnstcw', 'D9 /7', 'Mw', storeWord('fcw')),
  entry('fnstsw', 'DD /7', 'Mw', storeWord('fsw')),
  entry('fnstsw', 'DF E0', '', storeStatus),
  entry('fldenv', 'D9 /4', 'Menv', loadImage('fldenv')),
  entry('fnstenv', 'D9 /6', 'Menv', storeImage('fnstenv')),
  entry('frstor', 'DD /4', 'Mstate', loadImage('frstor')),
  entry('fnsave', 'DD /6', 'Mstate', storeImage('fnsave')),
];
