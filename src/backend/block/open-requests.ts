/**
 * What a backend has taken from its rings and not answered yet, kept outside of it: when it dies in the middle, another one does these
 * requests again, before all others and in the same order. Nobody has been told of their end, so doing them twice is doing them once.
 *
 * They are copies. A slot of a ring is no place to find a request again: answers are given in the order in which requests end, and
 * overwrite slots of others.
 */

import { BlkifRequest } from '../../abi/xen/blkif.ts';

/** Backends that may die of a request: then it is answered with an error. */
export const DEATHS_MAX = 3;

/** Copies that are kept for other requests: allocating them, and collecting them again, was a twelfth of a backend's time. */
const SPARES_MAX = 128;

/** A request as it was taken: the bytes of its slot. */
export class TakenRequest {
  readonly words = new Uint32Array(BlkifRequest.size / 4);
  readonly view = new DataView(this.words.buffer);
}

/** Of one ring, in the order in which they were taken. */
export class OpenRing {
  /** How many backends have died of it. */
  readonly #deaths = new Map<TakenRequest, number>();
  readonly #spares: TakenRequest[] = [];

  get size(): number {
    return this.#deaths.size;
  }
  all(): TakenRequest[] {
    return [...this.#deaths.keys()];
  }
  /** Room for the copy of one more, which is open from now on. */
  take(): TakenRequest {
    const request = this.#spares.pop() ?? new TakenRequest();
    this.#deaths.set(request, 0);
    return request;
  }
  /** The domain has been shown the answer: nobody has to do with the request any more. */
  answered(request: TakenRequest): void {
    this.#deaths.delete(request);
    if (this.#spares.length < SPARES_MAX) this.#spares.push(request);
  }
  /** @param culprit what the backend was at, when that is known */
  died(culprit: TakenRequest | undefined): void {
    for (const [request, deaths] of this.#deaths) {
      if (culprit === undefined || culprit === request) this.#deaths.set(request, deaths + 1);
    }
  }
  isDeadly(request: TakenRequest): boolean {
    return (this.#deaths.get(request) ?? 0) >= DEATHS_MAX;
  }
}

/** Of all rings of a device, as long as the domain's connection lasts. */
export class OpenRequests {
  #connection = '';
  readonly #rings: OpenRing[] = [];

  /** The domain's connection, by all that it says of it. What was open in another one is nobody's any more. */
  connected(connection: string): void {
    if (connection !== this.#connection) this.clear();
    this.#connection = connection;
  }
  clear(): void {
    this.#connection = '';
    this.#rings.length = 0;
  }
  get size(): number {
    return this.#rings.reduce((total, ring) => total + ring.size, 0);
  }
  ring(index: number): OpenRing {
    this.#rings[index] ??= new OpenRing();
    return this.#rings[index];
  }
  /** The backend is dead, of one of the requests or nobody knows of which. */
  died(culprit: TakenRequest | undefined): void {
    for (const ring of this.#rings) ring.died(culprit);
  }
}
