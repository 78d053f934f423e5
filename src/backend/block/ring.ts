/**
 * The backend's end of a block ring: requests come in, responses go out in the same slots.
 *
 * The ring is one or more pages that need not lie behind one another, so slots are copied out and in. The domain can write any
 * byte at any time: indices are read once and checked, a request is copied once and used from the copy.
 * Source: Xen public/io/ring.h.
 */
import { BlkifRequest, BlkifResponse, BlkifSring } from '../../abi/xen/blkif.ts';
import { type MachineAddress, PAGE_SIZE } from '../../base/brand.ts';
import { invariant } from '../../base/errors.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import { OpenRing, type TakenRequest } from './open-requests.ts';

export const SLOT_BYTES = BlkifRequest.size;
const SLOTS_AT = BlkifSring.offsets.ring;

/** Slots of a ring of so many pages: the largest power of two that fits. */
export const slotsOf = (nrPages: number): number =>
  2 ** Math.floor(Math.log2((nrPages * PAGE_SIZE - SLOTS_AT) / SLOT_BYTES));

export class BlockRing {
  readonly nrSlots: number;
  readonly #u8: Uint8Array;
  readonly #words: Int32Array;
  readonly #pages: readonly MachineAddress[];
  readonly #response = new Uint8Array(BlkifResponse.size);
  readonly #responseFields = BlkifResponse.at(new DataView(this.#response.buffer), 0);
  /** Requests taken, and responses written; both run on and wrap around at 2^32. */
  #consumed: number;
  #produced: number;
  /** The domain's index was impossible: nothing more is taken. */
  isBroken = false;
  readonly #open: OpenRing;
  /** Taken by a backend before this one. */
  readonly #again: TakenRequest[];
  /** Answers that the domain has not been shown. */
  readonly #answered: TakenRequest[] = [];

  constructor(memory: MachineMemory, pages: readonly MachineAddress[], open = new OpenRing()) {
    invariant(pages.length > 0 && pages.every(page => page % PAGE_SIZE === 0), 'the pages of a ring');
    this.nrSlots = slotsOf(pages.length);
    this.#u8 = memory.u8;
    this.#words = memory.i32;
    this.#pages = pages;
    this.#open = open;
    this.#again = open.all();
    // A domain that connects again may find its ring in use: what was answered is what is there.
    this.#produced = this.#load('rsp_prod');
    this.#consumed = (this.#produced + open.size) >>> 0;
  }

  #word(name: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event'): number {
    return ((this.#pages[0] as number) + BlkifSring.offsets[name]) >> 2;
  }
  #load(name: 'req_prod' | 'rsp_prod' | 'rsp_event'): number {
    return Atomics.load(this.#words, this.#word(name)) >>> 0;
  }

  /** Requests that wait. None from a ring that is broken. */
  waiting(): number {
    if (this.isBroken) return 0;
    const count = (this.#load('req_prod') - this.#consumed) >>> 0;
    // Slots are free again only when they have been answered.
    const free = this.nrSlots - ((this.#consumed - this.#produced) >>> 0);
    if (count <= free) return this.#again.length + count;
    this.isBroken = true;
    return 0;
  }

  /** Take the next request, as a copy. It is open until its answer has been published. */
  take(): TakenRequest {
    const again = this.#again.shift();
    if (again) return again;
    const copy = new Uint8Array(SLOT_BYTES);
    this.#move(this.#consumed, SLOT_BYTES, (at, done, length) =>
      copy.set(this.#u8.subarray(at, at + length), done),
    );
    this.#consumed = (this.#consumed + 1) >>> 0;
    this.#open.took(copy);
    return copy;
  }
  /** It has been open under too many backends that died. */
  isDeadly(request: TakenRequest): boolean {
    return this.#open.isDeadly(request);
  }

  /** Answer a request. The domain sees it after `publish`. */
  respond(request: TakenRequest, id: bigint, operation: number, status: number): void {
    this.#answered.push(request);
    this.#responseFields.id = id;
    this.#responseFields.operation = operation;
    this.#responseFields.status = status;
    const { length } = this.#response;
    this.#move(this.#produced, length, (at, done, part) =>
      this.#u8.set(this.#response.subarray(done, done + part), at),
    );
    this.#produced = (this.#produced + 1) >>> 0;
  }

  /** The bytes of a slot, page by page. */
  #move(index: number, length: number, use: (address: number, done: number, length: number) => void): void {
    const start = SLOTS_AT + (index & (this.nrSlots - 1)) * SLOT_BYTES;
    for (let done = 0; done < length; ) {
      const at = start + done;
      const part = Math.min(length - done, PAGE_SIZE - (at % PAGE_SIZE));
      use((this.#pages[Math.floor(at / PAGE_SIZE)] as number) + (at % PAGE_SIZE), done, part);
      done += part;
    }
  }

  /** Show the domain all responses. True if it wants to be notified. */
  publish(): boolean {
    const before = this.#load('rsp_prod');
    if (before === this.#produced) return false;
    Atomics.store(this.#words, this.#word('rsp_prod'), this.#produced);
    for (const request of this.#answered) this.#open.answered(request);
    this.#answered.length = 0;
    return (this.#produced - this.#load('rsp_event')) >>> 0 < (this.#produced - before) >>> 0;
  }

  /** Ask for a notification at the next request. False if there is one already. */
  awaitRequest(): boolean {
    if (this.waiting() > 0) return false;
    Atomics.store(this.#words, this.#word('req_event'), (this.#consumed + 1) >>> 0);
    return this.waiting() === 0;
  }
}
