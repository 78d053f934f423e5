/** AES-NI and PCLMULQDQ (SDM vol. 1, 5.12), and their VEX forms of 128 bits. The runtime computes. */
import { type Definition, define } from './definition.ts';
import {
  type Binary,
  type BinaryImmediate,
  SSE,
  type Unary,
  type UnaryImmediate,
  xmmBinary,
  xmmBinaryImmediate,
  xmmUnary,
  xmmUnaryImmediate,
} from './sse-common.ts';
import { AVX, vexBinary, vexBinaryImmediate, vexUnary, vexUnaryImmediate } from './vex-common.ts';

const round = (name: string, opcode: string): Definition[] => {
  const compute: Binary = (state, key, x) => x.runtime(name, state, key);
  return [
    define(name, `66 0F 38 ${opcode} /r`, 'Vx Wx', xmmBinary(compute), SSE),
    define(`v${name}`, `VEX.128.66.0F38 ${opcode} /r`, 'Vx Hx Wx', vexBinary(compute), AVX),
  ];
};
const inverseMix: Unary = (a, x) => x.runtime('aesimc', a);
const keyAssist: UnaryImmediate = (a, immediate, x) => x.runtime('aeskeygenassist', a, immediate);
const multiply: BinaryImmediate = (a, b, immediate, x) => x.runtime('carrylessMultiply', a, b, immediate);

export const aes: Definition[] = [
  ...round('aesenc', 'DC'),
  ...round('aesenclast', 'DD'),
  ...round('aesdec', 'DE'),
  ...round('aesdeclast', 'DF'),
  define('aesimc', '66 0F 38 DB /r', 'Vx Wx', xmmUnary(inverseMix), SSE),
  define('vaesimc', 'VEX.128.66.0F38 DB /r', 'Vx Wx', vexUnary(inverseMix), AVX),
  define('aeskeygenassist', '66 0F 3A DF /r', 'Vx Wx Ib', xmmUnaryImmediate(keyAssist), SSE),
  define('vaeskeygenassist', 'VEX.128.66.0F3A DF /r', 'Vx Wx Ib', vexUnaryImmediate(keyAssist), AVX),
  define('pclmulqdq', '66 0F 3A 44 /r', 'Vx Wx Ib', xmmBinaryImmediate(multiply), SSE),
  define('vpclmulqdq', 'VEX.128.66.0F3A 44 /r', 'Vx Hx Wx Ib', vexBinaryImmediate(multiply), AVX),
];
