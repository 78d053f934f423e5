/** The string comparisons of SSE4.2 (SDM vol. 2, 4.1). The runtime compares; results and flags are set here. */

import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import { type Emitter, type Operand, RAX, RCX, RDX } from './emitter.ts';
import * as flags from './flags.ts';

/** The length in rAX or rDX: 64 bits with REX.W. */
const length = (x: Emitter, register: number): Value =>
  x.size === 8 ? x.register(register, 8).read() : w.extendS(x.register(register, 4).read());

const compare =
  (explicit: boolean, toIndex: boolean, vex = false): Semantics =>
  (x, first, second, immediate) => {
    const b = x.let((second as Operand).location());
    const a = (first as Operand).location();
    const control = (immediate as Operand).read();
    const result = explicit
      ? x.runtime('compareExplicit', a, b, control, length(x, RAX), length(x, RDX))
      : x.runtime('compareImplicit', a, b, control);
    if (toIndex) x.register(RCX, 4).write(x.runtime('maskToIndex', result, control));
    else {
      x.runtime('maskToVector', result, control);
      // With VEX the upper half of the result's register becomes zero.
      if (vex) x.vectorRegister(0).writeParts([x.vectorRegister(0).readVector()]);
    }
    flags.loadArithmeticFlags(x, w.shrU(result, w.i32(16)));
  };

const OPTIONS: Options = { unit: 'sse', unaligned: true, writes: 'oszapc' };
const VEX: Options = { unit: 'avx', writes: 'oszapc' };
export const stringComparisons: Definition[] = [
  define('pcmpestrm', '66 0F 3A 60 /r', 'Vx Wx Ib', compare(true, false), { ...OPTIONS, sized: true }),
  define('pcmpestri', '66 0F 3A 61 /r', 'Vx Wx Ib', compare(true, true), { ...OPTIONS, sized: true }),
  define('pcmpistrm', '66 0F 3A 62 /r', 'Vx Wx Ib', compare(false, false), OPTIONS),
  define('pcmpistri', '66 0F 3A 63 /r', 'Vx Wx Ib', compare(false, true), OPTIONS),
  define('vpcmpestrm', 'VEX.128.66.0F3A 60 /r', 'Vx Wx Ib', compare(true, false, true), {
    ...VEX,
    sized: true,
  }),
  define('vpcmpestri', 'VEX.128.66.0F3A 61 /r', 'Vx Wx Ib', compare(true, true), { ...VEX, sized: true }),
  define('vpcmpistrm', 'VEX.128.66.0F3A 62 /r', 'Vx Wx Ib', compare(false, false, true), VEX),
  define('vpcmpistri', 'VEX.128.66.0F3A 63 /r', 'Vx Wx Ib', compare(false, true), VEX),
];
