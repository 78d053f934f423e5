/** What one machine has in use of the library, and what the library is to have of it. */
import type { MachineMemory } from '../../../machine/memory.ts';
import { COMPUTE_AUX } from '../../interpreter/flag-kinds.ts';
import type { RuntimeExports } from '../../runtime/signatures.ts';
import type { Kept, Library } from './library.ts';
import type { StoredRegion } from './volume.ts';

/** Modules that are remembered for the library: of more it would be of little use. */
const KEPT_MAX = 1024;

/** A region that the library has, or will have. */
interface Owned {
  readonly kept: Kept;
  readonly region: StoredRegion;
  /** It was made here. */
  readonly isNew: boolean;
}

export class Ledger {
  readonly #library: Library | undefined;
  readonly #kept = new Set<Kept>();
  /** By slot. */
  readonly #owned = new Map<number, Owned>();

  /** @param library undefined when nothing is kept */
  constructor(library: Library | undefined) {
    this.#library = library;
  }

  /** A region is to be in use at a slot. */
  enter(slot: number, owned: Owned): void {
    if (!this.#library) return;
    const { kept, region } = owned;
    if (!this.#kept.has(kept) && this.#kept.size >= KEPT_MAX) return;
    this.#kept.add(kept);
    kept.regions.add(region);
    this.#owned.set(slot, owned);
  }
  /** The slot is free again. */
  leave(slot: number): void {
    this.#owned.delete(slot);
  }
  /** It is not known that the region there ever was what its code had been: not for the library, if it is new. */
  doubt(slot: number): void {
    const { kept, region, isNew } = this.#owned.get(slot) ?? {};
    if (region && isNew) kept?.regions.delete(region);
    this.#owned.delete(slot);
  }
  /** A larger region has taken the place of the one there. */
  replace(slot: number): void {
    const { kept, region } = this.#owned.get(slot) ?? {};
    if (region) kept?.regions.delete(region);
    this.#owned.delete(slot);
  }

  /** Hand what is new to the library. */
  save(memory: MachineMemory, runtime: RuntimeExports): void {
    const library = this.#library;
    if (!library) return;
    const nothing = () => 0;
    const handlers = new WebAssembly.Table({ element: 'anyfunc', initial: 0 });
    const imports = {
      env: { memory: memory.wasm },
      runtime: { ...runtime },
      interpreter: { handlers, [COMPUTE_AUX.name]: nothing, hot: nothing },
    };
    const functionsOf = (module: WebAssembly.Module) =>
      Object.values(new WebAssembly.Instance(module, imports).exports);
    for (const kept of this.#kept) library.keep(kept, functionsOf);
    library.tidy();
  }
}
