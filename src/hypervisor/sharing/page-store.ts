/**
 * The host's store of pages that are in several places: each is kept once, and found by its contents. One thread finds and adds; any
 * thread that runs vCPUs reads and releases. Pages that nobody has any more are found by `sweep`.
 */
import { PAGE_SIZE } from '../../base/brand.ts';
import { isSamePage } from './page-words.ts';
import { StoredPages } from './stored-pages.ts';

/** 1 GiB. What is not touched of it costs nothing. */
const PAGES_MAX = 1 << 18;
/** It grows by so many pages. */
const GROWTH = 1 << 10;
const CHAINS = 1 << 16;

export class PageStore extends StoredPages {
  readonly #words: Uint32Array;
  readonly #pagesMax: number;
  /** Of chains of pages whose hashes end alike: the first page of each, and the next one of each page; 0 = none. */
  readonly #heads = new Int32Array(CHAINS);
  readonly #next: Int32Array;
  readonly #hashes: Int32Array;
  readonly #free: number[] = [];
  /** Pages from here on were never used. */
  #frontier = 1;

  constructor(pagesMax: number = PAGES_MAX) {
    const count = pagesMax + 1;
    const bytes = new SharedArrayBuffer(0, { maxByteLength: count * PAGE_SIZE });
    super({ bytes, uses: new SharedArrayBuffer(count * 4) });
    this.#pagesMax = pagesMax;
    this.#words = new Uint32Array(bytes);
    this.#next = new Int32Array(count);
    this.#hashes = new Int32Array(count);
  }

  /** Pages in it, those among them that nobody has any more. */
  get count(): number {
    return this.#frontier - 1 - this.#free.length;
  }
  /** Bytes that the host has ever given for it. */
  get heldBytes(): number {
    return (this.#frontier - 1) * PAGE_SIZE;
  }

  /** The page with the contents of the page at a byte address, 0 if there is none. It is the caller's when he has retained it. */
  find(hash: number, words: Uint32Array, address: number): number {
    for (let page = this.#heads[hash % CHAINS] as number; page !== 0; page = this.#next[page] as number) {
      if (this.#hashes[page] !== hash) continue;
      if (isSamePage(words, address, this.#words, page * PAGE_SIZE)) return page;
    }
    return 0;
  }

  /** Keep the page at a byte address, which is not there yet. Nobody has it so far. Returns 0 when there is no room. */
  add(hash: number, words: Uint32Array, address: number): number {
    const page = this.#free.pop() ?? this.#take();
    if (page === 0) return 0;
    this.#words.set(words.subarray(address >>> 2, (address + PAGE_SIZE) >>> 2), (page * PAGE_SIZE) >>> 2);
    this.#hashes[page] = hash;
    this.#next[page] = this.#heads[hash % CHAINS] as number;
    this.#heads[hash % CHAINS] = page;
    return page;
  }

  #take(): number {
    if (this.#frontier > this.#pagesMax) return 0;
    const { bytes } = this.memory;
    const end = (this.#frontier + 1) * PAGE_SIZE;
    if (end > bytes.byteLength) {
      const grown = Math.min((this.#frontier + GROWTH) * PAGE_SIZE, (this.#pagesMax + 1) * PAGE_SIZE);
      try {
        (bytes as SharedArrayBuffer & { grow(size: number): void }).grow(grown);
      } catch {
        return 0;
      }
    }
    this.#frontier += 1;
    return this.#frontier - 1;
  }

  /** Forget the pages that nobody has. */
  sweep(): void {
    for (let chain = 0; chain < CHAINS; chain++) {
      let before = 0;
      for (let page = this.#heads[chain] as number; page !== 0; ) {
        const next = this.#next[page] as number;
        if (this.usesOf(page) > 0) before = page;
        else {
          if (before === 0) this.#heads[chain] = next;
          else this.#next[before] = next;
          this.#free.push(page);
        }
        page = next;
      }
    }
  }
}
