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
const A = BlkifResponse.offsets;
/** In a request of any kind; the domain's own affair. */
const ID_AT = BlkifRequest.offsets.id;
// A slot may lie in two pages, an answer does not.
invariant(
  [SLOTS_AT, SLOT_BYTES, PAGE_SIZE].every(n => n % BlkifResponse.size === 0),
  'answers lie in one page',
);

/** Slots of a ring of so many pages: the largest power of two that fits. */
export const slotsOf = (nrPages: number): number =>
  2 ** Math.floor(Math.log2((nrPages * PAGE_SIZE - SLOTS_AT) / SLOT_BYTES));

export class BlockRing {
  readonly nrSlots: number;
  readonly #memory: MachineMemory;
  readonly #pages: readonly MachineAddress[];
  /** The indices: positions of their words in memory. */
  readonly #index: Readonly<Record<'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event', number>>;
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
    this.#memory = memory;
    this.#pages = pages;
    const indexAt = (offset: number) => ((pages[0] as number) + offset) >>> 2;
    const { req_prod, req_event, rsp_prod, rsp_event } = BlkifSring.offsets;
    this.#index = {
      req_prod: indexAt(req_prod),
      req_event: indexAt(req_event),
      rsp_prod: indexAt(rsp_prod),
      rsp_event: indexAt(rsp_event),
    };
    this.#open = open;
    this.#again = open.all();
    // A domain that connects again may find its ring in use: what was answered is what is there.
    this.#produced = this.#load(this.#index.rsp_prod);
    this.#consumed = (this.#produced + open.size) >>> 0;
  }

  #load(word: number): number {
    return Atomics.load(this.#memory.i32, word) >>> 0;
  }

  /** Requests that wait. None from a ring that is broken. */
  waiting(): number {
    if (this.isBroken) return 0;
    const count = (this.#load(this.#index.req_prod) - this.#consumed) >>> 0;
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
    const taken = this.#open.take();
    const { u32 } = this.#memory;
    const start = this.#slot(this.#consumed);
    for (let done = 0; done < SLOT_BYTES; ) {
      const end = Math.min(SLOT_BYTES, done + PAGE_SIZE - ((start + done) % PAGE_SIZE));
      const from = this.#address(start + done) - done;
      for (; done < end; done += 4) taken.words[done >>> 2] = u32[(from + done) >>> 2]!;
    }
    this.#consumed = (this.#consumed + 1) >>> 0;
    return taken;
  }
  /** It has been open under too many backends that died. */
  isDeadly(request: TakenRequest): boolean {
    return this.#open.isDeadly(request);
  }

  /** Answer a request. The domain sees it after `publish`. */
  respond(request: TakenRequest, operation: number, status: number): void {
    this.#answered.push(request);
    const { u8, u16, u32 } = this.#memory;
    const at = this.#address(this.#slot(this.#produced));
    u32.fill(0, at >>> 2, (at + BlkifResponse.size) >>> 2);
    u32[(at + A.id) >>> 2] = request.words[ID_AT >>> 2]!;
    u32[(at + A.id + 4) >>> 2] = request.words[(ID_AT + 4) >>> 2]!;
    u8[at + A.operation] = operation;
    u16[(at + A.status) >>> 1] = status;
    this.#produced = (this.#produced + 1) >>> 0;
  }

  /** Where in the ring a slot begins. */
  #slot(index: number): number {
    return SLOTS_AT + (index & (this.nrSlots - 1)) * SLOT_BYTES;
  }
  /** Of a byte of the ring. */
  #address(at: number): number {
    return this.#pages[Math.floor(at / PAGE_SIZE)]! + (at % PAGE_SIZE);
  }

  /** Show the domain all responses. True if it wants to be notified. */
  publish(): boolean {
    const { rsp_prod, rsp_event } = this.#index;
    const before = this.#load(rsp_prod);
    if (before === this.#produced) return false;
    Atomics.store(this.#memory.i32, rsp_prod, this.#produced);
    for (const request of this.#answered) this.#open.answered(request);
    this.#answered.length = 0;
    return (this.#produced - this.#load(rsp_event)) >>> 0 < (this.#produced - before) >>> 0;
  }

  /** Ask for a notification at the next request. False if there is one already. */
  awaitRequest(): boolean {
    if (this.waiting() > 0) return false;
    Atomics.store(this.#memory.i32, this.#index.req_event, (this.#consumed + 1) >>> 0);
    return this.waiting() === 0;
  }
}
