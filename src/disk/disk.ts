/**
 * A disk: a chain of image files, the top one written to, the others read through.
 *
 * Requests may overlap; each is answered when its own bytes have been moved. Work that changes the chain itself
 * (snapshot, resize, the end of a coalesce) goes through `exclusively`, which waits for running requests and holds new
 * ones back.
 */
import { invariant } from '../base/errors.ts';
import type { Awaitable } from '../platform/block-files.ts';
import { ChainMap } from './chain-map.ts';
import { readOnly } from './errors.ts';
import { type ImageFormat, type Layer, NO_OWNER, SECTOR_BYTES, type WritableLayer } from './layer.ts';

export interface DiskCounters {
  reads: number;
  readBytes: number;
  writes: number;
  writtenBytes: number;
  flushes: number;
  discards: number;
  errors: number;
}

/** A file of the chain, and what must be given back when it is not needed any more. */
export interface ChainLink {
  readonly layer: Layer;
  /** Another disk has the file open and claimed, longer than this one, and closes it. */
  readonly isBorrowed?: true;
  release(): Promise<void>;
}

/** The lock is given back also where closing fails. */
export async function closeLink({ layer, isBorrowed, release }: ChainLink): Promise<void> {
  try {
    if (!isBorrowed) await layer.close();
  } finally {
    await release();
  }
}

export class Disk {
  readonly path: string;
  /** Why it cannot be written; undefined if it can. */
  readonly whyReadOnly: string | undefined;
  readonly counters: DiskCounters = {
    reads: 0,
    readBytes: 0,
    writes: 0,
    writtenBytes: 0,
    flushes: 0,
    discards: 0,
    errors: 0,
  };
  #links: ChainLink[];
  #top: WritableLayer;
  #map: ChainMap | undefined;
  #running = 0;
  #gate: Promise<void> | undefined;
  #onQuiet: (() => void) | undefined;
  #isClosed = false;
  #closing: Promise<void> | undefined;

  constructor(path: string, links: ChainLink[], whyReadOnly: string | undefined) {
    this.path = path;
    this.#links = links;
    this.whyReadOnly = whyReadOnly;
    this.#top = links[0]?.layer as WritableLayer;
    this.#remap();
  }

  get sizeBytes(): number {
    return this.#top.sizeBytes;
  }
  get format(): ImageFormat {
    return this.#top.format;
  }
  get isReadOnly(): boolean {
    return this.whyReadOnly !== undefined;
  }
  /** From the top down. */
  get layers(): readonly Layer[] {
    return this.#links.map(link => link.layer);
  }
  get links(): readonly ChainLink[] {
    return this.#links;
  }
  /** Whether giving space back does anything. */
  get canDiscard(): boolean {
    return this.format === 'vhd' && !this.isReadOnly;
  }
  /** What a discard gives back: whole units of this size. */
  get discardUnitBytes(): number {
    return this.#top.unitBytes;
  }
  get isClosed(): boolean {
    return this.#isClosed;
  }

  #remap(): void {
    const { layers } = this;
    this.#map = layers.length > 1 ? new ChainMap(layers, this.#top.unitBytes, this.sizeBytes) : undefined;
  }

  /** Other files from now on. Only inside `exclusively`. */
  setLinks(links: ChainLink[]): void {
    this.#links = links;
    this.#top = links[0]?.layer as WritableLayer;
    this.#remap();
  }

  #check(offset: number, sizeBytes: number): void {
    invariant(
      offset >= 0 &&
        offset % SECTOR_BYTES === 0 &&
        sizeBytes % SECTOR_BYTES === 0 &&
        offset + sizeBytes <= this.sizeBytes,
      `a request for ${sizeBytes} bytes at ${offset} of a disk of ${this.sizeBytes}`,
    );
  }

  /** What can be done at once is done at once: most requests never wait for anything. */
  #request<T>(use: () => Awaitable<T>): Awaitable<T> {
    if (this.#gate) return this.#requestLater(use);
    invariant(!this.#isClosed, 'a request to a disk that is closed');
    let result: Awaitable<T>;
    try {
      result = use();
    } catch (error) {
      this.counters.errors += 1;
      throw error;
    }
    return result instanceof Promise ? this.#track(result) : result;
  }

  async #requestLater<T>(use: () => Awaitable<T>): Promise<T> {
    while (this.#gate) await this.#gate;
    return this.#request(use);
  }

  async #track<T>(result: Promise<T>): Promise<T> {
    this.#running += 1;
    try {
      return await result;
    } catch (error) {
      this.counters.errors += 1;
      throw error;
    } finally {
      this.#running -= 1;
      if (this.#running === 0) this.#onQuiet?.();
    }
  }

  /** Run `use` while no request runs. */
  async exclusively<T>(use: () => Promise<T>): Promise<T> {
    while (this.#gate) await this.#gate;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gate = promise;
    try {
      if (this.#running > 0) {
        await new Promise<void>(quiet => {
          this.#onQuiet = quiet;
        });
        this.#onQuiet = undefined;
      }
      return await use();
    } finally {
      this.#gate = undefined;
      resolve();
    }
  }

  read(offset: number, into: Uint8Array): Awaitable<void> {
    this.#check(offset, into.length);
    this.counters.reads += 1;
    this.counters.readBytes += into.length;
    return this.#request(() =>
      this.#map ? this.#readChain(this.#map, offset, into) : this.#top.read(offset, into),
    );
  }

  /**
   * Fill pieces of memory, `sizeBytes` in all, before it returns. False when that cannot be: what has been done then is to be done again
   * by way of `read`.
   */
  readNow(offset: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean {
    this.#check(offset, sizeBytes);
    if (!this.#tryNow(() => this.#readHeldNow(offset, pieces, sizeBytes))) return false;
    this.counters.reads += 1;
    this.counters.readBytes += sizeBytes;
    return true;
  }

  #readHeldNow(offset: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean {
    const map = this.#map;
    if (!map)
      return (
        this.#top.holdsNow(offset, sizeBytes) && this.#top.readHeldNow?.(offset, pieces, sizeBytes) === true
      );
    const unit = Math.floor(offset / map.unitBytes);
    if (offset + sizeBytes > (unit + 1) * map.unitBytes) return false;
    // What is nobody's, or belongs to several, has no one place to be read from.
    const owner = map.ownersOf(unit);
    if (typeof owner !== 'number') return false;
    return this.#links[owner]?.layer.readHeldNow?.(offset, pieces, sizeBytes) === true;
  }

  #tryNow(use: () => boolean): boolean {
    if (this.#gate) return false;
    invariant(!this.#isClosed, 'a request to a disk that is closed');
    try {
      return use();
    } catch (error) {
      this.counters.errors += 1;
      throw error;
    }
  }

  #readChain(map: ChainMap, offset: number, into: Uint8Array): Awaitable<void> {
    const unit = Math.floor(offset / map.unitBytes);
    const inside = offset - unit * map.unitBytes;
    if (inside + into.length <= map.unitBytes) {
      const owners = map.ownersOf(unit);
      if (typeof owners === 'number') return this.#readLayer(owners, offset, into);
      if (!(owners instanceof Promise)) return this.#readUnit(owners, offset, inside, into);
    }
    return this.#readUnits(map, offset, into);
  }

  async #readUnits(map: ChainMap, offset: number, into: Uint8Array): Promise<void> {
    let done = 0;
    while (done < into.length) {
      const at = offset + done;
      const unit = Math.floor(at / map.unitBytes);
      const part = Math.min(into.length - done, (unit + 1) * map.unitBytes - at);
      const owners = await map.ownersOf(unit);
      const piece = into.subarray(done, done + part);
      if (typeof owners === 'number') await this.#readLayer(owners, at, piece);
      else await this.#readUnit(owners, at, at - unit * map.unitBytes, piece);
      done += part;
    }
  }

  #readUnit(owners: Uint8Array, offset: number, inside: number, into: Uint8Array): Awaitable<void> {
    const first = inside / SECTOR_BYTES;
    const count = into.length / SECTOR_BYTES;
    const owner = owners[first] as number;
    let end = 1;
    while (end < count && owners[first + end] === owner) end += 1;
    if (end === count) return this.#readLayer(owner, offset, into);
    return this.#readRuns(owners.slice(first, first + count), offset, into);
  }

  async #readRuns(owners: Uint8Array, offset: number, into: Uint8Array): Promise<void> {
    for (let i = 0; i < owners.length; ) {
      const owner = owners[i] as number;
      let end = i + 1;
      while (end < owners.length && owners[end] === owner) end += 1;
      await this.#readLayer(
        owner,
        offset + i * SECTOR_BYTES,
        into.subarray(i * SECTOR_BYTES, end * SECTOR_BYTES),
      );
      i = end;
    }
  }

  #readLayer(owner: number, offset: number, into: Uint8Array): Awaitable<void> {
    if (owner === NO_OWNER) into.fill(0);
    else return this.#links[owner]?.layer.readHeld(offset, into);
  }

  /** @throws DomusError E_DISK_READ_ONLY, E_DISK_FULL, E_DISK_IO */
  write(offset: number, from: Uint8Array): Awaitable<void> {
    this.#check(offset, from.length);
    this.#mustBeWritable();
    this.counters.writes += 1;
    this.counters.writtenBytes += from.length;
    return this.#request(() => {
      const map = this.#map;
      const written = this.#top.write(offset, from, map !== undefined);
      if (!map) return written;
      if (written instanceof Promise) return written.then(() => noteWrite(map, offset, from.length));
      noteWrite(map, offset, from.length);
    });
  }

  /** As `readNow`, for `write`. @throws DomusError as `write` */
  writeNow(offset: number, pieces: readonly Uint8Array[], sizeBytes: number): boolean {
    this.#check(offset, sizeBytes);
    this.#mustBeWritable();
    if (!this.#tryNow(() => this.#top.writeNow(offset, pieces, sizeBytes))) return false;
    this.counters.writes += 1;
    this.counters.writtenBytes += sizeBytes;
    if (this.#map) noteWrite(this.#map, offset, sizeBytes);
    return true;
  }

  #mustBeWritable(): void {
    if (this.whyReadOnly !== undefined) throw readOnly(this.path, this.whyReadOnly);
  }

  /** The space is not needed: what is there may read as zeros, or as before. */
  discard(offset: number, sizeBytes: number): Awaitable<void> {
    this.#check(offset, sizeBytes);
    this.#mustBeWritable();
    this.counters.discards += 1;
    // In a chain what lies below would come to light again.
    return this.#request(() => (this.#map ? undefined : this.#top.discard(offset, sizeBytes)));
  }

  /** Everything that was written before is durable. */
  flush(): Awaitable<void> {
    this.counters.flushes += 1;
    return this.#request(() => (this.isReadOnly ? undefined : this.#top.flush()));
  }

  /** Whether nothing lies in the range in any file; it then reads as zeros. */
  isHole(offset: number, sizeBytes: number): Awaitable<boolean> {
    return this.#request(async () => {
      const unitBytes = this.#top.unitBytes;
      for (let at = offset; at < offset + sizeBytes; ) {
        const unit = Math.floor(at / unitBytes);
        const end = Math.min(offset + sizeBytes, (unit + 1) * unitBytes);
        const count = (end - at) / SECTOR_BYTES;
        if (!this.#map) {
          const owners = new Uint8Array(count).fill(NO_OWNER);
          if ((await this.#top.claim(at / SECTOR_BYTES, owners, 0)) < count) return false;
        } else {
          const owners = await this.#map.ownersOf(unit);
          const first = (at % unitBytes) / SECTOR_BYTES;
          if (typeof owners === 'number' ? owners !== NO_OWNER : !isNobodys(owners, first, first + count))
            return false;
        }
        at = end;
      }
      return true;
    });
  }

  /** Settles when everything is durable, closed and given back; for all who ask. */
  close(): Promise<void> {
    this.#closing ??= this.exclusively(async () => {
      this.#isClosed = true;
      const failures: unknown[] = [];
      for (const link of this.#links) await closeLink(link).catch(error => failures.push(error));
      if (failures.length > 0) throw failures[0];
    });
    return this.#closing;
  }
}

function isNobodys(owners: Uint8Array, first: number, end: number): boolean {
  for (let i = first; i < end; i++) if (owners[i] !== NO_OWNER) return false;
  return true;
}

function noteWrite(map: ChainMap, offset: number, sizeBytes: number): void {
  for (let at = offset; at < offset + sizeBytes; ) {
    const end = Math.min(offset + sizeBytes, (Math.floor(at / map.unitBytes) + 1) * map.unitBytes);
    map.written(at, end - at);
    at = end;
  }
}
