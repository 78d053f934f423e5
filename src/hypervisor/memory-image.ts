/**
 * What a domain's memory held at one moment, for clones of it to be filled from. Nothing is copied then: the domain's frames become
 * `frozen` in its p2m, and each is copied before it is written to for the first time (p2m.ts). So an image reads a page either from
 * its copy or, where the domain has not changed it, from the domain's own memory.
 *
 * A frame that is in several images is copied once for all of them.
 */
import { frameAddress, mfn, PAGE_SIZE } from '../base/brand.ts';
import { invariant } from '../base/errors.ts';
import type { CodeOrigin } from '../cpu/decode/decoded-before.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { type PageSource, STORED_PAGES } from './p2m.ts';
import type { StoredPages } from './sharing/stored-pages.ts';

/** Images of a machine that clones still need. */
export class MemoryImages {
  readonly #memory: MachineMemory;
  readonly #store: StoredPages | undefined;
  readonly #images = new Set<MemoryImage>();

  constructor(memory: MachineMemory, store?: StoredPages) {
    this.#memory = memory;
    this.#store = store;
  }

  get isEmpty(): boolean {
    return this.#images.size === 0;
  }

  /** @param below what the machine itself is filled from, and who keeps that open */
  add(below?: { readonly pages: PageSource; readonly owner: SharedPages }): MemoryImage {
    below?.owner.retain();
    const image: MemoryImage = new MemoryImage(this.#memory, this.#store, below?.pages, () => {
      this.#images.delete(image);
      below?.owner.close();
    });
    this.#images.add(image);
    return image;
  }

  /** The frame is about to change. */
  keep(frame: number): void {
    let copy: Uint8Array | undefined;
    for (const image of this.#images) {
      if (image.hasCopy(frame)) continue;
      copy ??= this.#memory.u8.slice(frameAddress(mfn(frame)), frameAddress(mfn(frame)) + PAGE_SIZE);
      image.addCopy(frame, copy);
    }
  }
}

/** Pages that several machines are filled from. The last one that gives them back lets go of them. */
export interface SharedPages {
  retain(): void;
  close(): void;
}

/** A page of an image is at a frame or, below zero, has a number elsewhere (`readElsewhere`). */
type Place = number;

export class MemoryImage implements PageSource, SharedPages {
  readonly #memory: MachineMemory;
  readonly #store: StoredPages | undefined;
  readonly #below: PageSource | undefined;
  readonly #release: () => void;
  readonly #copies = new Map<number, Uint8Array>();
  /** What `originOf` returns: it is asked for each run of instructions that is decoded. */
  readonly #origin: { readonly memory: MachineMemory; frame: number };
  #places = new Int32Array(1024);
  #count = 0;
  #nrUsers = 1;
  /** Pages of the store that are to be among the places, and stay there until then. */
  readonly #expected: number[] = [];

  /** Use `MemoryImages.add`. */
  constructor(
    memory: MachineMemory,
    store: StoredPages | undefined,
    below: PageSource | undefined,
    release: () => void,
  ) {
    this.#memory = memory;
    this.#origin = { memory, frame: 0 };
    this.#store = store;
    this.#below = below;
    this.#release = release;
  }

  get count(): number {
    return this.#count;
  }
  /** Bytes that were copied for it. */
  get copiedBytes(): number {
    return this.#copies.size * PAGE_SIZE;
  }

  /** A page of the store will be added: the domain may give it back before. */
  expect(number: number): void {
    this.#store?.retain(number);
    this.#expected.push(number);
  }
  /** What was expected has been added, or will not be. */
  settle(): void {
    for (const number of this.#expected.splice(0)) this.#store?.release(number);
  }

  /** The number of the page there, from 1. */
  add(place: Place): number {
    if (this.#count === this.#places.length) {
      const places = new Int32Array(2 * this.#places.length);
      places.set(this.#places);
      this.#places = places;
    }
    if (-place >= STORED_PAGES) this.#store?.retain(-place % STORED_PAGES);
    this.#places[this.#count] = place;
    this.#count += 1;
    return this.#count;
  }

  hasCopy(frame: number): boolean {
    return this.#copies.has(frame);
  }
  addCopy(frame: number, copy: Uint8Array): void {
    this.#copies.set(frame, copy);
  }

  /** Depend on the machine's memory no more. */
  copyAll(): void {
    for (const place of this.#places.subarray(0, this.#count)) {
      if (place <= 0 || this.hasCopy(place)) continue;
      const at = frameAddress(mfn(place));
      this.addCopy(place, this.#memory.u8.slice(at, at + PAGE_SIZE));
    }
  }

  read(page: number, into: Uint8Array): void {
    const place = this.#places[page - 1];
    invariant(place !== undefined && page <= this.#count && this.#nrUsers > 0, 'a page of an image');
    if (place < 0) {
      const source = -place < STORED_PAGES ? this.#below : this.#store;
      invariant(source, 'there is nothing below an image');
      source.read(-place % STORED_PAGES, into);
      return;
    }
    const copy = this.#copies.get(place);
    const at = frameAddress(mfn(place));
    into.set(copy ?? this.#memory.u8.subarray(at, at + PAGE_SIZE));
  }

  isNear(page: number): boolean {
    const place = this.#places[page - 1]!;
    return place > 0 || (-place < STORED_PAGES && this.#below?.isNear?.(-place) === true);
  }

  originOf(page: number): CodeOrigin | undefined {
    const place = this.#places[page - 1]!;
    if (place < 0) return -place < STORED_PAGES ? this.#below?.originOf?.(-place) : undefined;
    if (this.#copies.has(place)) return undefined;
    this.#origin.frame = place;
    return this.#origin;
  }

  retain(): void {
    this.#nrUsers += 1;
  }
  close(): void {
    this.#nrUsers -= 1;
    if (this.#nrUsers > 0) return;
    this.settle();
    this.#copies.clear();
    for (const place of this.#places.subarray(0, this.#count))
      if (-place >= STORED_PAGES) this.#store?.release(-place % STORED_PAGES);
    this.#release();
  }
}
