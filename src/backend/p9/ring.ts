/**
 * The backend's end of a 9pfs ring: two streams of bytes, one in each direction, in pages that the domain can write at any time.
 * Counters are read once and checked; a message is copied once and used from the copy.
 * Source: Xen public/io/ring.h, DEFINE_XEN_FLEX_RING.
 */
import { flexRingBytes, Xen9pfsDataIntf } from '../../abi/xen/p9.ts';
import { type MachineAddress, PAGE_SIZE } from '../../base/brand.ts';
import { invariant } from '../../base/errors.ts';
import type { MachineMemory } from '../../machine/memory.ts';

type Counter = 'in_cons' | 'in_prod' | 'out_cons' | 'out_prod';

export class ByteRing {
  /** Of one direction. */
  readonly sizeBytes: number;
  readonly #u8: Uint8Array;
  readonly #words: Int32Array;
  readonly #counters: number;
  readonly #pages: readonly MachineAddress[];
  /** Bytes taken and given; both run on and wrap around at 2^32. */
  #taken: number;
  #given: number;
  /** The domain's counter was impossible: nothing more is taken or given. */
  isBroken = false;

  /** `interfacePage` has the counters; of `pages`, 2^order, the first half runs to the domain. */
  constructor(memory: MachineMemory, interfacePage: MachineAddress, pages: readonly MachineAddress[]) {
    invariant(
      pages.length > 0 && [interfacePage, ...pages].every(page => page % PAGE_SIZE === 0),
      'the pages of a ring',
    );
    this.sizeBytes = flexRingBytes(Math.log2(pages.length));
    this.#u8 = memory.u8;
    this.#words = memory.i32;
    this.#counters = interfacePage;
    this.#pages = pages;
    this.#taken = this.#load('out_cons');
    this.#given = this.#load('in_prod');
  }

  #word(name: Counter): number {
    return (this.#counters + Xen9pfsDataIntf.offsets[name]) >> 2;
  }
  #load(name: Counter): number {
    return Atomics.load(this.#words, this.#word(name)) >>> 0;
  }

  /** A distance of two counters, which cannot be more than there is room for. */
  #distance(ahead: number, behind: number): number {
    const count = (ahead - behind) >>> 0;
    if (count > this.sizeBytes) this.isBroken = true;
    return this.isBroken ? 0 : count;
  }

  /** Bytes that wait to be taken. */
  waiting(): number {
    return this.#distance(this.#load('out_prod'), this.#taken);
  }

  /** Copy what comes next, without taking it. At most as much as is waiting. */
  peek(into: Uint8Array): void {
    this.#move(this.sizeBytes, this.#taken, into.length, (at, done, length) =>
      into.set(this.#u8.subarray(at, at + length), done),
    );
  }

  take(length: number): void {
    this.#taken = (this.#taken + length) >>> 0;
    Atomics.store(this.#words, this.#word('out_cons'), this.#taken);
  }

  /** Bytes that the domain has not read yet. */
  unread(): number {
    return this.#distance(this.#given, this.#load('in_cons'));
  }

  /** Where the domain will have read everything given so far; for `hasRead`. */
  get mark(): number {
    return this.#given;
  }
  hasRead(mark: number): boolean {
    const behind = (this.#given - mark) >>> 0;
    return this.isBroken || this.unread() <= behind;
  }

  /** Give a whole message, which the domain sees at once. False if there is no room for it now. */
  give(message: Uint8Array): boolean {
    const room = this.sizeBytes - this.unread();
    if (this.isBroken || message.length > room) return false;
    this.#move(0, this.#given, message.length, (at, done, length) =>
      this.#u8.set(message.subarray(done, done + length), at),
    );
    this.#given = (this.#given + message.length) >>> 0;
    Atomics.store(this.#words, this.#word('in_prod'), this.#given);
    return true;
  }

  /** Bytes of a direction, page by page. */
  #move(
    base: number,
    counter: number,
    length: number,
    use: (address: number, done: number, length: number) => void,
  ): void {
    for (let done = 0; done < length; ) {
      // Both directions of the smallest ring share a page.
      const at = base + ((counter + done) & (this.sizeBytes - 1));
      const inDirection = base + this.sizeBytes - at;
      const part = Math.min(length - done, inDirection, PAGE_SIZE - (at % PAGE_SIZE));
      use((this.#pages[Math.floor(at / PAGE_SIZE)] as number) + (at % PAGE_SIZE), done, part);
      done += part;
    }
  }
}
