/**
 * The pages of a region as its code knows them: by their distance from the one where the region begins. Where they are, and which
 * code pages they had when the region was made, is read from the region's record, since it may be another machine's.
 */
import { CodePage, GRANULE_SHIFT } from '../decode/record.ts';
import { tlbEntry } from '../isa/tlb.ts';
import { TlbEntry, Vcpu } from '../vcpu/layout.ts';
import type { Code, Local, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { regionPageOffset } from './layout.ts';
import { PAGE, type Place } from './region.ts';

/** Pages whose mapping is looked at once only. */
const MAPPED_BITS = 32;

export class RegionPages {
  readonly #code: Code;
  readonly #cpu: Value;
  readonly #record: Local;
  /** Distances, in the order of the record. */
  readonly #distances: readonly number[];
  /** Linear address of the page where the region begins. */
  readonly first: Local;
  /** Pages that are known to be mapped as the region was made, a bit each in the order of the record. */
  readonly #mapped: Local;

  constructor(code: Code, cpu: Value, record: Local, distances: readonly number[]) {
    this.#code = code;
    this.#cpu = cpu;
    this.#record = record;
    this.#distances = distances;
    this.first = code.local('i64');
    this.#mapped = code.local('i32');
  }

  get length(): number {
    return this.#distances.length;
  }
  /** Linear address of a place. */
  address({ page, offset }: Place): Value {
    return w.add(this.first, w.i64(page * PAGE + offset));
  }
  /** Machine address of the word in its code page's table that belongs to a place: 0, or that of a zero, when there is none. */
  slot({ page, offset }: Place): Value {
    const granule = offset >> GRANULE_SHIFT;
    const part = w.load('i32', 4, this.#codePage(page), CodePage.offsets.table + granule * 4);
    return w.add(part, w.i32((offset - (granule << GRANULE_SHIFT)) * 4));
  }
  #table(page: number): Value {
    return w.add(this.#codePage(page), w.i32(CodePage.offsets.table));
  }
  #codePage(page: number): Value {
    return w.load('i32', 4, this.#record, regionPageOffset(this.#distances.indexOf(page)));
  }

  /** Go on only if a page is mapped as when the region was made. */
  require(page: number, leave: () => void): void {
    const code = this.#code;
    const check = () => code.if(w.eqz(this.#isMapped(page)), leave, undefined, false);
    const index = this.#distances.indexOf(page);
    if (index >= MAPPED_BITS) {
      check();
      return;
    }
    const bit = w.i32(1 << index);
    const look = () => {
      check();
      code.set(this.#mapped, w.or(this.#mapped, bit));
    };
    code.if(w.eqz(w.and(this.#mapped, bit)), look, undefined, false);
  }
  /** Mappings may have changed: only handlers do that. */
  forget(): void {
    if (this.length > 1) this.#code.set(this.#mapped, w.i32(0));
  }
  #isMapped(page: number): Value {
    const code = this.#code;
    const linear = code.let(this.address({ page, offset: 0 }));
    const entry = code.let(tlbEntry(w.load('i32', 4, this.#cpu, Vcpu.offsets.tlbExec), linear));
    return w.and(
      w.eq(w.load('i64', 8, entry, TlbEntry.offsets.tag), linear),
      w.eq(w.load('i32', 4, entry, TlbEntry.offsets.addend), this.#table(page)),
    );
  }
}
