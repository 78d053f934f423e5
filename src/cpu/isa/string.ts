/**
 * String instructions (SDM vol. 1, 5.1.8). One element a step; with REP the frequent ones go to the runtime, which works
 * page by page in bounded portions, the others are executed once for each element. Registers always show the elements that are done, so a
 * fault in the middle can be resumed.
 */
import { Seg } from '../vcpu/layout.ts';
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Semantics } from './definition.ts';
import { type Emitter, truncate, typeOf } from './emitter.ts';
import * as flags from './flags.ts';
import { RAX, RCX, RDI, RDX, RSI } from './general-registers.ts';

/** Signed step of the index registers, from DF. */
const stepOf = (x: Emitter): Value =>
  x.let(w.select(w.and(x.field('flagSys'), w.i32(flags.DF)), w.i32(-x.size), w.i32(x.size)));

function advance(x: Emitter, register: number, step: Value): void {
  const index = x.register(register, x.addressSize);
  index.write(truncate(x.addressSize, w.add(index.read(), x.addressSize === 8 ? w.extendS(step) : step)));
}
/** Linear address of rSI in the segment at hand, or of rDI in ES; outside 64-bit mode the segment must allow it. */
function elementAddress(x: Emitter, register: number, write = false): Value {
  const inEs = register === RDI;
  const base = inEs ? x.baseOf(Seg.es) : x.segmentBase();
  const offset = x.let(w.extendU(x.register(register, x.addressSize).read()));
  x.checkSegment(offset, x.size, write, inEs ? w.i32(Seg.es) : undefined);
  return x.let(x.linear(w.add(offset, base)));
}

/**
 * Repeat `element` as the prefix says. Each element is an execution of its own, with its share of the fuel: a device
 * may answer slowly, and with TF set there is a trap after each.
 */
function repeated(x: Emitter, element: (step: Value) => void): void {
  const step = stepOf(x);
  if (x.rep === 0) {
    element(step);
    return;
  }
  const counter = x.register(RCX, x.addressSize);
  x.if(w.truth(counter.read()), () => {
    element(step);
    const left = x.let(truncate(x.addressSize, w.sub(counter.read(), w.integer(typeOf(x.addressSize), 1))));
    counter.write(left);
    x.if(w.truth(left), () => x.leaveRepeat());
  });
}

const moveString: Semantics = x => {
  if (x.rep !== 0) {
    bulk(x, 'repMovs', x.segmentNumber());
    return;
  }
  const step = stepOf(x);
  const value = x.loadMemory(elementAddress(x, RSI), x.size);
  x.storeMemory(elementAddress(x, RDI, true), x.size, value);
  advance(x, RSI, step);
  advance(x, RDI, step);
};
const storeString: Semantics = x => {
  if (x.rep !== 0) {
    bulk(x, 'repStos');
    return;
  }
  const step = stepOf(x);
  x.storeMemory(elementAddress(x, RDI, true), x.size, x.register(RAX, x.size).read());
  advance(x, RDI, step);
};
/** A repeated instruction in the runtime, which works page by page. It answers 0 done, 1 fault, 2 more to do. */
function bulk(x: Emitter, name: string, ...args: Value[]): void {
  x.synchronise();
  const outcome = x.runtime(name, w.i32(x.size), w.i32(x.addressSize), ...args);
  x.faultIf(w.eq(outcome, w.i32(1)));
  x.if(outcome, () => x.leaveRepeat());
}

const loadString: Semantics = x =>
  repeated(x, step => {
    x.register(RAX, x.size).write(x.loadMemory(elementAddress(x, RSI), x.size));
    advance(x, RSI, step);
  });

function compare(x: Emitter, a: Value, b: Value): void {
  const r = x.let(truncate(x.size, w.sub(a, b)));
  flags.subFlags(x, x.size, a, b, r);
}
const whileEqual = (x: Emitter): Value => w.i32(x.rep === 1 ? 1 : 0);
const compareString: Semantics = x => {
  if (x.rep !== 0) {
    bulk(x, 'repCmps', x.segmentNumber(), whileEqual(x));
    return;
  }
  const step = stepOf(x);
  const a = x.loadMemory(elementAddress(x, RSI), x.size);
  const b = x.loadMemory(elementAddress(x, RDI), x.size);
  compare(x, a, b);
  advance(x, RSI, step);
  advance(x, RDI, step);
};
const scanString: Semantics = x => {
  if (x.rep !== 0) {
    bulk(x, 'repScas', whileEqual(x));
    return;
  }
  const step = stepOf(x);
  const b = x.loadMemory(elementAddress(x, RDI), x.size);
  compare(x, x.register(RAX, x.size).read(), b);
  advance(x, RDI, step);
};

const inputString: Semantics = x =>
  repeated(x, step => {
    const port = x.register(RDX, 2).read();
    x.synchronise();
    x.faultIf(x.runtime('checkPort', port, w.i32(x.size)));
    const address = elementAddress(x, RDI, true);
    x.faultIf(x.runtime('checkWrite', address, w.i32(x.size)));
    const value = x.runtime('portIn', port, w.i32(x.size));
    x.storeMemory(address, x.size, truncate(x.size, value));
    advance(x, RDI, step);
  });
const outputString: Semantics = x =>
  repeated(x, step => {
    const port = x.register(RDX, 2).read();
    x.synchronise();
    x.faultIf(x.runtime('checkPort', port, w.i32(x.size)));
    const value = x.loadMemory(elementAddress(x, RSI), x.size);
    x.runtime('portOut', port, w.i32(x.size), value);
    advance(x, RSI, step);
  });

const STRING = { rep: true, addressSized: true, modal: true } as const;
const FLAGS = { writes: 'oszapc' };
/** Byte and wide form of one instruction. */
const pair = (name: string, opcode: number, semantics: Semantics, options = {}): Definition[] => [
  define(`${name}b`, opcode.toString(16).toUpperCase(), 'Xb', semantics, { ...STRING, ...options }),
  define(name, (opcode + 1).toString(16).toUpperCase(), 'Xv', semantics, { ...STRING, ...options }),
];
export const strings: Definition[] = [
  ...pair('movs', 0xa4, moveString),
  ...pair('cmps', 0xa6, compareString, FLAGS),
  ...pair('stos', 0xaa, storeString),
  ...pair('lods', 0xac, loadString),
  ...pair('scas', 0xae, scanString, FLAGS),
  define('insb', '6C', 'Xb', inputString, STRING),
  define('ins', '6D', 'Xz', inputString, STRING),
  define('outsb', '6E', 'Xb', outputString, STRING),
  define('outs', '6F', 'Xz', outputString, STRING),
];
