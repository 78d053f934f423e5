/** Looking an address up in a TLB table, as generated code does (layout: vcpu/layout.ts). */
import { TLB_ENTRIES } from '../vcpu/layout.ts';
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';

/** The entry of the table where linear `address` would be. Its bits are in the low half: a shift of 32 bits needs no move behind it. */
export const tlbEntry = (table: Value, address: Value): Value =>
  w.add(table, w.and(w.shrU(w.wrap(address), w.i32(8)), w.i32((TLB_ENTRIES - 1) << 4)));
