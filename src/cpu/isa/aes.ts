/** AES-NI and PCLMULQDQ (SDM vol. 1, 5.12), and their VEX forms of 128 bits. */
import { Vcpu } from '../vcpu/layout.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import type { Operand } from './emitter.ts';
import { AVX } from './vex-common.ts';

const SSE: Options = { unit: 'sse' };
const round =
  (name: string): Semantics =>
  (x, destination, source) => {
    const key = x.let((source as Operand).location());
    const state = (destination as Operand).location();
    x.runtime(name, state, key, state);
  };
const inverseMix: Semantics = (x, destination, source) => {
  const from = x.let((source as Operand).location());
  x.runtime('aesimc', from, (destination as Operand).location());
};
const keyAssist: Semantics = (x, destination, source, immediate) => {
  const from = x.let((source as Operand).location());
  x.runtime('aeskeygenassist', from, (destination as Operand).location(), (immediate as Operand).read());
};
const multiply: Semantics = (x, destination, source, immediate) => {
  const b = x.let((source as Operand).location());
  const target = (destination as Operand).location();
  x.runtime('carrylessMultiply', target, b, target, (immediate as Operand).read());
};

/** With VEX, and 128 bits: the first source is an operand of its own. */
const vexRound =
  (name: string): Semantics =>
  (x, destination, first, second) => {
    const key = x.let((second as Operand).location());
    const temp = x.let(w.add(x.cpu, w.i32(Vcpu.offsets.temp)));
    x.runtime(name, (first as Operand).location(), key, temp);
    (destination as Operand).writeVector(w.loadV128(temp));
  };
const vexUnary =
  (name: string): Semantics =>
  (x, destination, source, immediate) => {
    const from = x.let((source as Operand).location());
    const temp = x.let(w.add(x.cpu, w.i32(Vcpu.offsets.temp)));
    x.runtime(name, from, temp, ...(immediate ? [immediate.read()] : []));
    (destination as Operand).writeVector(w.loadV128(temp));
  };
const vexMultiply: Semantics = (x, destination, first, second, immediate) => {
  const b = x.let((second as Operand).location());
  const temp = x.let(w.add(x.cpu, w.i32(Vcpu.offsets.temp)));
  x.runtime('carrylessMultiply', (first as Operand).location(), b, temp, (immediate as Operand).read());
  (destination as Operand).writeVector(w.loadV128(temp));
};

export const aes: Definition[] = [
  define('aesimc', '66 0F 38 DB /r', 'Vx Wx', inverseMix, SSE),
  define('aesenc', '66 0F 38 DC /r', 'Vx Wx', round('aesenc'), SSE),
  define('aesenclast', '66 0F 38 DD /r', 'Vx Wx', round('aesenclast'), SSE),
  define('aesdec', '66 0F 38 DE /r', 'Vx Wx', round('aesdec'), SSE),
  define('aesdeclast', '66 0F 38 DF /r', 'Vx Wx', round('aesdeclast'), SSE),
  define('aeskeygenassist', '66 0F 3A DF /r', 'Vx Wx Ib', keyAssist, SSE),
  define('pclmulqdq', '66 0F 3A 44 /r', 'Vx Wx Ib', multiply, SSE),
  define('vaesimc', 'VEX.128.66.0F38 DB /r', 'Vx Wx', vexUnary('aesimc'), AVX),
  define('vaesenc', 'VEX.128.66.0F38 DC /r', 'Vx Hx Wx', vexRound('aesenc'), AVX),
  define('vaesenclast', 'VEX.128.66.0F38 DD /r', 'Vx Hx Wx', vexRound('aesenclast'), AVX),
  define('vaesdec', 'VEX.128.66.0F38 DE /r', 'Vx Hx Wx', vexRound('aesdec'), AVX),
  define('vaesdeclast', 'VEX.128.66.0F38 DF /r', 'Vx Hx Wx', vexRound('aesdeclast'), AVX),
  define('vaeskeygenassist', 'VEX.128.66.0F3A DF /r', 'Vx Wx Ib', vexUnary('aeskeygenassist'), AVX),
  define('vpclmulqdq', 'VEX.128.66.0F3A 44 /r', 'Vx Hx Wx Ib', vexMultiply, AVX),
];
