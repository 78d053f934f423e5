/**
 * What a domain's memory held at one moment, for clones of it to be filled from. Nothing is copied then: the domain's frames become
 * `frozen` in its p2m, and each is copied before it is written to for the first time (p2m.ts). So an image reads a page either from
 * its copy or, where the domain has not changed it, from the domain's own memory (image-pages.ts).
 *
 * A frame that is in several images is copied once for all of them. Clones may run on other threads than the domain does, so all that is
 * needed to read an image, or to copy for it, lies in shared memory. The thread that made it lists its pages and closes it.
 */
import { frameAddress, mfn, PAGE_SIZE } from '../base/brand.ts';
import { type MachineMemory, reserveMemory } from '../machine/memory.ts';
import { STORED_PAGES } from './p2m.ts';
import { createPageCopies, PageCopies, type PageCopiesMemory } from './page-copies.ts';
import type { MachinePages, PagesMemory } from './page-source.ts';
import type { StoredPages, StoredPagesMemory } from './sharing/stored-pages.ts';

/** An image in a form that other threads can be given, at any time: what is added later they find. */
export interface ImageMemory {
  /** The machine's, where pages lie that it has not changed. */
  readonly memory: WebAssembly.Memory;
  /** How many pages there are, and the place of each. */
  readonly places: Int32Array;
  /** For each frame of the machine the slot of its copy, 0 for none. In place of frame 0, which is nobody's, is `CLOSED`. */
  readonly slots: Int32Array;
  /** How many frames have a copy, and which: looking for them in `slots` would touch all of it. */
  readonly kept: Int32Array;
  readonly copies: PageCopiesMemory;
  /** What the machine itself is filled from. */
  readonly below: PagesMemory | undefined;
  readonly store: StoredPagesMemory | undefined;
}

/** A page of an image is at a frame or, below zero, has a number elsewhere (`readElsewhere`). */
type Place = number;

/** Word of `ImageMemory.places` and `kept`. */
export const COUNT = 0;
/** Word of `ImageMemory.slots`: not 0 when the image is closed. */
export const CLOSED = 0;

/** Images of a machine that clones still need, for one of the threads that change the machine's memory. */
export class MemoryImages {
  readonly #memory: MachineMemory;
  readonly #store: StoredPages | undefined;
  readonly #locked: (task: () => void) => void;
  #images: ImageMemory[] = [];
  /** Those of all images of the machine; undefined before the first one. */
  #copies: PageCopies | undefined;
  /** For the tables of the next image. */
  #spare: ArrayBufferLike | undefined;

  /** @param locked does something with the machine's hypervisor lock held */
  constructor(
    memory: MachineMemory,
    store?: StoredPages,
    locked: (task: () => void) => void = task => task(),
  ) {
    this.#memory = memory;
    this.#store = store;
    this.#locked = locked;
  }

  get isEmpty(): boolean {
    return this.#images.every(isClosed);
  }
  /** Bytes that the host has ever given for copies. */
  get heldBytes(): number {
    return this.#copies?.heldBytes ?? 0;
  }

  /**
   * An image that belongs to the caller. Other threads that change the machine's memory must have adopted it before they go on.
   * @throws DomusError E_HOST_MEMORY
   * @param below what the machine itself is filled from, and who keeps that open
   */
  add(below?: { readonly pages: MachinePages; readonly owner: SharedPages }): MemoryImage {
    const { copies, tables } = this.#use();
    this.#spare = undefined;
    const length = this.#tableLength;
    below?.owner.retain();
    const memory: ImageMemory = {
      memory: this.#memory.wasm,
      places: new Int32Array(tables, 0, length),
      slots: new Int32Array(tables, length * 4, length),
      kept: new Int32Array(tables, 2 * length * 4, length),
      copies: copies.memory,
      below: below?.pages.memory,
      store: this.#store?.memory,
    };
    this.adopt(memory);
    return new MemoryImage(memory, this.#store, {
      keep: frame => this.keep(frame),
      close: () => {
        this.#locked(() => this.#close(memory));
        below?.owner.close();
      },
    });
  }

  /** Reserve memory for the next image, before the machine is held for it. @throws DomusError E_HOST_MEMORY */
  prepare(): void {
    this.#use();
  }
  #use() {
    this.#copies ??= new PageCopies(createPageCopies(this.#memory.sizeBytes / PAGE_SIZE));
    this.#spare ??= reserveMemory(3 * this.#tableLength * 4).buffer;
    return { copies: this.#copies, tables: this.#spare };
  }
  /** A machine has no more pages than frames, and there is a word in front of them. */
  get #tableLength(): number {
    return this.#memory.sizeBytes / PAGE_SIZE + 1;
  }

  /** Copy for an image that another thread has added, until that closes it. */
  adopt(image: ImageMemory): void {
    this.#copies ??= new PageCopies(image.copies);
    this.#images = [...this.#open(), image];
  }

  #open(): ImageMemory[] {
    return this.#images.filter(image => !isClosed(image));
  }

  /** The frame is about to change. With the hypervisor lock held. @throws DomusError E_HOST_MEMORY */
  keep(frame: number): void {
    const copies = this.#copies;
    if (!copies) return;
    let slot = 0;
    for (const image of this.#images) {
      const { slots, kept } = image;
      if (isClosed(image) || slots[frame] !== 0) continue;
      if (slot === 0) slot = copies.add(this.#page(frame));
      copies.retain(slot);
      kept[COUNT]! += 1;
      kept[kept[COUNT]!] = frame;
      // Who sees it finds the copy, and who does not has read before the frame changes.
      Atomics.store(slots, frame, slot);
    }
  }

  #page(frame: number): Uint8Array {
    const at = frameAddress(mfn(frame));
    return this.#memory.u8.subarray(at, at + PAGE_SIZE);
  }

  /** Nobody reads the image any more. */
  #close({ slots, kept }: ImageMemory): void {
    slots[CLOSED] = 1;
    for (const frame of kept.subarray(1, 1 + kept[COUNT]!)) this.#copies?.release(slots[frame]!);
    kept[COUNT] = 0;
    this.#images = this.#open();
  }
}

/** Pages that several machines are filled from. The last one that gives them back lets go of them. */
export interface SharedPages {
  retain(): void;
  close(): void;
}

/** What an image needs of the images of its machine. */
interface ImageOwner {
  keep(frame: number): void;
  close(): void;
}

/** An image for who made it: to list its pages, and to close it. */
export class MemoryImage implements SharedPages {
  readonly memory: ImageMemory;
  readonly #store: StoredPages | undefined;
  readonly #images: ImageOwner;
  #nrUsers = 1;
  /** Pages of the store that are to be among the places, and stay there until then; and those that are. */
  readonly #expected: number[] = [];
  readonly #stored: number[] = [];

  /** Use `MemoryImages.add`. */
  constructor(memory: ImageMemory, store: StoredPages | undefined, images: ImageOwner) {
    this.memory = memory;
    this.#store = store;
    this.#images = images;
  }

  get count(): number {
    return this.memory.places[COUNT]!;
  }
  /** Bytes that were copied for it. */
  get copiedBytes(): number {
    return this.memory.kept[COUNT]! * PAGE_SIZE;
  }

  /** A page of the store will be added: the domain may give it back before. */
  expect(number: number): void {
    this.#store?.retain(number);
    this.#expected.push(number);
  }
  /** What was expected has been added, or will not be. */
  settle(): void {
    this.#release(this.#expected);
  }

  /** The number of the page there, from 1. */
  add(place: Place): number {
    if (-place >= STORED_PAGES) {
      this.#store?.retain(-place % STORED_PAGES);
      this.#stored.push(-place % STORED_PAGES);
    }
    const page = this.count + 1;
    this.memory.places[page] = place;
    this.memory.places[COUNT] = page;
    return page;
  }

  /** Depend on the machine's memory no more. With the hypervisor lock held. @throws DomusError E_HOST_MEMORY */
  copyAll(): void {
    for (const place of this.memory.places.subarray(1, 1 + this.count))
      if (place > 0) this.#images.keep(place);
  }

  retain(): void {
    this.#nrUsers += 1;
  }
  close(): void {
    this.#nrUsers -= 1;
    if (this.#nrUsers > 0) return;
    this.settle();
    this.#release(this.#stored);
    this.#images.close();
  }

  /** Pages of the store that it has no use for any more. */
  #release(numbers: number[]): void {
    for (const number of numbers.splice(0)) this.#store?.release(number);
  }
}

const isClosed = ({ slots }: ImageMemory): boolean => slots[CLOSED] !== 0;
