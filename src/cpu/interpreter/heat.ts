/** Finding what is worth translating: jumps are counted by where they lead. */
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import { HEAT_ENTRIES, HEAT_OFFSET } from '../vcpu/layout.ts';
import type { Code, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { Functions } from './emitter.ts';

/** A jump leads to `record`: when it is one of many, the translator may want to know. */
export function countJump(code: Code, cpu: Value, record: Value, functions: Functions): void {
  const slot = w.and(w.shrU(record, w.i32(4)), w.i32((HEAT_ENTRIES - 1) << 1));
  const entry = code.let(w.add(cpu, slot));
  const heat = code.let(w.add(w.load('i32', 2, entry, HEAT_OFFSET), w.i32(1)));
  code.store(2, entry, heat, HEAT_OFFSET);
  const hotJumps = w.load('i32', 4, w.i32(MACHINE_HEADER), MachineHeader.offsets.hotJumps);
  code.if(w.eq(heat, hotJumps), () => {
    code.store(2, entry, w.i32(0), HEAT_OFFSET);
    code.call(functions.runtime('hot'), cpu, record);
  });
}
