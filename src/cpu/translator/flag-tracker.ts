/**
 * Where the arithmetic flags are at each point of a region: still in the vCPU block, as an instruction left them (an
 * unevaluated FlagState), or in three locals that blocks agree on where they meet.
 *
 * The locals hold `flagRes`, a source, and which kind the source is of: the aux word itself, or the second operand of an
 * addition or subtraction, from which the aux word is computed only when somebody asks.
 */
import { canonical, KIND_AUX, normaliseFlags, stateOf } from '../interpreter/flag-kinds.ts';
import { signExtend64 } from '../isa/emitter.ts';
import type { FlagState } from '../isa/flags.ts';
import { Vcpu } from '../vcpu/layout.ts';
import type { Callee, Code, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { collectLocals } from '../wasm/code.ts';

const V = Vcpu.offsets;
/** The flags are in the vCPU block, the locals say nothing. */
const KIND_IN_BLOCK = -1;

export type Tracked =
  | { readonly where: 'block' }
  | { readonly where: 'state'; readonly state: FlagState }
  /** In the locals, of one known kind, or of several. */
  | { readonly where: 'locals'; readonly kind: number | undefined };

const NONE: ReadonlySet<number> = new Set();

export class FlagTracker {
  readonly #code: Code;
  readonly #cpu: Value;
  readonly #computeAux: Callee;
  readonly #result: Local;
  readonly #source: Local;
  readonly #kind: Local;
  now: Tracked = { where: 'block' };
  #pinned: ReadonlySet<number> = NONE;
  #pinnedBy: FlagState | undefined;

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
    normaliseFlags(this.#code, this.#cpu, this.#computeAux);
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
  pinned(): ReadonlySet<number> {
    if (this.now.where !== 'state') return NONE;
    const { state } = this.now;
    const { result, aux, carry, origin } = state;
    if (this.#pinnedBy !== state) {
      const found = new Set<number>();
      for (const value of [result, aux, carry, origin?.a, origin?.b]) if (value) collectLocals(value, found);
      this.#pinnedBy = state;
      this.#pinned = found;
    }
    return this.#pinned;
  }
}
