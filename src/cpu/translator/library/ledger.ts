/**
 * What one machine has in use of the library, and what the library is to have of it.
 *
 * A new region is not for the library until it has been opened, for only then it is known that it was made of what its code had
 * been. What is held here is bounded: when the maker has nothing else to do, it hands modules on, and forgets them.
 */
import type { MachineMemory } from '../../../machine/memory.ts';
import { COMPUTE_AUX } from '../../interpreter/flag-kinds.ts';
import { importsOf } from '../../runtime/runtime.ts';
import type { RuntimeExports } from '../../runtime/signatures.ts';
import { type Kept, Library } from './library.ts';
import type { StoredRegion } from './volume.ts';

export interface ModuleLimits {
  /** Modules that are held at a time, and new ones that the library gets of one machine: of more it would be of little use. */
  readonly most: number;
  /** Modules that stay here when there is time to hand them on. Small programs end with fewer. */
  readonly atRest: number;
}
const LIMITS: ModuleLimits = { most: 1024, atRest: 256 };

/** A region that the library has, or will have. */
interface Owned {
  readonly kept: Kept;
  readonly region: StoredRegion;
}

export interface LedgerParts {
  /** Undefined when nothing is kept. */
  readonly library?: Library | undefined;
  readonly memory: MachineMemory;
  readonly runtime: RuntimeExports;
}

export class Ledger {
  readonly #library: Library | undefined;
  readonly #limits: ModuleLimits;
  readonly #imports: WebAssembly.Imports;
  /** The oldest first: how many of a module's regions are in use. */
  readonly #held = new Map<Kept, number>();
  /** By slot. */
  readonly #owned = new Map<number, Owned>();
  /** Slots of new regions that may not have been opened yet, the oldest first: the delivery that they are opened with. */
  readonly #unsure = new Map<number, number>();
  #nrNew = 0;

  constructor({ library, memory, runtime }: LedgerParts, limits = LIMITS) {
    this.#library = library;
    this.#limits = limits;
    const nothing = () => 0;
    const handlers = new WebAssembly.Table({ element: 'anyfunc', initial: 0 });
    this.#imports = {
      env: { memory: memory.wasm },
      runtime: importsOf(runtime),
      interpreter: { handlers, [COMPUTE_AUX.name]: nothing, hot: nothing },
    };
  }

  /** Modules that are held. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * A region is to be in use at a slot.
   * @param delivery number of the one that it is opened with, if it was made here
   */
  enter(slot: number, { kept, region }: Owned, delivery?: number): void {
    if (!this.#library) return;
    const inUse = this.#held.get(kept);
    if (inUse === undefined) {
      if (this.#held.size >= this.#limits.most) return;
      if (delivery !== undefined && ++this.#nrNew > this.#limits.most) return;
    }
    this.#held.set(kept, (inUse ?? 0) + 1);
    this.#owned.set(slot, { kept, region });
    if (delivery === undefined) return;
    kept.regions.add(region);
    this.#unsure.set(slot, delivery);
  }
  /** Of so many deliveries it is known which of their regions could not be opened: all those have left. */
  confirm(nrInstalled: number): void {
    for (const [slot, delivery] of this.#unsure) {
      if (delivery > nrInstalled) return;
      this.#unsure.delete(slot);
    }
  }
  /** The slot is free again. If it is not known that the region there ever was opened, it is not for the library. */
  leave(slot: number): void {
    const { kept, region } = this.#owned.get(slot) ?? {};
    if (region && this.#unsure.delete(slot)) kept?.regions.delete(region);
    this.#release(slot);
  }
  /** A larger region has taken the place of the one there. */
  replace(slot: number): void {
    const { kept, region } = this.#owned.get(slot) ?? {};
    if (region) kept?.regions.delete(region);
    this.#unsure.delete(slot);
    this.#release(slot);
  }
  #release(slot: number): void {
    const { kept } = this.#owned.get(slot) ?? {};
    if (!kept) return;
    this.#owned.delete(slot);
    const inUse = (this.#held.get(kept) as number) - 1;
    this.#held.set(kept, inUse);
    if (inUse === 0 && kept.regions.size === 0 && !Library.has(kept)) this.#held.delete(kept);
  }

  /**
   * Hand one of the modules that are too many to the library, and forget it: one that has no region in use, or the oldest.
   * @returns whether there was one
   */
  handOn(): boolean {
    if (this.#held.size <= this.#limits.atRest) return false;
    const unsure = new Set([...this.#unsure.keys()].map(slot => this.#owned.get(slot)?.kept));
    const sure = [...this.#held].filter(([kept]) => !unsure.has(kept));
    const [kept] = sure.find(([, inUse]) => inUse === 0) ?? sure[0] ?? [];
    if (!kept) return false;
    this.#library?.keep(kept, module => this.#functionsOf(module));
    this.#held.delete(kept);
    for (const [slot, owned] of this.#owned) if (owned.kept === kept) this.#owned.delete(slot);
    return true;
  }

  /** At the end: hand on what is known to be right. */
  close(): void {
    for (const slot of [...this.#unsure.keys()]) this.leave(slot);
    for (const kept of this.#held.keys()) this.#library?.keep(kept, module => this.#functionsOf(module));
    this.#held.clear();
    this.#owned.clear();
    this.#library?.tidy();
  }

  #functionsOf(module: WebAssembly.Module): unknown[] {
    return Object.values(new WebAssembly.Instance(module, this.#imports).exports);
  }
}
