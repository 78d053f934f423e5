/** AES-NI and PCLMULQDQ (SDM vol. 1, 5.12). */
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import type { Operand } from './emitter.ts';

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

export const aes: Definition[] = [
  define('aesimc', '66 0F 38 DB /r', 'Vx Wx', inverseMix, SSE),
  define('aesenc', '66 0F 38 DC /r', 'Vx Wx', round('aesenc'), SSE),
  define('aesenclast', '66 0F 38 DD /r', 'Vx Wx', round('aesenclast'), SSE),
  define('aesdec', '66 0F 38 DE /r', 'Vx Wx', round('aesdec'), SSE),
  define('aesdeclast', '66 0F 38 DF /r', 'Vx Wx', round('aesdeclast'), SSE),
  define('aeskeygenassist', '66 0F 3A DF /r', 'Vx Wx Ib', keyAssist, SSE),
  define('pclmulqdq', '66 0F 3A 44 /r', 'Vx Wx Ib', multiply, SSE),
];
