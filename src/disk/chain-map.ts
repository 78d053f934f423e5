/**
 * Which layer of a chain holds a sector, remembered, so that reading through thirty files costs no more than through
 * one.
 *
 * The disk is cut into units (the top image's blocks). Most units belong to one layer entirely, or to none: one byte
 * says so. For the others an array of owners is kept, a bounded number of them.
 */
import { type Layer, NO_OWNER, SECTOR_BYTES } from './layer.ts';

const UNKNOWN = 254;
const MIXED = 253;
/** Arrays of owners are kept up to this much. */
const MIXED_BYTES = 16 << 20;

export class ChainMap {
  readonly #layers: readonly Layer[];
  readonly unitBytes: number;
  readonly #sizeBytes: number;
  readonly #uniform: Uint8Array;
  /** The oldest first. */
  readonly #mixed = new Map<number, Uint8Array>();
  readonly #mixedMax: number;
  /** Units that are being looked up; `isStale` when one was written meanwhile. */
  readonly #running = new Map<number, { isStale: boolean; result: Promise<number | Uint8Array> }>();

  constructor(layers: readonly Layer[], unitBytes: number, sizeBytes: number) {
    this.#layers = layers;
    this.unitBytes = unitBytes;
    this.#sizeBytes = sizeBytes;
    this.#uniform = new Uint8Array(Math.ceil(sizeBytes / unitBytes)).fill(UNKNOWN);
    this.#mixedMax = Math.max(16, Math.floor((MIXED_BYTES * SECTOR_BYTES) / unitBytes));
  }

  /** The owner of the whole unit (NO_OWNER: nobody), or the owners of its sectors. */
  ownersOf(unit: number): number | Uint8Array | Promise<number | Uint8Array> {
    const uniform = this.#uniform[unit] as number;
    if (uniform === MIXED) return this.#mixed.get(unit) as Uint8Array;
    if (uniform !== UNKNOWN) return uniform;
    const running = this.#running.get(unit);
    if (running) return running.result;
    const lookup = { isStale: false, result: Promise.resolve<number | Uint8Array>(0) };
    this.#running.set(unit, lookup);
    lookup.result = this.#lookUp(unit, lookup).finally(() => this.#running.delete(unit));
    return lookup.result;
  }

  async #lookUp(unit: number, lookup: { isStale: boolean }): Promise<number | Uint8Array> {
    for (;;) {
      lookup.isStale = false;
      const owners = await this.#ask(unit);
      if (lookup.isStale) continue;
      const first = owners[0] as number;
      if (owners.every(owner => owner === first)) {
        this.#uniform[unit] = first;
        return first;
      }
      this.#uniform[unit] = MIXED;
      this.#mixed.set(unit, owners);
      if (this.#mixed.size > this.#mixedMax) {
        for (const oldest of this.#mixed.keys()) {
          this.#mixed.delete(oldest);
          this.#uniform[oldest] = UNKNOWN;
          break;
        }
      }
      return owners;
    }
  }

  async #ask(unit: number): Promise<Uint8Array> {
    const start = unit * this.unitBytes;
    const end = Math.min(start + this.unitBytes, this.#sizeBytes);
    const owners = new Uint8Array((end - start) / SECTOR_BYTES).fill(NO_OWNER);
    for (const [id, layer] of this.#layers.entries()) {
      let left = 0;
      // A layer is asked within one of its own units, and within its size.
      const layerEnd = Math.min(end, layer.sizeBytes);
      for (let at = start; at < layerEnd; ) {
        const pieceEnd = Math.min(layerEnd, (Math.floor(at / layer.unitBytes) + 1) * layer.unitBytes);
        const piece = owners.subarray((at - start) / SECTOR_BYTES, (pieceEnd - start) / SECTOR_BYTES);
        left += await layer.claim(at / SECTOR_BYTES, piece, id);
        at = pieceEnd;
      }
      if (left === 0 && layerEnd === end) break;
    }
    return owners;
  }

  /** These sectors are the top layer's now. They lie in one unit. */
  written(offset: number, sizeBytes: number): void {
    const unit = Math.floor(offset / this.unitBytes);
    const running = this.#running.get(unit);
    if (running) running.isStale = true;
    const uniform = this.#uniform[unit] as number;
    if (uniform === 0 || uniform === UNKNOWN) return;
    let owners = this.#mixed.get(unit);
    if (!owners) {
      const start = unit * this.unitBytes;
      const end = Math.min(start + this.unitBytes, this.#sizeBytes);
      owners = new Uint8Array((end - start) / SECTOR_BYTES).fill(uniform);
      this.#mixed.set(unit, owners);
      this.#uniform[unit] = MIXED;
    }
    const first = (offset - unit * this.unitBytes) / SECTOR_BYTES;
    owners.fill(0, first, first + sizeBytes / SECTOR_BYTES);
    if (sizeBytes === this.unitBytes || (this.#mixed.size > this.#mixedMax && !running)) this.forget(unit);
  }

  /** Ask again when it is next needed. */
  forget(unit: number): void {
    const running = this.#running.get(unit);
    if (running) running.isStale = true;
    this.#mixed.delete(unit);
    this.#uniform[unit] = UNKNOWN;
  }
}
