/**
 * Hot places on their way from the threads that run guest code to the maker of regions: a ring in machine memory that
 * many write and one reads. When it is full a place is not taken; it will be hot again.
 */
import type { MachineMemory } from '../../machine/memory.ts';
import { REQUESTS, Request, TranslatorState } from './layout.ts';

const S = TranslatorState.offsets;
const R = Request.offsets;
const FIELDS = ['reason', 'cpu', 'mode', 'record', 'offset', 'codePage', 'generation'] as const;

/** Why the maker is told of a place. */
export const Reason = {
  /** Many jumps lead there. */
  hot: 0,
  /** It was decoded, and a region of an earlier run may begin there. */
  known: 1,
  /** It is the first one in its code page. */
  page: 2,
} as const;

/** A place in code, as the vCPU that executes it sees it. */
export interface HotPlace {
  readonly reason: number;
  readonly cpu: number;
  readonly mode: number;
  /** The instruction's record, its offset in the page, and the code page. */
  readonly record: number;
  readonly offset: number;
  readonly codePage: number;
  /** Of the code cache. */
  readonly generation: number;
  /** Linear address of the page. */
  readonly linear: bigint;
}

export class RequestRing {
  readonly #memory: MachineMemory;
  readonly #tail: number;
  readonly #head: number;
  readonly #requests: number;

  /** @param state address of the TranslatorState */
  constructor(memory: MachineMemory, state: number) {
    this.#memory = memory;
    this.#tail = (state + S.tail) >>> 2;
    this.#head = (state + S.head) >>> 2;
    this.#requests = state + S.requests;
  }

  #at(position: number): number {
    return this.#requests + (position & (REQUESTS - 1)) * Request.size;
  }

  /** Returns whether there was room. */
  offer(place: HotPlace): boolean {
    const { u32, view } = this.#memory;
    let position = Atomics.load(u32, this.#tail);
    for (;;) {
      if (((position - Atomics.load(u32, this.#head)) | 0) >= REQUESTS) return false;
      const found = Atomics.compareExchange(u32, this.#tail, position, (position + 1) >>> 0);
      if (found === position) break;
      position = found;
    }
    const at = this.#at(position);
    for (const name of FIELDS) {
      u32[(at + R[name]) >>> 2] = place[name];
    }
    view.setBigUint64(at + R.linear, place.linear, true);
    Atomics.store(u32, (at + R.isReady) >>> 2, 1);
    return true;
  }

  take(): HotPlace | undefined {
    const { u32, view } = this.#memory;
    const position = u32[this.#head] as number;
    const at = this.#at(position);
    if (Atomics.load(u32, (at + R.isReady) >>> 2) === 0) return undefined;
    const field = (name: (typeof FIELDS)[number]) => u32[(at + R[name]) >>> 2] as number;
    const place: HotPlace = {
      reason: field('reason'),
      cpu: field('cpu'),
      mode: field('mode'),
      record: field('record'),
      offset: field('offset'),
      codePage: field('codePage'),
      generation: field('generation'),
      linear: view.getBigUint64(at + R.linear, true),
    };
    Atomics.store(u32, (at + R.isReady) >>> 2, 0);
    Atomics.store(u32, this.#head, (position + 1) >>> 0);
    return place;
  }
}
