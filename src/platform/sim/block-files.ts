/**
 * Disk images in memory that lose power: the worst that the promises of platform/block-files.ts allow.
 *
 * Every sector remembers what it held at the last flush and all that was written since. `cut` makes of each such
 * sector, independently and by seeded chance, one of these: so writes are lost, torn between sectors, and reordered.
 * A name is durable at once. `failAt` ends everything at the n-th write, as when the host is killed there.
 */
import { DomusError } from '../../base/errors.ts';
import type { BlockFile, BlockFiles } from '../block-files.ts';

const SECTOR = 512;
const CHUNK = 1 << 16;

/** Thrown by the operation at which the power goes, and by all after it. */
export class PowerCut extends Error {}

interface Contents {
  /** 64 KiB pieces; what is missing is zero. */
  chunks: Map<number, Uint8Array>;
  sizeBytes: number;
  /** Sizes and sector contents since the last flush, oldest first; the first one is durable. */
  sizes: number[];
  versions: Map<number, Uint8Array[]>;
  isWritable: boolean;
}

const ZEROS = new Uint8Array(SECTOR);

function readAt(contents: Contents, position: number, into: Uint8Array): void {
  let done = 0;
  while (done < into.length) {
    const at = position + done;
    const part = Math.min(into.length - done, CHUNK - (at % CHUNK));
    const chunk = contents.chunks.get(Math.floor(at / CHUNK));
    if (chunk) into.set(chunk.subarray(at % CHUNK, (at % CHUNK) + part), done);
    else into.fill(0, done, done + part);
    done += part;
  }
}

function writeAt(contents: Contents, position: number, from: Uint8Array): void {
  let done = 0;
  while (done < from.length) {
    const at = position + done;
    const part = Math.min(from.length - done, CHUNK - (at % CHUNK));
    const index = Math.floor(at / CHUNK);
    let chunk = contents.chunks.get(index);
    if (!chunk) {
      chunk = new Uint8Array(CHUNK);
      contents.chunks.set(index, chunk);
    }
    chunk.set(from.subarray(done, done + part), at % CHUNK);
    done += part;
  }
}

const sectorOf = (contents: Contents, sector: number): Uint8Array => {
  const bytes = new Uint8Array(SECTOR);
  readAt(contents, sector * SECTOR, bytes);
  return bytes;
};

export class SimulatedFiles implements BlockFiles {
  readonly #files = new Map<string, Contents>();
  readonly #locks = new Map<string, { shared: number; isExclusive: boolean }>();
  /** Operations that change something, so far. */
  nrWrites = 0;
  nrReads = 0;
  nrFlushes = 0;
  /** The power goes at this write; undefined: never. */
  failAt: number | undefined;
  /** Called before each transfer; may throw, as a broken disk does. */
  onTransfer: ((kind: 'read' | 'write' | 'flush', path: string, position: number) => void) | undefined;

  #step(): void {
    this.nrWrites += 1;
    if (this.failAt !== undefined && this.nrWrites >= this.failAt) throw new PowerCut('the power is gone');
  }

  #get(path: string): Contents {
    const contents = this.#files.get(path);
    if (!contents) throw new DomusError('E_DISK_NOT_FOUND', `cannot open ${path}: there is no such file`);
    return contents;
  }

  /** The state after the power has come back. `choose(n)` picks one of n versions. */
  cut(choose: (count: number) => number): SimulatedFiles {
    const after = new SimulatedFiles();
    const copies = new Map<Contents, Contents>();
    for (const [path, old] of this.#files) {
      let copy = copies.get(old);
      if (!copy) {
        copy = {
          chunks: new Map([...old.chunks].map(([index, chunk]) => [index, chunk.slice()])),
          sizeBytes: old.sizes[choose(old.sizes.length)] as number,
          sizes: [],
          versions: new Map(),
          isWritable: old.isWritable,
        };
        for (const [sector, versions] of old.versions) {
          const version = versions[choose(versions.length)] as Uint8Array;
          writeAt(copy, sector * SECTOR, version);
          // What was written beyond the end took the end along.
          if (version !== versions[0]) copy.sizeBytes = Math.max(copy.sizeBytes, (sector + 1) * SECTOR);
        }
        copy.sizeBytes = Math.min(copy.sizeBytes, Math.max(...old.sizes));
        clearFrom(copy, copy.sizeBytes);
        copy.sizes = [copy.sizeBytes];
        copies.set(old, copy);
      }
      after.#files.set(path, copy);
    }
    return after;
  }

  bytes(path: string): Uint8Array {
    const contents = this.#get(path);
    const bytes = new Uint8Array(contents.sizeBytes);
    readAt(contents, 0, bytes);
    return bytes;
  }

  put(path: string, bytes: Uint8Array): void {
    const contents = emptyContents();
    writeAt(contents, 0, bytes);
    contents.sizeBytes = bytes.length;
    contents.sizes = [bytes.length];
    this.#files.set(path, contents);
  }

  names(): string[] {
    return [...this.#files.keys()].sort();
  }

  async open(path: string, mode: 'read' | 'write'): Promise<BlockFile> {
    return this.#handle(path, this.#get(path), mode === 'read');
  }

  async create(path: string): Promise<BlockFile> {
    if (this.#files.has(path)) throw new DomusError('E_DISK_EXISTS', `${path} exists already`);
    this.#step();
    const contents = emptyContents();
    this.#files.set(path, contents);
    return this.#handle(path, contents, false);
  }

  #handle(path: string, contents: Contents, isReadOnly: boolean): BlockFile {
    const setSize = (sizeBytes: number): void => {
      contents.sizeBytes = sizeBytes;
      if (contents.sizes.at(-1) !== sizeBytes) contents.sizes.push(sizeBytes);
    };
    const handle: BlockFile = {
      path,
      isReadOnly,
      size: () => contents.sizeBytes,
      readNow: (position, pieces, sizeBytes) => {
        const bytes = new Uint8Array(sizeBytes);
        if (handle.read(position, bytes) !== sizeBytes) return false;
        let done = 0;
        for (const piece of pieces) {
          piece.set(bytes.subarray(done, done + piece.length));
          done += piece.length;
        }
        return true;
      },
      writeNow: (position, pieces, sizeBytes) => {
        const bytes = new Uint8Array(sizeBytes);
        let done = 0;
        for (const piece of pieces) {
          bytes.set(piece, done);
          done += piece.length;
        }
        handle.write(position, bytes);
        return true;
      },
      read: (position, into) => {
        this.nrReads += 1;
        this.onTransfer?.('read', path, position);
        const count = Math.max(0, Math.min(into.length, contents.sizeBytes - position));
        readAt(contents, position, into.subarray(0, count));
        return count;
      },
      write: (position, from) => {
        if (isReadOnly) throw new DomusError('E_DISK_ACCESS', `${path} is read-only`);
        this.onTransfer?.('write', path, position);
        const first = Math.floor(position / SECTOR);
        const last = Math.floor((position + from.length - 1) / SECTOR);
        for (let sector = first; sector <= last; sector++) {
          if (!contents.versions.has(sector)) contents.versions.set(sector, [sectorOf(contents, sector)]);
        }
        writeAt(contents, position, from);
        for (let sector = first; sector <= last; sector++) {
          contents.versions.get(sector)?.push(sectorOf(contents, sector));
        }
        if (position + from.length > contents.sizeBytes) setSize(position + from.length);
        this.#step();
      },
      resize: sizeBytes => {
        if (sizeBytes < contents.sizeBytes) {
          for (const [sector, versions] of contents.versions) {
            if (sector * SECTOR >= sizeBytes) versions.push(ZEROS.slice());
          }
          for (let sector = Math.ceil(sizeBytes / SECTOR); sector * SECTOR < contents.sizeBytes; sector++) {
            if (!contents.chunks.has(Math.floor((sector * SECTOR) / CHUNK))) continue;
            if (contents.versions.has(sector)) continue;
            const old = sectorOf(contents, sector);
            if (old.some(byte => byte !== 0)) contents.versions.set(sector, [old, ZEROS.slice()]);
          }
          clearFrom(contents, sizeBytes);
        }
        setSize(sizeBytes);
        this.#step();
      },
      flush: async () => {
        this.nrFlushes += 1;
        this.onTransfer?.('flush', path, 0);
        this.#step();
        contents.versions.clear();
        contents.sizes = [contents.sizeBytes];
      },
      close: async () => {},
    };
    return handle;
  }

  async exists(path: string): Promise<boolean> {
    return this.#files.has(path);
  }
  async isWritable(path: string): Promise<boolean> {
    return this.#get(path).isWritable;
  }
  async protect(path: string): Promise<void> {
    this.#get(path).isWritable = false;
  }
  async realPath(path: string): Promise<string> {
    this.#get(path);
    return path;
  }
  async list(folder: string): Promise<string[]> {
    const prefix = folder.endsWith('/') ? folder : `${folder}/`;
    return this.names()
      .filter(name => name.startsWith(prefix) && !name.slice(prefix.length).includes('/'))
      .map(name => name.slice(prefix.length));
  }
  async link(from: string, to: string): Promise<void> {
    if (this.#files.has(to)) throw new DomusError('E_DISK_EXISTS', `${to} exists already`);
    const contents = this.#get(from);
    this.#step();
    this.#files.set(to, contents);
  }
  async replace(from: string, to: string): Promise<void> {
    const contents = this.#get(from);
    this.#step();
    this.#files.set(to, contents);
    this.#files.delete(from);
  }
  async remove(path: string): Promise<void> {
    this.#step();
    this.#files.delete(path);
  }
  async isSame(path: string, other: string): Promise<boolean> {
    const contents = this.#files.get(path);
    return contents !== undefined && contents === this.#files.get(other);
  }
  async allocatedBytes(path: string): Promise<number> {
    return this.#get(path).chunks.size * CHUNK;
  }
  async lock(path: string, kind: 'shared' | 'exclusive') {
    this.#get(path);
    const lock = this.#locks.get(path) ?? { shared: 0, isExclusive: false };
    if (lock.isExclusive || (kind === 'exclusive' && lock.shared > 0)) {
      throw new DomusError('E_DISK_IN_USE', `${path} is in use`);
    }
    this.#locks.set(path, lock);
    if (kind === 'exclusive') lock.isExclusive = true;
    else lock.shared += 1;
    return {
      release: async () => {
        if (kind === 'exclusive') lock.isExclusive = false;
        else lock.shared -= 1;
      },
    };
  }
}

const emptyContents = (): Contents => ({
  chunks: new Map(),
  sizeBytes: 0,
  sizes: [0],
  versions: new Map(),
  isWritable: true,
});

/** Nothing is left behind the end. */
function clearFrom(contents: Contents, sizeBytes: number): void {
  for (const [index, chunk] of contents.chunks) {
    const start = index * CHUNK;
    if (start >= sizeBytes) contents.chunks.delete(index);
    else if (start + CHUNK > sizeBytes) chunk.fill(0, sizeBytes - start);
  }
}
