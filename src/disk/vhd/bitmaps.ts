/**
 * The sector bitmaps of a VHD's blocks, as far as they are needed: a bounded cache of what the file says, and what has
 * been set since and must be written by the next flush.
 */
import type { BlockFile } from '../../platform/block-files.ts';
import { SECTOR_BYTES } from '../layer.ts';
import type { VhdMetadata } from './metadata.ts';

/** Clean bitmaps are kept up to this much. */
const CACHE_BYTES = 8 << 20;
const CACHE_MIN = 64;

const Fullness = { unknown: 0, full: 1, partial: 2 } as const;

export class BlockBitmaps {
  readonly #file: BlockFile;
  readonly #meta: VhdMetadata;
  /** In the order of their last use. */
  readonly #cache = new Map<number, Uint8Array>();
  readonly #dirty = new Map<number, Uint8Array>();
  /** On their way to the file. */
  readonly #writing = new Map<number, Uint8Array>();
  readonly #cacheMax: number;
  /** Made when the first bitmap is known: of most files that a guest's disk builds on none ever is. */
  #fullness: Uint8Array | undefined;

  constructor(file: BlockFile, meta: VhdMetadata) {
    this.#file = file;
    this.#meta = meta;
    this.#cacheMax = Math.max(CACHE_MIN, Math.floor(CACHE_BYTES / meta.bitmapBytes));
  }

  resized(nrBlocks: number): void {
    if (!this.#fullness) return;
    const fullness = new Uint8Array(nrBlocks);
    fullness.set(this.#fullness.subarray(0, nrBlocks));
    this.#fullness = fullness;
  }

  /** Known to hold all its sectors. */
  isFull(block: number): boolean {
    return this.#fullness?.[block] === Fullness.full;
  }

  has(bits: Uint8Array, sector: number): boolean {
    return ((bits[sector >> 3] as number) & (0x80 >> (sector & 7))) !== 0;
  }

  /** The bitmap of a used block: the one that counts, to be looked at now and not kept. */
  async get(block: number): Promise<Uint8Array> {
    const known = this.#known(block);
    if (known) {
      if (this.#cache.delete(block)) this.#cache.set(block, known);
      return known;
    }
    const bits = new Uint8Array(this.#meta.bitmapBytes);
    await this.#file.read((this.#meta.table[block] as number) * SECTOR_BYTES, bits);
    // Somebody else may have read, and then changed it, meanwhile.
    const other = this.#known(block);
    if (other) return other;
    this.put(block, bits, this.#allSet(bits));
    return bits;
  }

  #known(block: number): Uint8Array | undefined {
    return this.#dirty.get(block) ?? this.#writing.get(block) ?? this.#cache.get(block);
  }

  #allSet(bits: Uint8Array): boolean {
    const used = this.#meta.blockBytes / SECTOR_BYTES / 8;
    for (let i = 0; i < used; i++) if (bits[i] !== 0xff) return false;
    return true;
  }

  put(block: number, bits: Uint8Array, isFull: boolean): void {
    this.#fullness ??= new Uint8Array(this.#meta.nrBlocks);
    this.#fullness[block] = isFull ? Fullness.full : Fullness.partial;
    this.#cache.set(block, bits);
    if (this.#cache.size <= this.#cacheMax) return;
    for (const oldest of this.#cache.keys()) {
      this.#cache.delete(oldest);
      break;
    }
  }

  forget(block: number): void {
    if (this.#fullness) this.#fullness[block] = Fullness.unknown;
    this.#cache.delete(block);
    this.#dirty.delete(block);
    this.#writing.delete(block);
  }

  /** The data of these sectors have been written. */
  async mark(block: number, first: number, count: number): Promise<void> {
    const bits = await this.get(block);
    let hasChanged = false;
    for (let sector = first; sector < first + count; sector++) {
      const bit = 0x80 >> (sector & 7);
      const old = bits[sector >> 3] as number;
      if ((old & bit) !== 0) continue;
      bits[sector >> 3] = old | bit;
      hasChanged = true;
    }
    if (!hasChanged) return;
    this.#dirty.set(block, bits);
    if (this.#fullness && this.#allSet(bits)) this.#fullness[block] = Fullness.full;
  }

  /** What has to be written, as it is now. Until `written` the bitmaps stay at hand: the file does not have them yet. */
  takeDirty(): { block: number; position: number; bytes: Uint8Array }[] {
    for (const [block, bits] of this.#dirty) this.#writing.set(block, bits);
    this.#dirty.clear();
    return [...this.#writing].map(([block, bits]) => ({
      block,
      position: (this.#meta.table[block] as number) * SECTOR_BYTES,
      bytes: bits.slice(),
    }));
  }

  written(): void {
    for (const [block, bits] of this.#writing) this.put(block, bits, this.isFull(block));
    this.#writing.clear();
  }

  notWritten(): void {
    for (const [block, bits] of this.#writing) this.#dirty.set(block, bits);
    this.#writing.clear();
  }
}
