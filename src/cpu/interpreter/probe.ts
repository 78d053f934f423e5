/** From an address to the decoded instruction there, by the execute TLB alone. */
import { GRANULE_SHIFT } from '../decode/record.ts';
import { tlbEntry } from '../isa/tlb.ts';
import { TlbEntry, Vcpu } from '../vcpu/layout.ts';
import type { Code, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';

/** Find the record at linear `target` through the execute TLB; where there is none, or `found` goes on, so does the code. */
export function probe(code: Code, cpu: Value, target: Value, found: (record: Value) => void): void {
  const V = Vcpu.offsets;
  const entry = code.let(tlbEntry(w.load('i32', 4, cpu, V.tlbExec), target));
  const page = code.let(w.and(target, w.i64(-4096)));
  code.if(w.eq(w.load('i64', 8, entry, TlbEntry.offsets.tag), page), () => {
    const offset = code.let(w.and(w.wrap(target), w.i32(4095)));
    const granule = w.shl(w.shrU(offset, w.i32(GRANULE_SHIFT)), w.i32(2));
    const part = w.load('i32', 4, w.add(w.load('i32', 4, entry, TlbEntry.offsets.addend), granule));
    const inPart = w.shl(w.and(offset, w.i32((1 << GRANULE_SHIFT) - 1)), w.i32(2));
    const record = code.let(w.load('i32', 4, w.add(part, inPart)));
    code.if(record, () => {
      code.store(8, cpu, page, V.codePage);
      found(record);
    });
  });
}
