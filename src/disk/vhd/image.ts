/**
 * An open VHD file: where its blocks lie, which sectors they hold, and how changes reach the file.
 *
 * Order of writes, so that a cut anywhere leaves an image that is consistent and has everything that was flushed:
 *
 * - A new block gets its first bitmap (all ones where nothing lies below, all zeros in a differencing image) in space that reads
 *   as zeros, and its BAT entry only in memory. `flush` makes data and first bitmaps durable, then writes BAT entries and
 *   the bitmap bits of sectors written before, then makes those durable.
 * - The file grows by many blocks at once: a footer is durable at the new end before the old one is overwritten.
 *   The copy of the footer in sector 0 is never touched by this.
 * - The place of a block that was given back is used again only after its BAT entry is durably gone, and no write to it is under way.
 *
 * Source of the format: layout.ts.
 */

import { DomusError } from '../../base/errors.ts';
import type { Awaitable, BlockFile } from '../../platform/block-files.ts';
import { corrupt, unsupported } from '../errors.ts';
import { isZero, NO_OWNER, SECTOR_BYTES, type WritableLayer } from '../layer.ts';
import { BlockBitmaps } from './bitmaps.ts';
import { FOOTER_BYTES, footerOf, geometry, headerOf, sealFooter, UNUSED, VhdType } from './layout.ts';
import type { VhdMetadata } from './metadata.ts';

/** The file grows by so many blocks at once. */
const GROWTH_BLOCKS = 16;
const DATA_ALIGN = 4096;
const ENTRIES_A_SECTOR = SECTOR_BYTES / 4;
const ZERO_PIECE_BYTES = 1 << 20;

const alignUp = (value: number, to: number): number => Math.ceil(value / to) * to;

export class VhdImage implements WritableLayer {
  readonly format = 'vhd';
  readonly file: BlockFile;
  readonly meta: VhdMetadata;
  readonly bitmaps: BlockBitmaps | undefined;
  /** Blocks that were given back, and are free once the BAT says so durably. */
  #freed: number[] = [];
  #reusable: number[] = [];
  /** Writes of data that are under way. */
  readonly #writes = new Set<Promise<void>>();
  /** Sectors of the BAT that have to be written. */
  #dirtyTable = new Set<number>();
  #allocations = new Map<number, Promise<void>>();
  /** Allocations take turns. */
  #turn: Promise<unknown> = Promise.resolve();
  #flushing: Promise<void> | undefined;
  #nextFlush: Promise<void> | undefined;
  /** Where the next block goes, and where the footer at the end lies. */
  #nextFree: number;
  #footerAt: number;
  #isPrepared = false;
  #isSealed = false;
  /** Blocks that count as unused when the BAT is written, though they are still read: they were merged elsewhere. */
  readonly #merged = new Set<number>();

  constructor(file: BlockFile, meta: VhdMetadata) {
    this.file = file;
    this.meta = meta;
    this.#nextFree = meta.dataEnd;
    this.#footerAt = meta.footerAt;
    if (meta.type !== VhdType.fixed) this.bitmaps = new BlockBitmaps(file, meta);
  }

  get path(): string {
    return this.file.path;
  }
  get sizeBytes(): number {
    return this.meta.sizeBytes;
  }
  get unitBytes(): number {
    return this.meta.blockBytes;
  }
  /** Nothing lies below by its type. */
  get isBase(): boolean {
    return this.meta.type !== VhdType.differencing;
  }
  get nrBlocksUsed(): number {
    const { table } = this.meta;
    let count = 0;
    for (let block = 0; block < table.length; block++) if (table[block] !== UNUSED) count += 1;
    return count;
  }

  // ---- reading ----

  async claim(firstSector: number, owners: Uint8Array, id: number): Promise<number> {
    const { bitmaps, meta } = this;
    if (!bitmaps) {
      for (let i = 0; i < owners.length; i++) if (owners[i] === NO_OWNER) owners[i] = id;
      return 0;
    }
    const blockSectors = meta.blockBytes / SECTOR_BYTES;
    const block = Math.floor(firstSector / blockSectors);
    const isUsed = meta.table[block] !== UNUSED;
    const bits = isUsed ? await bitmaps.get(block) : undefined;
    let left = 0;
    for (let i = 0; i < owners.length; i++) {
      if (owners[i] !== NO_OWNER) continue;
      const sector = (firstSector + i) % blockSectors;
      if (bits && ((bits[sector >> 3] as number) & (0x80 >> (sector & 7))) !== 0) owners[i] = id;
      else left += 1;
    }
    return left;
  }

  read(offset: number, into: Uint8Array): Awaitable<void> {
    // Most requests lie in one block, and most blocks are full.
    if (this.holdsNow(offset, into.length)) return this.readHeld(offset, into);
    return this.#readBlocks(offset, into);
  }

  async #readBlocks(offset: number, into: Uint8Array): Promise<void> {
    const { meta } = this;
    let done = 0;
    while (done < into.length) {
      const at = offset + done;
      const block = Math.floor(at / meta.blockBytes);
      const inside = at - block * meta.blockBytes;
      const part = Math.min(into.length - done, meta.blockBytes - inside);
      await this.#readBlock(block, inside, into.subarray(done, done + part));
      done += part;
    }
  }

  /** The range lies in one block. */
  readHeld(offset: number, into: Uint8Array): Awaitable<void> {
    const position = this.#positionOf(offset, into.length);
    return position === undefined ? this.#readBlocks(offset, into) : this.#readFile(position, into);
  }

  holdsNow(offset: number, sizeBytes: number): boolean {
    const { meta, bitmaps } = this;
    if (!bitmaps) return true;
    const block = Math.floor(offset / meta.blockBytes);
    return offset - block * meta.blockBytes + sizeBytes <= meta.blockBytes && bitmaps.isFull(block);
  }

  readHeldNow(offset: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean {
    const position = this.#positionOf(offset, sizeBytes);
    return position !== undefined && this.file.readNow(position, pieces, sizeBytes);
  }

  /** Where in the file a range lies that the image holds; undefined when not all in one place. */
  #positionOf(offset: number, sizeBytes: number): number | undefined {
    const { meta } = this;
    if (!this.bitmaps) return offset;
    const block = Math.floor(offset / meta.blockBytes);
    const inside = offset - block * meta.blockBytes;
    if (inside + sizeBytes > meta.blockBytes) return undefined;
    return (meta.table[block] as number) * SECTOR_BYTES + meta.bitmapBytes + inside;
  }

  async #readBlock(block: number, inside: number, into: Uint8Array): Promise<void> {
    const { meta, bitmaps } = this;
    const entry = meta.table[block] as number;
    if (entry === UNUSED || !bitmaps) {
      into.fill(0);
      return;
    }
    const data = entry * SECTOR_BYTES + meta.bitmapBytes;
    if (bitmaps.isFull(block)) {
      await this.#readFile(data + inside, into);
      return;
    }
    const bits = await bitmaps.get(block);
    const first = inside / SECTOR_BYTES;
    const count = into.length / SECTOR_BYTES;
    for (let i = 0; i < count; ) {
      const isHeld = bitmaps.has(bits, first + i);
      let end = i + 1;
      while (end < count && bitmaps.has(bits, first + end) === isHeld) end += 1;
      const part = into.subarray(i * SECTOR_BYTES, end * SECTOR_BYTES);
      if (isHeld) await this.#readFile(data + inside + i * SECTOR_BYTES, part);
      else part.fill(0);
      i = end;
    }
  }

  #readFile(position: number, into: Uint8Array): Awaitable<void> {
    const count = this.file.read(position, into);
    if (typeof count !== 'number')
      return count.then(known => void (known < into.length && into.fill(0, known)));
    if (count < into.length) into.fill(0, count);
  }

  // ---- writing ----

  write(offset: number, from: Uint8Array, hasBacking: boolean): Awaitable<void> {
    const position = this.holdsNow(offset, from.length) ? this.#positionOf(offset, from.length) : undefined;
    return position === undefined
      ? this.#writeBlocks(offset, from, hasBacking)
      : this.#writeFile(position, from);
  }
  #writeFile(position: number, from: Uint8Array): Awaitable<void> {
    const writing = this.file.write(position, from);
    if (!writing) return;
    this.#writes.add(writing);
    const done = () => void this.#writes.delete(writing);
    writing.then(done, done);
    return writing;
  }

  writeNow(offset: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean {
    const position = this.holdsNow(offset, sizeBytes) ? this.#positionOf(offset, sizeBytes) : undefined;
    return position !== undefined && this.file.writeNow(position, pieces, sizeBytes);
  }

  async #writeBlocks(offset: number, from: Uint8Array, hasBacking: boolean): Promise<void> {
    const { meta } = this;
    let done = 0;
    while (done < from.length) {
      const at = offset + done;
      const block = Math.floor(at / meta.blockBytes);
      const inside = at - block * meta.blockBytes;
      const part = Math.min(from.length - done, meta.blockBytes - inside);
      await this.#writeBlock(block, inside, from.subarray(done, done + part), hasBacking);
      done += part;
    }
  }

  async #writeBlock(block: number, inside: number, from: Uint8Array, hasBacking: boolean): Promise<void> {
    const { meta, bitmaps } = this;
    if (!bitmaps) return;
    if (meta.table[block] === UNUSED && !hasBacking && isZero(from)) return;
    // Somebody may give the block back while we wait.
    while (meta.table[block] === UNUSED) await this.#ensureBlock(block);
    const data = (meta.table[block] as number) * SECTOR_BYTES + meta.bitmapBytes;
    await this.#writeFile(data + inside, from);
    if (!bitmaps.isFull(block)) {
      await bitmaps.mark(block, inside / SECTOR_BYTES, from.length / SECTOR_BYTES);
    }
  }

  #ensureBlock(block: number): Promise<void> {
    const running = this.#allocations.get(block);
    if (running) return running;
    const allocation = this.#inTurn(() => this.#allocate(block));
    this.#allocations.set(block, allocation);
    const done = () => void this.#allocations.delete(block);
    allocation.then(done, done);
    return allocation;
  }

  #inTurn<T>(use: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(use);
    this.#turn = result.catch(() => {});
    return result;
  }

  async #allocate(block: number): Promise<void> {
    const { meta, file } = this;
    if (meta.table[block] !== UNUSED) return;
    const old = this.#reusable.pop();
    let position = old;
    if (position === undefined) position = await this.#grow();
    else await this.#clear(position + meta.bitmapBytes, meta.blockBytes);
    const bits = new Uint8Array(meta.bitmapBytes).fill(this.isBase ? 0xff : 0);
    await file.write(position, bits);
    this.bitmaps?.put(block, bits, this.isBase);
    meta.table[block] = position / SECTOR_BYTES;
    this.#dirtyTable.add(Math.floor(block / ENTRIES_A_SECTOR));
  }

  async #clear(position: number, sizeBytes: number): Promise<void> {
    const zeros = new Uint8Array(Math.min(sizeBytes, ZERO_PIECE_BYTES));
    for (let done = 0; done < sizeBytes; done += zeros.length) {
      await this.file.write(position + done, zeros.subarray(0, Math.min(zeros.length, sizeBytes - done)));
    }
  }

  /** Room for one more block, which reads as zeros behind its bitmap. */
  async #grow(): Promise<number> {
    const { meta, file } = this;
    await this.#prepare();
    const position = alignUp(this.#nextFree + meta.bitmapBytes, DATA_ALIGN) - meta.bitmapBytes;
    const end = position + meta.bitmapBytes + meta.blockBytes;
    if (end / SECTOR_BYTES >= UNUSED) {
      throw new DomusError('E_DISK_FULL', `${this.path} is as large as a VHD file can be`, 'compact it');
    }
    if (end > this.#footerAt) {
      // Footers lie where one block ends, so that never a block's data does.
      const stride = alignUp(meta.bitmapBytes + meta.blockBytes, DATA_ALIGN);
      const left = meta.table.length - this.nrBlocksUsed;
      const footerAt = end + stride * (Math.min(GROWTH_BLOCKS, Math.max(1, left)) - 1);
      await file.write(footerAt, meta.footer);
      await file.flush();
      this.#footerAt = footerAt;
    }
    this.#nextFree = end;
    return position;
  }

  /** What lies behind the last block may be left from before a crash: cut it off, once. */
  async #prepare(): Promise<void> {
    if (this.#isPrepared) return;
    await this.#trim();
    this.#isPrepared = true;
  }

  /** The file ends with a footer behind the last block. Returns whether that was to be done: all before the cut is durable then. */
  async #trim(): Promise<boolean> {
    const { file, meta } = this;
    this.#nextFree = alignUp(this.#nextFree, SECTOR_BYTES);
    if (this.#footerAt === this.#nextFree && (await file.size()) === this.#nextFree + FOOTER_BYTES)
      return false;
    await file.write(this.#nextFree, meta.footer);
    await file.flush();
    await file.resize(this.#nextFree + FOOTER_BYTES);
    this.#footerAt = this.#nextFree;
    return true;
  }

  /** Cut off what lies behind the last block. */
  trim(): Promise<void> {
    return this.#inTurn(async () => {
      await this.flush();
      await this.#trim();
      this.#isPrepared = true;
      await this.file.flush();
    });
  }

  /** The image is finished: it is only read from now on. */
  async seal(): Promise<void> {
    await this.trim();
    this.#isSealed = true;
  }

  /** Write `bytes` behind the last block, for structures that are moved. Returns where. */
  append(bytes: Uint8Array): Promise<number> {
    return this.#inTurn(async () => {
      await this.#trim();
      this.#isPrepared = true;
      const position = this.#nextFree;
      const end = position + alignUp(bytes.length, SECTOR_BYTES);
      await this.file.write(end, this.meta.footer);
      await this.file.flush();
      await this.file.write(position, bytes);
      this.#nextFree = end;
      this.#footerAt = end;
      this.meta.structuresEnd = Math.max(this.meta.structuresEnd, end);
      return position;
    });
  }

  /**
   * As `seal`, with another footer, for an image of which all that was written has been flushed. One flush: the footers are durable, and the
   * cut of what lies behind the last block may be lost.
   */
  sealAs(change: (footer: ReturnType<typeof footerOf>) => void): Promise<void> {
    return this.#inTurn(async () => {
      const { meta, file } = this;
      change(footerOf(meta.footer));
      sealFooter(meta.footer);
      if (meta.type !== VhdType.fixed) await file.write(0, meta.footer);
      await this.writeEndFooter();
      if (!(await this.#trim())) await file.flush();
      this.#isSealed = true;
    });
  }

  /** Put the changed footer at the end, in force after the next flush of the file. */
  async writeEndFooter(): Promise<void> {
    await this.file.write(this.#footerAt, this.meta.footer);
  }

  async discard(offset: number, sizeBytes: number): Promise<void> {
    const { meta } = this;
    // Another tool's batmap would have to be kept in step.
    if (!this.bitmaps || meta.hasBatmap) return;
    const first = Math.ceil(offset / meta.blockBytes);
    const end =
      offset + sizeBytes === meta.sizeBytes
        ? meta.nrBlocks
        : Math.floor((offset + sizeBytes) / meta.blockBytes);
    for (let block = first; block < end; block++) this.freeBlock(block);
  }

  /** The block reads as if it had never been written. */
  freeBlock(block: number): void {
    const { meta } = this;
    const entry = meta.table[block] as number;
    if (entry === UNUSED) return;
    meta.table[block] = UNUSED;
    this.bitmaps?.forget(block);
    this.#freed.push(entry * SECTOR_BYTES);
    this.#dirtyTable.add(Math.floor(block / ENTRIES_A_SECTOR));
  }

  /** The block lies elsewhere from the next flush on, where its bitmap and data have been written. */
  moveBlock(block: number, position: number): void {
    this.meta.table[block] = position / SECTOR_BYTES;
    this.#dirtyTable.add(Math.floor(block / ENTRIES_A_SECTOR));
  }

  /** Blocks have gone from the end: what is free begins earlier now. */
  findEnd(): void {
    const { meta } = this;
    let end = meta.structuresEnd;
    for (const entry of meta.table) {
      if (entry !== UNUSED) end = Math.max(end, entry * SECTOR_BYTES + meta.bitmapBytes + meta.blockBytes);
    }
    this.#nextFree = end;
    this.#reusable = [];
  }

  /** What the block holds is durable in another file: the BAT is to forget it, at the next flush. Reads go on. */
  markMerged(block: number): void {
    this.#merged.add(block);
    this.#dirtyTable.add(Math.floor(block / ENTRIES_A_SECTOR));
  }

  // ---- flushing ----

  /** Calls during a flush share the next one: what they want durable was written before. */
  flush(): Promise<void> {
    if (!this.#flushing) {
      this.#flushing = this.#flushOnce().finally(() => {
        this.#flushing = undefined;
      });
      return this.#flushing;
    }
    this.#nextFlush ??= this.#flushing
      .catch(() => {})
      .then(() => {
        this.#nextFlush = undefined;
        return this.flush();
      });
    return this.#nextFlush;
  }

  async #flushOnce(): Promise<void> {
    const { file, bitmaps } = this;
    // Taken now: what is written from here on belongs to the next flush.
    const table = [...this.#dirtyTable].map(index => ({ index, bytes: this.#tableSector(index) }));
    const maps = bitmaps?.takeDirty() ?? [];
    const freed = this.#freed;
    const writes = freed.length > 0 ? [...this.#writes] : [];
    this.#dirtyTable = new Set();
    this.#freed = [];
    try {
      await file.flush();
      if (table.length === 0 && maps.length === 0) {
        this.#reuse(freed, writes);
        return;
      }
      for (const { position, bytes } of maps) await file.write(position, bytes);
      for (const { index, bytes } of table) {
        await file.write(this.meta.tableOffset + index * SECTOR_BYTES, bytes);
      }
      await file.flush();
      this.#reuse(freed, writes);
      bitmaps?.written();
    } catch (error) {
      for (const { index } of table) this.#dirtyTable.add(index);
      bitmaps?.notWritten();
      this.#freed.push(...freed);
      throw error;
    }
  }

  /** Places are free; some of these writes, which began before that, may still go there. */
  #reuse(freed: readonly number[], writes: readonly Promise<void>[]): void {
    const isFree = () => void this.#reusable.push(...freed);
    if (writes.length === 0) isFree();
    else Promise.allSettled(writes).then(isFree);
  }

  #tableSector(index: number): Uint8Array {
    const { table } = this.meta;
    const sector = new Uint8Array(SECTOR_BYTES);
    const view = new DataView(sector.buffer);
    for (let i = 0; i < ENTRIES_A_SECTOR; i++) {
      const block = index * ENTRIES_A_SECTOR + i;
      const entry = block < table.length && !this.#merged.has(block) ? (table[block] as number) : UNUSED;
      view.setUint32(4 * i, entry);
    }
    return sector;
  }

  // ---- size, end ----

  /** Change the footer, in both places. */
  async changeFooter(change: (footer: ReturnType<typeof footerOf>) => void): Promise<void> {
    const { meta, file } = this;
    await this.flush();
    change(footerOf(meta.footer));
    sealFooter(meta.footer);
    if (meta.type !== VhdType.fixed) {
      await file.write(0, meta.footer);
      await file.flush();
    }
    await this.writeEndFooter();
    await file.flush();
  }

  get isHidden(): boolean {
    return footerOf(this.meta.footer).hidden !== 0;
  }

  async resize(sizeBytes: number): Promise<void> {
    const { meta, file } = this;
    if (meta.type === VhdType.fixed) await this.#resizeFixed(sizeBytes);
    else {
      const needed = Math.ceil(sizeBytes / meta.blockBytes);
      if (needed > headerOf(meta.header).maxTableEntries) await this.#moveTable(needed);
      const table = new Uint32Array(needed).fill(UNUSED);
      table.set(meta.table.subarray(0, needed));
      await this.flush();
      this.#setFooterSize(sizeBytes);
      await file.write(0, meta.footer);
      await this.writeEndFooter();
      await file.flush();
      meta.table = table;
      this.bitmaps?.resized(needed);
    }
    meta.sizeBytes = sizeBytes;
  }

  #setFooterSize(sizeBytes: number): void {
    const footer = footerOf(this.meta.footer);
    footer.currentSize = BigInt(sizeBytes);
    Object.assign(footer, geometry(sizeBytes));
    sealFooter(this.meta.footer);
  }

  async #resizeFixed(sizeBytes: number): Promise<void> {
    const { meta, file } = this;
    const old = meta.sizeBytes;
    this.#setFooterSize(sizeBytes);
    await file.write(sizeBytes, meta.footer);
    await file.flush();
    if (sizeBytes > old) await file.write(old, new Uint8Array(FOOTER_BYTES));
    else await file.resize(sizeBytes + FOOTER_BYTES);
    await file.flush();
    this.#footerAt = sizeBytes;
    this.#nextFree = sizeBytes;
  }

  /** A longer BAT is written elsewhere; then one sector of the header makes it the one that counts. */
  async #moveTable(nrEntries: number): Promise<void> {
    const { meta, file } = this;
    if (meta.hasBatmap) throw unsupported(this.path, 'its batmap leaves no room to grow');
    const entries = alignUp(nrEntries, ENTRIES_A_SECTOR);
    await this.flush();
    const bytes = new Uint8Array(entries * 4).fill(0xff);
    const view = new DataView(bytes.buffer);
    for (const [block, entry] of meta.table.entries()) view.setUint32(4 * block, entry);
    const position = await this.append(bytes);
    await file.flush();
    meta.setTable(position, entries);
    await file.write(meta.headerOffset, meta.header.subarray(0, SECTOR_BYTES));
    await file.flush();
  }

  async close(): Promise<void> {
    try {
      if (!this.file.isReadOnly && !this.#isSealed) {
        await this.flush();
        if (this.#isPrepared) {
          this.findEnd();
          await this.#trim();
          await this.file.flush();
        }
      }
    } finally {
      await this.file.close();
    }
  }

  /** Data of a used block, whatever its bitmap says. */
  async readRaw(block: number, into: Uint8Array): Promise<void> {
    const entry = this.meta.table[block] as number;
    if (entry === UNUSED) throw corrupt(this.path, `block ${block} is not there`);
    await this.#readFile(entry * SECTOR_BYTES + this.meta.bitmapBytes, into);
  }
}
