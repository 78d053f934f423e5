/**
 * Places that the library may have a region for, as they are decoded. Opening a region costs as much as some hundred jumps to its place
 * do without it, and a library that many programs have filled knows places that this guest executes once. So a place is asked for
 * when it has become warm.
 */
import type { MachineMemory } from '../../machine/memory.ts';
import { heatIndex } from '../interpreter/heat.ts';
import { HEAT_OFFSET } from '../vcpu/layout.ts';
import type { HotPlace } from './requests.ts';

/** Jumps that make a place warm. */
const WARM_JUMPS = 48;
/** Places looked at between two slices; the others have their turn later. */
const LOOKS = 1024;
/** More than these do not wait: the longest make way, and are looked for in the library when they are hot. */
const WAITING_MAX = 16_384;

export class KnownPlaces {
  readonly #memory: MachineMemory;
  /** Those that have waited for longest since the last look come first. */
  #waiting: HotPlace[] = [];

  constructor(memory: MachineMemory) {
    this.#memory = memory;
  }

  add(place: HotPlace): void {
    if (this.#waiting.length >= WAITING_MAX) this.#waiting.splice(0, LOOKS);
    this.#waiting.push(place);
  }

  /** Those that have become warm. */
  takeWarm(): HotPlace[] {
    if (this.#waiting.length === 0) return [];
    const looked = this.#waiting.splice(0, LOOKS);
    const warm = looked.filter(place => this.#isWarm(place));
    const taken = new Set(warm);
    this.#waiting.push(...looked.filter(place => !taken.has(place)));
    return warm;
  }

  #isWarm({ cpu, record }: HotPlace): boolean {
    return (this.#memory.u16[((cpu + HEAT_OFFSET) >>> 1) + heatIndex(record)] as number) >= WARM_JUMPS;
  }
}
