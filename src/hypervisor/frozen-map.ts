/**
 * A domain's p2m as it is when the domain is cloned: its RAM is frozen, and what the table says is copied, to be listed when the domain
 * has gone on. It is held for as long as this takes, so here is nothing that touches each entry but the engine's `freezeEntries`.
 */
import { invariant } from '../base/errors.ts';
import type { RuntimeExports } from '../cpu/runtime/signatures.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import type { Domain } from './hypervisor.ts';
import { FREEZABLE, frameOwner, mapChanged, p2mType, visitPages } from './p2m.ts';

/** A page of the table: its entries, or the first one of those that it would have. */
interface Part {
  readonly first: number;
  readonly count: number;
  readonly entries: Uint32Array | undefined;
  readonly whole: number;
}

export interface FrozenMap {
  /** Guest frames that are more than frozen RAM, RAM without a frame, or a device's, with their entries. */
  readonly others: ReadonlyMap<number, number>;
  /** All entries that map something, as `forEachEntry` has them. */
  forEachEntry(
    visit: (gfn: number, entry: number) => void,
    visitWhole: (gfn: number, count: number, entry: number) => void,
  ): void;
}

/**
 * Have every write to RAM of the domain's own seen from now on, but for frames whose addresses the hypervisor keeps. No vCPU may run,
 * and no other thread look at the table.
 */
export function freezeMap(domain: Domain, runtime: RuntimeExports, kept: ReadonlySet<number>): FrozenMap {
  const map = copyMap(domain, runtime, kept, count => count);
  mapChanged(domain);
  return map;
}

/** The same for nothing. */
export function rehearseFreeze(domain: Domain, runtime: RuntimeExports): void {
  copyMap(domain, runtime, new Set(), () => 0);
}

/** @param nrFrozen how many of so many entries */
function copyMap(
  domain: Domain,
  runtime: RuntimeExports,
  kept: ReadonlySet<number>,
  nrFrozen: (count: number) => number,
): FrozenMap {
  const { hypervisor, state, id } = domain;
  const { u16, u32 } = hypervisor.memory;
  const { p2m } = state;
  const found = runtime.frozenOthers() >>> 1;
  const parts: Part[] = [];
  const others = new Map<number, number>();
  visitPages(domain, (first, count, whole) => {
    if (whole !== 0) {
      parts.push({ first, count, entries: undefined, whole });
      return;
    }
    const at = p2m / 4 + first;
    const nrOthers = runtime.freezeEntries(at * 4, nrFrozen(count), id);
    invariant(nrOthers >= 0, 'a page of the p2m');
    for (let i = 0; i < nrOthers; i++) {
      const gfn = first + u16[found + i]!;
      const entry = u32[p2m / 4 + gfn]!;
      const frame = entry & P2m.mfnMask;
      // Somebody has a reference to it, and not its address.
      if (FREEZABLE.has(p2mType(entry)) && frameOwner(hypervisor, frame) === id && !kept.has(frame))
        u32[p2m / 4 + gfn] = (frame | (P2m.frozen << P2m.typeShift)) >>> 0;
      else others.set(gfn, entry);
    }
    parts.push({ first, count, entries: u32.slice(at, at + count), whole });
  });
  return {
    others,
    forEachEntry(visit, visitWhole) {
      for (const { first, count, entries, whole } of parts) {
        if (!entries) {
          visitWhole(first, count, whole);
          continue;
        }
        for (let i = 0; i < count; i++) if (entries[i] !== 0) visit(first + i, entries[i]!);
      }
    },
  };
}
