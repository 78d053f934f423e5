/**
 * Where the arithmetic flags are at each point of a region: still in the vCPU block, as an instruction left them (an
 * unevaluated FlagState), or in three locals that blocks agree on where they meet.
 *
 * The locals hold `flagRes`, a source, and which kind the source is of: the aux word itself, or the second operand of an
 * addition or subtraction, from which the aux word is computed only when somebody asks.
 */
import { type IntegerSize, signExtend64, truncate } from '../isa/emitter.ts';
import { additionState, type FlagState, subtractionState } from '../isa/flags.ts';
import { Vcpu } from '../vcpu/layout.ts';
import type { Callee, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { Code, collectLocals } from '../wasm/code.ts';

const V = Vcpu.offsets;
/** Kinds of the source. `inBlock`: the flags are in the vCPU block, the locals say nothing. */
const KIND_IN_BLOCK = -1;
const KIND_AUX = 0;
const KIND_SUB = 1;
const KIND_ADD = 5;
const SIZES: readonly IntegerSize[] = [1, 2, 4, 8];

export type Tracked =
  | { readonly where: 'block' }
  | { readonly where: 'state'; readonly state: FlagState }
  /** In the locals, of one known kind, or of several. */
  | { readonly where: 'locals'; readonly kind: number | undefined };

export class FlagTracker {
  readonly #code: Code;
  readonly #cpu: Value;
  readonly #computeAux: Callee;
  readonly #result: Local;
  readonly #source: Local;
  readonly #kind: Local;
  now: Tracked = { where: 'block' };

  constructor(code: Code, cpu: Value, computeAux: Callee) {
    this.#code = code;
    this.#cpu = cpu;
    this.#computeAux = computeAux;
    this.#result = code.local('i64');
    this.#source = code.local('i64');
    this.#kind = code.local('i32');
  }

  /** The flags as a state, for instructions that read them. */
  read(): FlagState {
    const { now } = this;
    const aux = w.load('i32', 4, this.#cpu, V.flagAux);
    if (now.where === 'state') return now.state;
    if (now.where === 'block') {
      const normalise = () => this.normalise();
      return {
        size: 8,
        result: w.load('i64', 8, this.#cpu, V.flagRes),
        get aux() {
          normalise();
          return aux;
        },
      };
    }
    if (now.kind !== undefined) return stateOf(now.kind, this.#result, this.#source);
    const code = this.#code;
    const compute = () => this.#auxOfLocals();
    return {
      size: 8,
      result: code.let(this.#result),
      get aux() {
        return compute();
      },
    };
  }

  /** The aux word, computed here, from locals of whatever kind. */
  #auxOfLocals(): Value {
    const code = this.#code;
    const aux = code.local('i32');
    code.if(
      this.#kind,
      () => code.set(aux, code.call(this.#computeAux, this.#kind, this.#result, this.#source)),
      () => code.set(aux, w.wrap(this.#source)),
    );
    return aux;
  }

  /** Compute the aux word in the vCPU block if that is still to be done. */
  normalise(): void {
    const code = this.#code;
    const kind = code.let(w.load('i32', 4, this.#cpu, V.flagKind));
    code.if(kind, () => {
      const result = w.load('i64', 8, this.#cpu, V.flagRes);
      const source = w.load('i64', 8, this.#cpu, V.flagSource);
      code.store(4, this.#cpu, code.call(this.#computeAux, kind, result, source), V.flagAux);
      code.store(4, this.#cpu, w.i32(0), V.flagKind);
    });
  }

  /** Bring the flags into the locals. */
  toLocals(): void {
    const { now } = this;
    if (now.where === 'block') {
      const kind = w.load('i32', 4, this.#cpu, V.flagKind);
      const source = w.load('i64', 8, this.#cpu, V.flagSource);
      const aux = w.extendU(w.load('i32', 4, this.#cpu, V.flagAux));
      this.#code.set(this.#result, w.load('i64', 8, this.#cpu, V.flagRes));
      this.#code.set(this.#source, w.select(kind, source, aux));
      this.#code.set(this.#kind, kind);
      return;
    }
    if (now.where === 'locals') {
      if (now.kind !== undefined) this.#code.set(this.#kind, w.i32(now.kind));
      return;
    }
    const [kind, result, source] = canonical(this.read());
    this.#code.setAll([this.#result, result], [this.#source, source], [this.#kind, w.i32(kind)]);
  }
  /** The kind that `toLocals` gives. */
  get kind(): number | undefined {
    const { now } = this;
    if (now.where === 'locals') return now.kind;
    return now.where === 'block' ? undefined : canonical(now.state)[0];
  }

  /** Before leaving the region by its epilogue, in a branch of its own. */
  toEpilogue(): void {
    if (this.now.where === 'block') this.#code.set(this.#kind, w.i32(KIND_IN_BLOCK));
    else this.toLocals();
  }
  /** In the epilogue: flags to the vCPU block, as they are. */
  epilogue(): void {
    const code = this.#code;
    code.if(w.geS(this.#kind, w.i32(0)), () => {
      code.store(8, this.#cpu, this.#result, V.flagRes);
      code.store(8, this.#cpu, this.#source, V.flagSource);
      code.store(4, this.#cpu, this.#kind, V.flagKind);
      code.if(w.eqz(this.#kind), () => code.store(4, this.#cpu, w.wrap(this.#source), V.flagAux));
    });
  }
  /** Bring the flags to the vCPU block, where they then are. */
  toBlock(): void {
    const { now } = this;
    const code = this.#code;
    if (now.where === 'block') {
      this.normalise();
      return;
    }
    const { size, result } = this.read();
    let aux: Value;
    if (now.where === 'locals' && now.kind === undefined) aux = this.#auxOfLocals();
    else {
      const [kind, value, source] = canonical(this.read());
      aux = kind === KIND_AUX ? w.wrap(source) : code.call(this.#computeAux, w.i32(kind), value, source);
    }
    code.store(8, this.#cpu, signExtend64(size, result), V.flagRes);
    code.store(4, this.#cpu, aux, V.flagAux);
    code.store(4, this.#cpu, w.i32(0), V.flagKind);
    this.now = { where: 'block' };
  }

  /** Locals that the unevaluated state still needs. */
  pinned(): Set<number> {
    const found = new Set<number>();
    if (this.now.where !== 'state') return found;
    const { result, aux, carry, origin } = this.now.state;
    for (const value of [result, aux, carry, origin?.a, origin?.b]) if (value) collectLocals(value, found);
    return found;
  }
}

/** Kind, sign-extended result and source of a state. */
function canonical({ size, result, aux, origin }: FlagState): [number, Value, Value] {
  const wide = signExtend64(size, result);
  if (!origin || origin.kind === 'logic') return [KIND_AUX, wide, w.extendU(aux)];
  const first = origin.kind === 'sub' ? KIND_SUB : KIND_ADD;
  return [first + SIZES.indexOf(size as IntegerSize), wide, w.extendU(origin.b)];
}

/** The state that a result and a source of one kind stand for. */
function stateOf(kind: number, result: Value, source: Value): FlagState {
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
export const COMPUTE_AUX = { name: 'computeAux', params: ['i32', 'i64', 'i64'], result: 'i32' } as const;
