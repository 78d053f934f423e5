/**
 * Modules of the library that the threads have: as long as a region of theirs is in use, more are taken from the same instance. The
 * threads know them by numbers.
 */
import type { Kept } from './library/library.ts';

interface Module {
  readonly id: number;
  readonly kept: Kept;
  /** Slots of its regions. */
  readonly slots: Set<number>;
}

export class HandedOut {
  readonly #byKept = new Map<Kept, Module>();
  readonly #bySlot = new Map<number, Module>();
  #nextId = 0;

  /**
   * Regions of the module come to slots.
   * @returns its number, and whether the threads do not have it yet
   */
  add(kept: Kept, places: readonly { readonly slot: number }[]): { id: number; isNew: boolean } {
    const known = this.#byKept.get(kept);
    const module = known ?? { id: this.#nextId++, kept, slots: new Set<number>() };
    this.#byKept.set(kept, module);
    for (const { slot } of places) {
      module.slots.add(slot);
      this.#bySlot.set(slot, module);
    }
    return { id: module.id, isNew: !known };
  }

  /**
   * Slots are free again.
   * @returns numbers of the modules that have none any more
   */
  release(slots: readonly number[]): number[] {
    return slots.flatMap(slot => {
      const module = this.#bySlot.get(slot);
      this.#bySlot.delete(slot);
      module?.slots.delete(slot);
      if (!module || module.slots.size > 0) return [];
      this.#byKept.delete(module.kept);
      return [module.id];
    });
  }
}
