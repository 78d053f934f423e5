/**
 * Copies of pages that a machine has changed since images of it were made (memory-image.ts), in shared memory: whoever runs the machine
 * makes them, and clones read them, on whatever threads. One serves all images that had the page, and its slot is free again when the last
 * of them is closed.
 *
 * Slots are taken and given back with the machine's hypervisor lock held. Reading needs no lock: who reads a slot has an image that has it.
 */
import { PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import { reserveMemory } from '../machine/memory.ts';

/** In a form that other threads can be given. */
export interface PageCopiesMemory {
  /** Slot `n` begins at `n * PAGE_SIZE`; it grows. */
  readonly bytes: SharedArrayBuffer;
  /** A word for each slot: of one in use how many images have it, of a free one the next free one. */
  readonly slots: Int32Array;
}

/** Words that are of no slot: the first free slot, 0 for none, and the first slot that was never in use. */
const [FREE, FRONTIER, FIRST_SLOT] = [0, 1, 2];
/** So many copies of a page, of as many moments, there may be in the mean. What is not touched of the room for them costs nothing. */
const MOMENTS = 8;
/** It grows by so many pages. */
const GROWTH = 1 << 10;

/** @param nrFrames of the machine. @throws DomusError E_HOST_MEMORY */
export function createPageCopies(nrFrames: number): PageCopiesMemory {
  const nrSlots = FIRST_SLOT + MOMENTS * nrFrames;
  const slots = new Int32Array(reserveMemory(nrSlots * 4).buffer);
  slots[FRONTIER] = FIRST_SLOT;
  try {
    return {
      bytes: new SharedArrayBuffer(Math.min(GROWTH, nrSlots) * PAGE_SIZE, {
        maxByteLength: nrSlots * PAGE_SIZE,
      }),
      slots,
    };
  } catch (cause) {
    throw new DomusError(
      'E_HOST_MEMORY',
      `the host refused addresses for ${Math.ceil((nrSlots * PAGE_SIZE) / 2 ** 30)} GiB of copies of a guest's pages`,
      'raise the address space limit (ulimit -v)',
      { cause },
    );
  }
}

export class PageCopies {
  readonly memory: PageCopiesMemory;
  readonly #bytes: Uint8Array;
  readonly #slots: Int32Array;

  constructor(memory: PageCopiesMemory) {
    this.memory = memory;
    this.#bytes = new Uint8Array(memory.bytes);
    this.#slots = memory.slots;
  }

  /** Bytes that the host has ever given for copies. */
  get heldBytes(): number {
    return (this.#slots[FRONTIER]! - FIRST_SLOT) * PAGE_SIZE;
  }

  /** Fill `into`, 4096 bytes. */
  read(slot: number, into: Uint8Array): void {
    into.set(this.#bytes.subarray(slot * PAGE_SIZE, (slot + 1) * PAGE_SIZE));
  }

  /** The slot of a copy of these 4096 bytes, which nobody has so far. @throws DomusError E_HOST_MEMORY */
  add(page: Uint8Array): number {
    const slot = this.#take();
    this.#bytes.set(page, slot * PAGE_SIZE);
    return slot;
  }

  retain(slot: number): void {
    this.#slots[slot]! += 1;
  }
  release(slot: number): void {
    this.#slots[slot]! -= 1;
    if (this.#slots[slot]! > 0) return;
    this.#slots[slot] = this.#slots[FREE]!;
    this.#slots[FREE] = slot;
  }

  #take(): number {
    const free = this.#slots[FREE]!;
    if (free !== 0) {
      this.#slots[FREE] = this.#slots[free]!;
      this.#slots[free] = 0;
      return free;
    }
    const slot = this.#slots[FRONTIER]!;
    this.#reach((slot + 1) * PAGE_SIZE);
    this.#slots[FRONTIER] = slot + 1;
    return slot;
  }

  #reach(end: number): void {
    const { bytes } = this.memory;
    if (end <= bytes.byteLength) return;
    try {
      bytes.grow(Math.max(end, Math.min(end + GROWTH * PAGE_SIZE, bytes.maxByteLength)));
    } catch (cause) {
      throw new DomusError(
        'E_HOST_MEMORY',
        `there is no room for more than ${Math.floor(this.heldBytes / 2 ** 20)} MiB of what a guest has changed since it was cloned`,
        'stop clones of it that are not needed any more',
        { cause },
      );
    }
  }
}
