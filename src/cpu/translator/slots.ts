/**
 * Places of regions in the tables of handlers. Each thread that runs guest code has a table, and all have a region at the same
 * place. A place that is given back is used again only when no thread has the old region there any more, and so is a
 * place that the tables must grow for.
 */
import { FIRST_CALLED, FIRST_REGION } from '../isa/form-numbers.ts';

/** The first place of a region. */
export const FIRST_SLOT = FIRST_REGION - FIRST_CALLED;
/** Tables begin with so many places for regions, and grow by as many: it takes a millisecond. */
export const SLOTS_STEP = 1024;
/** The most regions at a time. */
export const SLOTS_MAX = 12 * SLOTS_STEP;

export class SlotPool {
  readonly #free: number[] = [];
  readonly #waiting: { readonly delivery: number; readonly slots: readonly number[] }[] = [];
  #capacity = 0;

  constructor() {
    this.#grow(0);
  }

  /** How long the tables must be. */
  get tableLength(): number {
    return FIRST_SLOT + this.#capacity;
  }
  /** Places that some thread may still have an old region at. */
  get nrWaiting(): number {
    return this.#waiting.reduce((sum, { slots }) => sum + slots.length, 0);
  }
  get canGrow(): boolean {
    return this.#capacity < SLOTS_MAX;
  }

  /**
   * Take `count` places.
   * @param installed deliveries that all threads have carried out
   * @returns undefined when there are not so many
   */
  take(count: number, installed: number): number[] | undefined {
    while (this.#waiting[0] !== undefined && this.#waiting[0].delivery <= installed) {
      this.#free.push(...(this.#waiting.shift()?.slots ?? []));
    }
    return this.#free.length < count ? undefined : this.#free.splice(this.#free.length - count);
  }

  /** Places may be used again when all threads have carried out that delivery. */
  release(slots: readonly number[], delivery: number): void {
    if (slots.length > 0) this.#waiting.push({ delivery, slots });
  }
  /** The same for new ones. */
  grow(delivery: number): void {
    this.#grow(delivery);
  }
  #grow(delivery: number): void {
    const first = this.tableLength;
    this.#capacity += SLOTS_STEP;
    this.release(
      Array.from({ length: SLOTS_STEP }, (_, i) => first + SLOTS_STEP - 1 - i),
      delivery,
    );
  }
}
