/** Moves of AVX (SDM vol. 1, 14.2): those of SSE with VEX, VZEROUPPER and VZEROALL. */

import type { Value } from '../wasm/code.ts';
import { type Definition, define, defineVex, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import { pick, ZERO } from './sse-common.ts';
import {
  duplicate,
  loadControl,
  moveLane,
  moveZeroing,
  storeControl,
  storeHigh,
  storeMasked,
} from './sse-move.ts';
import { AVX, vexMove, vexUnary } from './vex-common.ts';

/** MOVSS and MOVSD between registers: the low `size` bytes of the second source, the rest of the first. */
const mergeLow =
  (size: number): Semantics =>
  (_x, destination, first, second) => {
    const b = (second as Operand).readVector();
    const a = (first as Operand).readVector();
    (destination as Operand).writeVector(pick(b, a, i => (i < size ? i : i + 16)));
  };
/** Two halves of 8 bytes; which one is read from memory is up to the caller. */
const halves = (low: Value, lowPart: 0 | 8, high: Value, highPart: 0 | 8): Value =>
  pick(low, high, i => (i < 8 ? i + lowPart : i - 8 + highPart + 16));
const join =
  (firstPart: 0 | 8, secondPart: 0 | 8, firstIsLow: boolean): Semantics =>
  (_x, destination, first, second) => {
    const b = (second as Operand).readVector();
    const a = (first as Operand).readVector();
    (destination as Operand).writeVector(
      firstIsLow ? halves(a, firstPart, b, secondPart) : halves(b, secondPart, a, firstPart),
    );
  };

/** Outside 64-bit mode the registers that cannot be named there keep their values. */
const reached = (x: Emitter): number => (x.mode64 ? 16 : 8);
const zeroUpper: Semantics = x => x.zeroUpperHalves(reached(x));
const zeroAll: Semantics = x => {
  for (let i = 0; i < reached(x); i++) x.vectorRegister(i).writeParts([ZERO]);
};

const load = (name: string, encoding: string, options = AVX): Definition[] =>
  defineVex(name, encoding, 'Vx Wx', vexMove, options);
const store = (name: string, encoding: string, options = AVX): Definition[] =>
  defineVex(name, encoding, 'Wx Vx', vexMove, options);
const both = (
  name: string,
  prefix: string,
  opcodes: readonly [string, string],
  options = AVX,
): Definition[] => [
  ...load(name, `VEX.${prefix}0F ${opcodes[0]} /r`, options),
  ...store(name, `VEX.${prefix}0F ${opcodes[1]} /r`, options),
];
const ALIGNED = { ...AVX, aligned: true };
const nonTemporal = (name: string, encoding: string): Definition[] =>
  defineVex(name, encoding, 'Mx Vx', vexMove, ALIGNED);

export const vexMoves: Definition[] = [
  ...both('vmovups', '', ['10', '11'], AVX),
  ...both('vmovupd', '66.', ['10', '11']),
  ...both('vmovaps', '', ['28', '29'], ALIGNED),
  ...both('vmovapd', '66.', ['28', '29'], ALIGNED),
  ...both('vmovdqa', '66.', ['6F', '7F'], ALIGNED),
  ...both('vmovdqu', 'F3.', ['6F', '7F'], AVX),
  ...defineVex('vlddqu', 'VEX.F2.0F F0 /r', 'Vx Mx', vexMove),
  ...nonTemporal('vmovntps', 'VEX.0F 2B /r'),
  ...nonTemporal('vmovntpd', 'VEX.66.0F 2B /r'),
  ...nonTemporal('vmovntdq', 'VEX.66.0F E7 /r'),
  ...defineVex('vmovntdqa', 'VEX.66.0F38 2A /r', 'Vx Mx', vexMove, ALIGNED),
  define('vmovss', 'VEX.LIG.F3.0F 10 /r', 'Vx Md', moveZeroing, AVX),
  define('vmovss', 'VEX.LIG.F3.0F 10 /r', 'Vx Hx Ux', mergeLow(4), AVX),
  define('vmovss', 'VEX.LIG.F3.0F 11 /r', 'Md Vd', moveLane, AVX),
  define('vmovss', 'VEX.LIG.F3.0F 11 /r', 'Ux Hx Vx', mergeLow(4), AVX),
  define('vmovsd', 'VEX.LIG.F2.0F 10 /r', 'Vx Mq', moveZeroing, AVX),
  define('vmovsd', 'VEX.LIG.F2.0F 10 /r', 'Vx Hx Ux', mergeLow(8), AVX),
  define('vmovsd', 'VEX.LIG.F2.0F 11 /r', 'Mq Vq', moveLane, AVX),
  define('vmovsd', 'VEX.LIG.F2.0F 11 /r', 'Ux Hx Vx', mergeLow(8), AVX),
  define('vmovhlps', 'VEX.128.0F 12 /r', 'Vx Hx Ux', join(8, 8, false), AVX),
  define('vmovlhps', 'VEX.128.0F 16 /r', 'Vx Hx Ux', join(0, 0, true), AVX),
  ...['', '66.'].flatMap(prefix => {
    const suffix = prefix === '' ? 's' : 'd';
    return [
      define(`vmovlp${suffix}`, `VEX.128.${prefix}0F 12 /r`, 'Vx Hx Mq', join(8, 0, false), AVX),
      define(`vmovlp${suffix}`, `VEX.128.${prefix}0F 13 /r`, 'Mq Vq', moveLane, AVX),
      define(`vmovhp${suffix}`, `VEX.128.${prefix}0F 16 /r`, 'Vx Hx Mq', join(0, 0, true), AVX),
      define(`vmovhp${suffix}`, `VEX.128.${prefix}0F 17 /r`, 'Mq Vx', storeHigh, AVX),
    ];
  }),
  define(
    'vmovddup',
    'VEX.128.F2.0F 12 /r',
    'Vx Wq',
    duplicate(i => i & 7),
    AVX,
  ),
  define(
    'vmovddup',
    'VEX.256.F2.0F 12 /r',
    'Vx Wx',
    vexUnary(a => pick(a, a, i => i & 7)),
    AVX,
  ),
  ...defineVex(
    'vmovsldup',
    'VEX.F3.0F 12 /r',
    'Vx Wx',
    vexUnary(a => pick(a, a, i => i & 11)),
  ),
  ...defineVex(
    'vmovshdup',
    'VEX.F3.0F 16 /r',
    'Vx Wx',
    vexUnary(a => pick(a, a, i => i | 4)),
  ),
  define('vmovd', 'VEX.128.66.0F 6E /r', 'Vx Ey', moveZeroing, AVX),
  define('vmovd', 'VEX.128.66.0F 7E /r', 'Ey Vy', moveLane, AVX),
  define('vmovq', 'VEX.128.F3.0F 7E /r', 'Vx Wq', moveZeroing, AVX),
  define('vmovq', 'VEX.128.66.0F D6 /r', 'Mq Vq', moveLane, AVX),
  define('vmovq', 'VEX.128.66.0F D6 /r', 'Ux Vq', moveZeroing, AVX),
  define('vmaskmovdqu', 'VEX.128.66.0F F7 /r', 'Vx Ux', storeMasked, {
    ...AVX,
    addressSized: true,
    modal: true,
  }),
  define('vldmxcsr', 'VEX.LZ.0F AE /2', 'Md', loadControl, AVX),
  define('vstmxcsr', 'VEX.LZ.0F AE /3', 'Md', storeControl, AVX),
  define('vzeroupper', 'VEX.128.0F 77', '', zeroUpper, { ...AVX, modal: true }),
  define('vzeroall', 'VEX.256.0F 77', '', zeroAll, { ...AVX, modal: true }),
];
