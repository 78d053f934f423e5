/**
 * The xenstore ring page: two byte rings of 1024 bytes between a domain and xenstore.
 *
 * The domain can write any byte of the page at any time. So each index is read once, checked (producer minus consumer,
 * modulo 2^32, is at most the ring's size), and only its low bits address the ring: nothing outside the page is touched.
 * Source: Xen public/io/xs_wire.h, docs/misc/xenstore-ring.txt.
 */
import type { MachineAddress } from '../base/brand.ts';
import { invariant } from '../base/errors.ts';
import { bytes, struct, u32 } from '../base/struct.ts';
import type { MachineMemory } from '../machine/memory.ts';

export const RING_BYTES = 1024;

export const XenstoreRing = struct('xenstore_domain_interface', {
  req: bytes(RING_BYTES),
  rsp: bytes(RING_BYTES),
  req_cons: u32,
  req_prod: u32,
  rsp_cons: u32,
  rsp_prod: u32,
  server_features: u32,
  connection: u32,
  error: u32,
});

export const ServerFeature = { reconnection: 1, error: 2 } as const;
export const ConnectionState = { connected: 0, reconnect: 1 } as const;
export const RingError = { none: 0, communication: 1, ringIndex: 2, protocol: 3 } as const;

/** Where a domain's ring is, and how to raise its event channel. */
export interface RingAttachment {
  readonly memory: MachineMemory;
  readonly ringAddress: MachineAddress;
  notify(): void;
}

type WordField =
  | 'req_cons'
  | 'req_prod'
  | 'rsp_cons'
  | 'rsp_prod'
  | 'server_features'
  | 'connection'
  | 'error';

/** xenstore's end of a ring page. Transfers return the number of bytes moved, or -1 for impossible indices. */
export class Ring {
  readonly #u8: Uint8Array;
  readonly #words: Uint32Array;
  readonly #base: number;

  constructor({ memory, ringAddress }: RingAttachment) {
    invariant(ringAddress % 4 === 0, 'the xenstore ring is not aligned');
    invariant(
      ringAddress + XenstoreRing.size <= memory.sizeBytes,
      'the xenstore ring is not in machine memory',
    );
    this.#u8 = memory.u8;
    this.#words = memory.u32;
    this.#base = ringAddress;
  }

  load(field: WordField): number {
    return Atomics.load(this.#words, (this.#base + XenstoreRing.offsets[field]) >> 2);
  }

  store(field: WordField, value: number): void {
    Atomics.store(this.#words, (this.#base + XenstoreRing.offsets[field]) >> 2, value);
  }

  /** Take up to `into.length` bytes of requests. */
  receive(into: Uint8Array): number {
    const cons = this.load('req_cons');
    const available = (this.load('req_prod') - cons) >>> 0;
    if (available > RING_BYTES) return -1;
    const count = Math.min(available, into.length);
    const base = this.#base + XenstoreRing.offsets.req;
    const start = cons & (RING_BYTES - 1);
    const first = Math.min(count, RING_BYTES - start);
    into.set(this.#u8.subarray(base + start, base + start + first), 0);
    into.set(this.#u8.subarray(base, base + count - first), first);
    if (count > 0) this.store('req_cons', cons + count);
    return count;
  }

  /** Put in as much of `from` as there is room for. */
  send(from: Uint8Array): number {
    const prod = this.load('rsp_prod');
    const used = (prod - this.load('rsp_cons')) >>> 0;
    if (used > RING_BYTES) return -1;
    const count = Math.min(RING_BYTES - used, from.length);
    const base = this.#base + XenstoreRing.offsets.rsp;
    const start = prod & (RING_BYTES - 1);
    const first = Math.min(count, RING_BYTES - start);
    this.#u8.set(from.subarray(0, first), base + start);
    this.#u8.set(from.subarray(first, count), base);
    if (count > 0) this.store('rsp_prod', prod + count);
    return count;
  }

  resetIndices(): void {
    this.store('req_cons', 0);
    this.store('req_prod', 0);
    this.store('rsp_cons', 0);
    this.store('rsp_prod', 0);
  }
}
