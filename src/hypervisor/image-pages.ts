/**
 * What machines are filled from, for one of the threads that read it. Images are read without a lock, while whoever runs the machine that
 * an image is of goes on changing its memory: a page is copied, and the copy can be found, before its frame changes.
 */
import { frameAddress, mfn, PAGE_SIZE } from '../base/brand.ts';
import { invariant } from '../base/errors.ts';
import type { CodeOrigin } from '../cpu/decode/decoded-before.ts';
import { type MachineMemory, viewMachineMemory } from '../machine/memory.ts';
import { CLOSED, COUNT, type ImageMemory } from './memory-image.ts';
import { STORED_PAGES } from './p2m.ts';
import { PageCopies } from './page-copies.ts';
import { pageSource } from './page-file.ts';
import type { MachinePages, PageSource, PagesMemory } from './page-source.ts';
import { StoredPages } from './sharing/stored-pages.ts';

export const openPages = (memory: PagesMemory): MachinePages =>
  'fd' in memory ? pageSource(memory) : openImage(memory);

/** For as long as the image is not closed by its owner. */
export const openImage = (memory: ImageMemory): MachinePages => new ImagePages(memory);

class ImagePages implements MachinePages {
  readonly memory: ImageMemory;
  readonly #machine: MachineMemory;
  readonly #places: Int32Array;
  readonly #slots: Int32Array;
  readonly #copies: PageCopies;
  readonly #below: PageSource | undefined;
  readonly #store: StoredPages | undefined;
  /** What `originOf` returns: it is asked for each run of instructions that is decoded. */
  readonly #origin: { readonly memory: MachineMemory; readonly copies: Int32Array; frame: number };

  constructor(memory: ImageMemory) {
    this.memory = memory;
    this.#machine = viewMachineMemory(memory.memory);
    this.#places = memory.places;
    this.#slots = memory.slots;
    this.#copies = new PageCopies(memory.copies);
    this.#below = memory.below && openPages(memory.below);
    this.#store = memory.store && new StoredPages(memory.store);
    this.#origin = { memory: this.#machine, copies: this.#slots, frame: 0 };
  }

  read(page: number, into: Uint8Array): void {
    invariant(
      page > 0 && page <= this.#places[COUNT]! && this.#slots[CLOSED] === 0,
      'a page of an image that is open',
    );
    const place = this.#places[page]!;
    if (place > 0) this.#readFrame(place, into);
    else {
      const source = -place < STORED_PAGES ? this.#below : this.#store;
      invariant(source, 'there is nothing below an image');
      source.read(-place % STORED_PAGES, into);
    }
  }

  #readFrame(frame: number, into: Uint8Array): void {
    let slot = Atomics.load(this.#slots, frame);
    if (slot === 0) {
      const at = frameAddress(mfn(frame));
      into.set(this.#machine.u8.subarray(at, at + PAGE_SIZE));
      // It may have changed meanwhile: then there is a copy by now.
      slot = Atomics.load(this.#slots, frame);
    }
    if (slot !== 0) this.#copies.read(slot, into);
  }

  isNear(page: number): boolean {
    const place = this.#places[page]!;
    return place > 0 || (-place < STORED_PAGES && this.#below?.isNear?.(-place) === true);
  }

  originOf(page: number): CodeOrigin | undefined {
    const place = this.#places[page]!;
    if (place < 0) return -place < STORED_PAGES ? this.#below?.originOf?.(-place) : undefined;
    // No atomic operation, which is a call: who reads from there asks again afterwards.
    if (this.#slots[place] !== 0) return undefined;
    this.#origin.frame = place;
    return this.#origin;
  }
}
