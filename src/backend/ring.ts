/**
 * The backend's end of a shared ring: requests come in, responses go out, in slots of one page that the domain can write
 * at any time. Indices are read once and checked; a domain that claims more requests than there are slots has broken
 * its ring, and nothing more is taken from it.
 * Source: Xen public/io/ring.h.
 */
import { ringSlots, type sring } from '../abi/xen/ring.ts';
import { type MachineAddress, PAGE_SIZE } from '../base/brand.ts';
import { invariant } from '../base/errors.ts';
import type { MachineMemory } from '../machine/memory.ts';

type RingPage = ReturnType<typeof sring<unknown>>;

export class BackRing {
  readonly view: DataView;
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #page: RingPage;
  readonly #slotsAt: number;
  readonly #slotBytes: number;
  readonly nrSlots: number;
  /** Requests taken, and responses given; both run on and wrap around at 2^32. */
  #consumed: number;
  #produced: number;
  /** The domain's index was impossible. */
  isBroken = false;

  constructor(memory: MachineMemory, address: MachineAddress, page: RingPage) {
    invariant(address % PAGE_SIZE === 0, 'a ring page is not aligned');
    this.view = memory.view;
    this.#words = memory.i32;
    this.#base = address;
    this.#page = page;
    this.#slotsAt = address + page.offsets.ring;
    this.#slotBytes = page.fields.ring.size;
    this.nrSlots = ringSlots(page);
    // A domain that connects again may find its ring in use: what was answered is what is there.
    this.#produced = this.#load('rsp_prod') >>> 0;
    this.#consumed = this.#produced;
  }

  #word(name: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event'): number {
    return (this.#base + this.#page.offsets[name]) >> 2;
  }
  #load(name: 'req_prod' | 'rsp_prod' | 'rsp_event'): number {
    return Atomics.load(this.#words, this.#word(name));
  }

  /** Requests that wait. None from a ring that is broken. */
  waiting(): number {
    if (this.isBroken) return 0;
    const count = (this.#load('req_prod') - this.#consumed) >>> 0;
    if (count <= this.nrSlots) return count;
    this.isBroken = true;
    return 0;
  }

  /** Address of the request `ahead` behind the next one. It is the domain's memory: read each field once. */
  requestAt(ahead: number): number {
    return this.#slotsAt + ((this.#consumed + ahead) & (this.nrSlots - 1)) * this.#slotBytes;
  }

  consume(count: number): void {
    this.#consumed = (this.#consumed + count) >>> 0;
  }

  /** Address for the next response; it is sent by `publish`. */
  nextResponse(): number {
    const at = this.#slotsAt + (this.#produced & (this.nrSlots - 1)) * this.#slotBytes;
    this.#produced = (this.#produced + 1) >>> 0;
    return at;
  }

  /** Show the domain all responses. True if it wants to be notified. */
  publish(): boolean {
    const before = this.#load('rsp_prod') >>> 0;
    if (before === this.#produced) return false;
    Atomics.store(this.#words, this.#word('rsp_prod'), this.#produced);
    return (this.#produced - this.#load('rsp_event')) >>> 0 < (this.#produced - before) >>> 0;
  }

  /** Ask for a notification when there are `count` requests. False if there are already. */
  awaitRequests(count: number): boolean {
    if (this.waiting() >= count) return false;
    Atomics.store(this.#words, this.#word('req_event'), (this.#consumed + count) >>> 0);
    return this.waiting() < count;
  }
}
