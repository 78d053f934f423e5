/** The string comparisons of SSE4.2 (SDM vol. 2, 4.1). The runtime compares; results and flags are set here. */

import { Vcpu } from '../vcpu/layout.ts';
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import type { Emitter, Operand } from './emitter.ts';
import * as flags from './flags.ts';
import { RAX, RCX, RDX } from './general-registers.ts';

/** The length in rAX or rDX: 64 bits with REX.W. */
const length = (x: Emitter, register: number): Value =>
  x.size === 8 ? x.register(register, 8).read() : w.extendS(x.register(register, 4).read());

const compare =
  (explicit: boolean, toIndex: boolean): Semantics =>
  (x, first, second, immediate, mask) => {
    const b = (second as Operand).readVector();
    const a = (first as Operand).readVector();
    const control = (immediate as Operand).read();
    // The runtime has to address their elements.
    x.code.store(16, x.cpu, a, Vcpu.offsets.temp);
    x.code.store(16, x.cpu, b, Vcpu.offsets.temp + 16);
    const result = explicit
      ? x.runtime('compareExplicit', control, length(x, RAX), length(x, RDX))
      : x.runtime('compareImplicit', control);
    if (toIndex) x.register(RCX, 4).write(x.runtime('maskToIndex', result, control));
    else (mask as Operand).writeVector(x.runtime('maskToVector', result, control));
    flags.loadArithmeticFlags(x, w.shrU(result, w.i32(16)));
  };

const OPTIONS: Options = { unit: 'sse', unaligned: true, writes: 'oszapc' };
const VEX: Options = { unit: 'avx', writes: 'oszapc' };
/** Explicit lengths or not; an index to ECX or a mask to XMM0. */
const FORMS: [string, string, boolean, boolean][] = [
  ['pcmpestrm', '60', true, false],
  ['pcmpestri', '61', true, true],
  ['pcmpistrm', '62', false, false],
  ['pcmpistri', '63', false, true],
];
export const stringComparisons: Definition[] = FORMS.flatMap(([name, opcode, explicit, toIndex]) => {
  const semantics = compare(explicit, toIndex);
  const operands = `Vx Wx Ib${toIndex ? '' : ' XMM0'}`;
  const sized = explicit ? { sized: true } : {};
  return [
    define(name, `66 0F 3A ${opcode} /r`, operands, semantics, { ...OPTIONS, ...sized }),
    define(`v${name}`, `VEX.128.66.0F3A ${opcode} /r`, operands, semantics, { ...VEX, ...sized }),
  ];
});
