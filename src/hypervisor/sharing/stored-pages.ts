/**
 * Contents of shared pages, outside of all machines' memories, as each thread that runs vCPUs sees them: pages with numbers from 1,
 * and how often each is in use. Who has one may read it; it stays as it is until nobody has it (page-store.ts).
 */
import { PAGE_SIZE } from '../../base/brand.ts';
import { invariant } from '../../base/errors.ts';
import type { PageSource } from '../page-source.ts';

/** In a form that other threads can be given. */
export interface StoredPagesMemory {
  /** Page `n` begins at `n * PAGE_SIZE`; it grows. */
  readonly bytes: SharedArrayBuffer;
  /** Uses of each page, u32. */
  readonly uses: SharedArrayBuffer;
}

export class StoredPages implements PageSource {
  readonly memory: StoredPagesMemory;
  protected readonly bytes: Uint8Array;
  protected readonly uses: Int32Array;

  constructor(memory: StoredPagesMemory) {
    this.memory = memory;
    this.bytes = new Uint8Array(memory.bytes);
    this.uses = new Int32Array(memory.uses);
  }

  /** How many have the page. */
  usesOf(page: number): number {
    return Atomics.load(this.uses, page);
  }

  read(page: number, into: Uint8Array): void {
    invariant(this.usesOf(page) > 0, `page ${page} of the store is nobody's`);
    into.set(this.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE));
  }

  /** For who has it already, or finds it (`PageStore.find`). */
  retain(page: number): void {
    Atomics.add(this.uses, page, 1);
  }
  release(page: number): void {
    invariant(
      Atomics.sub(this.uses, page, 1) > 0,
      `page ${page} of the store released more often than taken`,
    );
  }
}
