/**
 * The console ring page: 1024 bytes of input to the domain and 2048 bytes of output from it.
 *
 * As for all rings, the domain can write any byte at any time: each index is read once and checked, and only its low
 * bits address the page.
 * Source: Xen public/io/console.h.
 */
import { XenconsInterface } from '../../abi/xen/io.ts';
import type { MachineAddress } from '../../base/brand.ts';
import { invariant } from '../../base/errors.ts';
import type { MachineMemory } from '../../machine/memory.ts';

export { XenconsInterface as ConsoleRing };
export const IN_BYTES = XenconsInterface.fields.in.size;
export const OUT_BYTES = XenconsInterface.fields.out.size;

type Index = 'in_cons' | 'in_prod' | 'out_cons' | 'out_prod';

/** The backend's end of a console ring. Impossible indices look like a ring with nothing to do. */
export class ConsoleRingEnd {
  readonly #u8: Uint8Array;
  readonly #words: Uint32Array;
  readonly #base: number;
  /** How often the domain's indices were impossible. */
  badIndices = 0;

  constructor(memory: MachineMemory, ringAddress: MachineAddress) {
    invariant(ringAddress % 4 === 0, 'the console ring is not aligned');
    invariant(
      ringAddress + XenconsInterface.size <= memory.sizeBytes,
      'the console ring is not in machine memory',
    );
    this.#u8 = memory.u8;
    this.#words = memory.u32;
    this.#base = ringAddress;
  }

  #word(index: Index): number {
    return (this.#base + XenconsInterface.offsets[index]) >> 2;
  }

  #used(prod: number, cons: number, sizeBytes: number): number {
    const used = (prod - cons) >>> 0;
    if (used <= sizeBytes) return used;
    this.badIndices += 1;
    return -1;
  }

  /** Bytes of output that wait. */
  get outputBytes(): number {
    const cons = Atomics.load(this.#words, this.#word('out_cons'));
    return Math.max(0, this.#used(Atomics.load(this.#words, this.#word('out_prod')), cons, OUT_BYTES));
  }

  /** Bytes of input that there is room for. */
  get inputRoom(): number {
    const prod = Atomics.load(this.#words, this.#word('in_prod'));
    const used = this.#used(prod, Atomics.load(this.#words, this.#word('in_cons')), IN_BYTES);
    return used < 0 ? 0 : IN_BYTES - used;
  }

  /** Take all output that waits, at most one ring full; undefined if there is none. */
  take(): Uint8Array | undefined {
    const cons = Atomics.load(this.#words, this.#word('out_cons'));
    const used = this.#used(Atomics.load(this.#words, this.#word('out_prod')), cons, OUT_BYTES);
    if (used <= 0) return undefined;
    const base = this.#base + XenconsInterface.offsets.out;
    const start = cons & (OUT_BYTES - 1);
    const first = Math.min(used, OUT_BYTES - start);
    const taken = new Uint8Array(used);
    taken.set(this.#u8.subarray(base + start, base + start + first), 0);
    taken.set(this.#u8.subarray(base, base + used - first), first);
    Atomics.store(this.#words, this.#word('out_cons'), cons + used);
    return taken;
  }

  /** Put in as much input as there is room for; returns how much. */
  put(from: Uint8Array): number {
    const prod = Atomics.load(this.#words, this.#word('in_prod'));
    const used = this.#used(prod, Atomics.load(this.#words, this.#word('in_cons')), IN_BYTES);
    if (used < 0) return 0;
    const count = Math.min(IN_BYTES - used, from.length);
    if (count === 0) return 0;
    const base = this.#base + XenconsInterface.offsets.in;
    const start = prod & (IN_BYTES - 1);
    const first = Math.min(count, IN_BYTES - start);
    this.#u8.set(from.subarray(0, first), base + start);
    this.#u8.set(from.subarray(first, count), base);
    Atomics.store(this.#words, this.#word('in_prod'), prod + count);
    return count;
  }
}
