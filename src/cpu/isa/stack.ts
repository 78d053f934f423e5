/** The stack (SDM vol. 1, chapter 6): PUSH, POP, PUSHF, POPF, ENTER, LEAVE, PUSHA, POPA. */
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import { type Emitter, type Operand, truncate } from './emitter.ts';
import * as flags from './flags.ts';
import { RAX, RBP, RSP } from './general-registers.ts';

const push: Semantics = (x, source) => {
  const value = (source as Operand).read();
  x.push(x.size, value);
};

/** POP to memory computes its address with the stack pointer already moved: the decoder has seen to that. */
const pop: Semantics = (x, destination) => {
  const target = destination as Operand;
  const value = x.peekStack(x.size);
  if (!target.isMemory) {
    x.addStack(w.i32(x.size));
    target.write(value);
    return;
  }
  target.write(value);
  x.addStack(w.i32(x.size));
};

/** RFLAGS as PUSHF stores them: VM and RF clear. */
const pushFlags: Semantics = x => {
  requireIoplInVm86(x);
  const value = w.and(flags.readFlags(x), w.i64(~((1 << 16) | (1 << 17))));
  x.push(x.size, x.size === 8 ? value : truncate(x.size, w.wrap(value)));
};
function requireIoplInVm86(x: Emitter): void {
  if (!x.mode64) x.faultIf(x.runtime('checkVm86Iopl'));
}

/** POPF: what may change depends on CPL and IOPL, which the runtime knows; IF may open an interrupt window. */
const popFlags: Semantics = x => {
  requireIoplInVm86(x);
  const value = x.pop(x.size);
  x.runtime('popFlags', w.extendU(value), w.i32(x.size));
  x.leaveInterruptWindow();
};

const leave: Semantics = x => {
  if (!x.mode64) {
    x.synchronise();
    x.faultIf(x.runtime('leaveLegacy', w.i32(x.size)));
    return;
  }
  const rbp = x.register(RBP, 8).read();
  const saved = x.loadStack(rbp, x.size);
  x.register(RSP, 8).write(w.add(rbp, w.i64(x.size)));
  x.register(RBP, x.size).write(saved);
};

const enter: Semantics = (x, bytes, level) => {
  x.synchronise();
  x.faultIf(x.runtime('enterFrame', w.i32(x.size), (bytes as Operand).read(), (level as Operand).read()));
};

const pushAll: Semantics = x => {
  x.synchronise();
  x.faultIf(x.runtime('pushAll', w.i32(x.size)));
};
const popAll: Semantics = x => {
  x.synchronise();
  x.faultIf(x.runtime('popAll', w.i32(x.size)));
};

/** SAHF and LAHF: the low byte of the flags in AH. */
const storeHigh: Semantics = x => {
  const ah = w.shrU(x.register(RAX, 2).read(), w.i32(8));
  const kept = w.and(w.wrap(flags.readFlags(x)), w.i32(flags.OF));
  flags.loadArithmeticFlags(x, w.or(w.and(ah, w.i32(flags.ARITHMETIC & 0xff)), kept));
};
const loadHigh: Semantics = x => {
  const ax = x.register(RAX, 2);
  const low = w.and(ax.read(), w.i32(0xff));
  const byte = w.or(w.and(w.wrap(flags.readFlags(x)), w.i32(flags.ARITHMETIC & 0xff)), w.i32(2));
  ax.write(w.or(low, w.shl(byte, w.i32(8))));
};

const STACK = { size: 'd64', modal: true } as const;
export const stack: Definition[] = [
  define('push', '50+r', 'Zv', push, STACK),
  define('pop', '58+r', 'Zv', pop, STACK),
  define('push', '68', 'Iz', push, STACK),
  define('push', '6A', 'Is', push, STACK),
  define('push', 'FF /6', 'Ev', push, STACK),
  define('pop', '8F /0', 'Ev', pop, STACK),
  define('pushf', '9C', '', pushFlags, { ...STACK, reads: 'oszapc' }),
  define('popf', '9D', '', popFlags, { ...STACK, ends: true, writes: 'oszapc' }),
  define('enter', 'C8', 'Iw Ib', enter, STACK),
  define('leave', 'C9', '', leave, STACK),
  define('pusha', '60', '', pushAll, { mode: 'no64', modal: true, sized: true }),
  define('popa', '61', '', popAll, { mode: 'no64', modal: true, sized: true }),
  define('sahf', '9E', '', storeHigh, { writes: 'szapc' }),
  define('lahf', '9F', '', loadHigh, { reads: 'szapc' }),
];
