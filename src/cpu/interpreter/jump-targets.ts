/** Remembers where computed jumps lead, so that the translator can have the likely places in a region. */
import { JUMP_TARGETS, JUMP_TARGETS_OFFSET, JumpTarget } from '../vcpu/layout.ts';
import type { Code, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';

/** Knuth's multiplicative hash: 2^32 divided by the golden ratio. */
const GOLDEN = 0x9e3779b1;

/** The jump of `record` leads to linear `target`. Pairs that share a place in the table push each other out. */
export function noteTarget(code: Code, cpu: Value, record: Value, target: Value): void {
  const hash = w.mul(w.add(record, w.wrap(target)), w.i32(GOLDEN));
  const slot = w.and(w.shrU(hash, w.i32(16)), w.i32((JUMP_TARGETS - 1) * JumpTarget.size));
  const entry = code.let(w.add(cpu, slot));
  code.store(4, entry, record, JUMP_TARGETS_OFFSET + JumpTarget.offsets.record);
  code.store(8, entry, target, JUMP_TARGETS_OFFSET + JumpTarget.offsets.target);
}
