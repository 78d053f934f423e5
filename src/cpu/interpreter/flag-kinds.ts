/**
 * Flags of which the aux word is not computed yet: `flagRes`, a source, and of which kind the source is (see
 * `Vcpu.flagKind`). Regions of the translator keep and pass them so.
 */
import { type IntegerSize, signExtend64, truncate } from '../isa/emitter.ts';
import { additionState, type FlagState, subtractionState } from '../isa/flags.ts';
import { Vcpu } from '../vcpu/layout.ts';
import type { Callee, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { Code } from '../wasm/code.ts';

const V = Vcpu.offsets;

/** The source is the aux word itself. */
export const KIND_AUX = 0;
/** The source is the second operand of a subtraction or an addition of 1, 2, 4 or 8 bytes: four kinds each. */
const KIND_SUB = 1;
const KIND_ADD = 5;
const SIZES: readonly IntegerSize[] = [1, 2, 4, 8];

/** Kind, sign-extended result and source of a state. */
export function canonical({ size, result, aux, origin }: FlagState): [number, Value, Value] {
  const wide = signExtend64(size, result);
  if (!origin || origin.kind === 'logic') return [KIND_AUX, wide, w.extendU(aux)];
  const first = origin.kind === 'sub' ? KIND_SUB : KIND_ADD;
  return [first + SIZES.indexOf(size as IntegerSize), wide, w.extendU(origin.b)];
}

/** The state that a result and a source of one kind stand for. */
export function stateOf(kind: number, result: Value, source: Value): FlagState {
  if (kind === KIND_AUX) return { size: 8, result, aux: w.wrap(source) };
  const isSub = kind < KIND_ADD;
  const size = SIZES[kind - (isSub ? KIND_SUB : KIND_ADD)] as IntegerSize;
  const r = truncate(size, result);
  const b = truncate(size, source);
  return isSub
    ? subtractionState(size, truncate(size, w.add(r, b)), b, r)
    : additionState(size, truncate(size, w.sub(r, b)), b, r);
}

/** The function (kind, result, source) -> aux word that regions call when flags must be known after all. */
export function generateComputeAux(): Code {
  const code = new Code(['i32', 'i64', 'i64']);
  const [kind, result, source] = [0, 1, 2].map(index => code.parameter(index)) as [Local, Local, Local];
  for (const first of [KIND_SUB, KIND_ADD]) {
    for (const [index, size] of SIZES.entries()) {
      code.if(w.eq(kind, w.i32(first + index)), () => {
        const state = stateOf(
          first + index,
          code.let(truncate(size, result)),
          code.let(truncate(size, source)),
        );
        code.return(state.aux);
      });
    }
  }
  code.return(w.wrap(source));
  code.unreachable();
  return code;
}

/** Compute the aux word in the vCPU block if that is still to be done. */
export function normaliseFlags(code: Code, cpu: Value, computeAux: Callee): void {
  const kind = code.let(w.load('i32', 4, cpu, V.flagKind));
  code.if(kind, () => {
    const result = w.load('i64', 8, cpu, V.flagRes);
    const source = w.load('i64', 8, cpu, V.flagSource);
    code.store(4, cpu, code.call(computeAux, kind, result, source), V.flagAux);
    code.store(4, cpu, w.i32(0), V.flagKind);
  });
}
export const COMPUTE_AUX = { name: 'computeAux', params: ['i32', 'i64', 'i64'], result: 'i32' } as const;
