/** Remembers where computed jumps and returns lead, so that the translator can have the likely places in a region. */
import { JUMP_TARGETS_OFFSET, JumpTarget, Vcpu } from '../vcpu/layout.ts';
import type { Code, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { FEW_MASK } from './jump-table.ts';

/** Knuth's multiplicative hash: 2^32 divided by the golden ratio. */
const GOLDEN = 0x9e3779b1;
/**
 * The jump at an address, of which `from` is the low half, leads to linear `target`. Pairs that share a place in the table push
 * each other out.
 */
export function noteTarget(code: Code, cpu: Value, from: Value, target: Value): void {
  const hash = w.mul(w.add(from, w.wrap(target)), w.i32(GOLDEN));
  const mask = w.or(w.load('i32', 4, cpu, Vcpu.offsets.jumpTargetsMask), w.i32(FEW_MASK));
  const slot = w.and(w.shrU(hash, w.i32(14)), mask);
  const entry = code.let(w.add(cpu, slot));
  const field = (name: keyof typeof JumpTarget.offsets) => JUMP_TARGETS_OFFSET + JumpTarget.offsets[name];
  const isKnown = w.and(
    w.eq(w.load('i32', 4, entry, field('from')), from),
    w.eq(w.load('i64', 8, entry, field('target')), target),
  );
  const count = w.select(isKnown, w.load('i32', 4, entry, field('count')), w.i32(0));
  code.store(4, entry, w.add(count, w.i32(1)), field('count'));
  code.store(4, entry, from, field('from'));
  code.store(8, entry, target, field('target'));
}
