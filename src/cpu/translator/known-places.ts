/**
 * Places that the library may have a region for, as they are decoded. Opening a region costs as much as thousands of jumps to its
 * place do without it, and a library that many programs have filled knows places that this guest executes a few times. So a place is
 * asked for when it has become warm: its counter of jumps is set so that it comes to its limit after that many.
 *
 * Many places share a counter. While one of them waits, the limit is reached often, mostly by others, which are not hot yet; after a
 * while nobody waits there any more. What is forgotten is looked for in the library when it is hot.
 *
 * Each thread has its own list. What a vCPU's counter was set for is forgotten when another thread takes the vCPU: the place then
 * counts as hot, and the library is asked just the same.
 */
import { machineHeader } from '../../machine/header.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import { heatIndex } from '../interpreter/heat-index.ts';
import { HEAT_OFFSET } from '../vcpu/layout.ts';

/** Jumps that make a place warm. */
const WARM_JUMPS = 2048;
/** More do not wait at a counter. */
const WAITING_MAX = 16;

interface Waiting {
  /** Records of the places. */
  readonly records: Set<number>;
  /** How often the counter may still come to its limit for nothing. */
  patience: number;
}

export class KnownPlaces {
  readonly #memory: MachineMemory;
  /** By position of the counter in memory. */
  readonly #waiting = new Map<number, Waiting>();
  #generation = 0;

  constructor(memory: MachineMemory) {
    this.#memory = memory;
  }

  /** A vCPU has decoded such a place. */
  add(cpu: number, record: number): void {
    const { codeGeneration, hotJumps } = machineHeader(this.#memory);
    if (codeGeneration !== this.#generation) {
      // All records are gone.
      this.#generation = codeGeneration;
      this.#waiting.clear();
    }
    const counter = counterOf(cpu, record);
    const waiting = this.#waiting.get(counter);
    if (waiting) {
      if (waiting.records.size < WAITING_MAX) waiting.records.add(record);
      return;
    }
    // Waiting costs no more than half of what makes a place hot.
    const patience = Math.trunc(hotJumps / (2 * WARM_JUMPS));
    if (patience === 0) return;
    this.#waiting.set(counter, { records: new Set([record]), patience });
    this.#wind(counter);
  }

  /**
   * The counter of jumps to `record` has come to its limit.
   * @returns whether the place is known, and warm; or hot, whether it is known or not; or neither
   */
  reached(cpu: number, record: number): 'warm' | 'hot' | undefined {
    const counter = counterOf(cpu, record);
    const waiting = this.#waiting.get(counter);
    if (!waiting) return 'hot';
    const isWarm = waiting.records.delete(record);
    if (!isWarm) waiting.patience -= 1;
    if (waiting.records.size === 0 || waiting.patience === 0) this.#waiting.delete(counter);
    else this.#wind(counter);
    return isWarm ? 'warm' : undefined;
  }

  /** So many jumps from its limit, if it is not nearer. */
  #wind(counter: number): void {
    const { u16 } = this.#memory;
    const near = machineHeader(this.#memory).hotJumps - WARM_JUMPS;
    u16[counter] = Math.max(u16[counter] as number, near);
  }
}

const counterOf = (cpu: number, record: number): number => ((cpu + HEAT_OFFSET) >>> 1) + heatIndex(record);
