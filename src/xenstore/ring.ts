/**
 * The xenstore ring page: two byte rings of 1024 bytes between a domain and xenstore.
 *
 * The domain can write any byte of the page at any time. So each index is read once, checked (producer minus consumer,
 * modulo 2^32, is at most the ring's size), and only its low bits address the ring: nothing outside the page is touched.
 * Source: Xen public/io/xs_wire.h, docs/misc/xenstore-ring.txt.
 */
import { XENSTORE_RING_SIZE, XenstoreDomainInterface } from '../abi/xen/io.ts';
import type { MachineAddress } from '../base/brand.ts';
import { invariant } from '../base/errors.ts';
import type { MachineMemory } from '../machine/memory.ts';

export {
  XENSTORE_RING_SIZE as RING_BYTES,
  XenstoreDomainInterface as XenstoreRing,
} from '../abi/xen/io.ts';

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
      ringAddress + XenstoreDomainInterface.size <= memory.sizeBytes,
      'the xenstore ring is not in machine memory',
    );
    this.#u8 = memory.u8;
    this.#words = memory.u32;
    this.#base = ringAddress;
  }

  load(field: WordField): number {
    return Atomics.load(this.#words, (this.#base + XenstoreDomainInterface.offsets[field]) >> 2);
  }

  store(field: WordField, value: number): void {
    Atomics.store(this.#words, (this.#base + XenstoreDomainInterface.offsets[field]) >> 2, value);
  }

  /** Take up to `into.length` bytes of requests. */
  receive(into: Uint8Array): number {
    const cons = this.load('req_cons');
    const available = (this.load('req_prod') - cons) >>> 0;
    if (available > XENSTORE_RING_SIZE) return -1;
    const count = Math.min(available, into.length);
    const base = this.#base + XenstoreDomainInterface.offsets.req;
    const start = cons & (XENSTORE_RING_SIZE - 1);
    const first = Math.min(count, XENSTORE_RING_SIZE - start);
    into.set(this.#u8.subarray(base + start, base + start + first), 0);
    into.set(this.#u8.subarray(base, base + count - first), first);
    if (count > 0) this.store('req_cons', cons + count);
    return count;
  }

  /** Put in as much of `from` as there is room for. */
  send(from: Uint8Array): number {
    const prod = this.load('rsp_prod');
    const used = (prod - this.load('rsp_cons')) >>> 0;
    if (used > XENSTORE_RING_SIZE) return -1;
    const count = Math.min(XENSTORE_RING_SIZE - used, from.length);
    const base = this.#base + XenstoreDomainInterface.offsets.rsp;
    const start = prod & (XENSTORE_RING_SIZE - 1);
    const first = Math.min(count, XENSTORE_RING_SIZE - start);
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
