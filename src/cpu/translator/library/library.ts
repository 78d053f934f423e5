/**
 * Regions of earlier runs, on disk: a folder of volumes for this version of the translator. It only saves time: what cannot be
 * read is left out, and made again.
 */

import { sha256Hex } from '../../../platform/node/native-codecs.ts';
import {
  listOwnFolder,
  readOwnFile,
  removeOwnFile,
  touchFile,
  writeOwnFile,
} from '../../../platform/node/private-files.ts';
import { machineCodeOf, moduleWith, nrOptimised } from '../../../platform/node/wasm-compiler.ts';
import { addPlace, type PlaceFilter } from './place-key.ts';
import { HEAD_BYTES, keysOf, readVolume, type StoredRegion, writeVolume } from './volume.ts';

/** Of one version. What was of no use for longest goes first. */
const BYTES_MAX = 256 << 20;
/** Size of the files that are held as they were read. Their modules take about as much memory again. */
const OPEN_BYTES_MAX = 64 << 20;
const SUFFIX = '.regions';

/** A module of regions in use. */
export interface Kept {
  readonly module: WebAssembly.Module;
  readonly bytes: Uint8Array;
  /** Those that something better has taken the place of are not among them any more. */
  readonly regions: Set<StoredRegion>;
  /** As the file has it: regions, and functions with optimised code. */
  readonly stored: { nrRegions: number; nrOptimised: number };
}
export interface Found {
  readonly kept: Kept;
  readonly region: StoredRegion;
}

interface Opened {
  readonly kept: Kept;
  readonly sizeBytes: number;
}

export class Library {
  readonly #folder: string;
  readonly #filter: PlaceFilter;
  /** Names of the volumes that may have something for a key. */
  readonly #names = new Map<number, string[]>();
  /** Volumes as they were read, what was asked for last at the end. */
  readonly #open = new Map<string, Opened>();
  readonly #openBytesMax: number;
  #openBytes = 0;

  /**
   * @param folder of this version; made when something is kept
   * @param openBytesMax size of the files that are held as they were read; one is in any case
   */
  constructor(folder: string, filter: PlaceFilter, openBytesMax = OPEN_BYTES_MAX) {
    this.#folder = folder;
    this.#openBytesMax = openBytesMax;
    this.#filter = filter;
    for (const { name } of listOwnFolder(folder)) {
      const head = name.endsWith(SUFFIX) ? readOwnFile(this.#path(name), HEAD_BYTES) : undefined;
      for (const key of head ? keysOf(head) : []) this.#index(key, name);
    }
  }
  #path(name: string): string {
    return `${this.#folder}/${name}`;
  }
  #index(key: number, name: string): void {
    const names = this.#names.get(key);
    if (names?.includes(name)) return;
    this.#names.set(key, [...(names ?? []), name]);
    addPlace(this.#filter, key);
  }

  /** Is there a file of the module? */
  static has({ stored }: Kept): boolean {
    return stored.nrRegions > 0;
  }

  /** Size of the files that are held as they were read. */
  get openBytes(): number {
    return this.#openBytes;
  }

  /** What may begin at places with this key. */
  find(key: number): Found[] {
    return (this.#names.get(key) ?? []).flatMap(name => {
      const kept = this.#volume(name);
      if (!kept) return [];
      return [...kept.regions].filter(region => region.key === key).map(region => ({ kept, region }));
    });
  }
  #volume(name: string): Kept | undefined {
    const opened = this.#close(name) ?? this.#read(name);
    if (!opened) {
      removeOwnFile(this.#path(name));
      this.#forget(new Set([name]));
      return undefined;
    }
    this.#open.set(name, opened);
    this.#openBytes += opened.sizeBytes;
    for (const other of this.#open.keys()) {
      if (this.#openBytes <= this.#openBytesMax || other === name) break;
      this.#close(other);
    }
    return opened.kept;
  }
  /** Hold it no longer. */
  #close(name: string): Opened | undefined {
    const opened = this.#open.get(name);
    this.#open.delete(name);
    this.#openBytes -= opened?.sizeBytes ?? 0;
    return opened;
  }
  #read(name: string): Opened | undefined {
    const file = readOwnFile(this.#path(name));
    const volume = file && readVolume(file);
    if (!volume) return undefined;
    touchFile(this.#path(name));
    const { module, native, regions } = volume;
    // The file's other parts are not held with it.
    const bytes = module.slice();
    const fast = native && moduleWith(native, bytes);
    const kept = {
      module: fast ?? new WebAssembly.Module(bytes),
      bytes,
      regions: new Set(regions),
      stored: { nrRegions: regions.length, nrOptimised: fast ? volume.nrOptimised : 0 },
    };
    return { kept, sizeBytes: file.length };
  }
  /** There are no such volumes. */
  #forget(names: ReadonlySet<string>): void {
    for (const name of names) this.#close(name);
    for (const [key, known] of this.#names) {
      const rest = known.filter(name => !names.has(name));
      if (rest.length === 0) this.#names.delete(key);
      else if (rest.length < known.length) this.#names.set(key, rest);
    }
  }

  /**
   * Write what has changed since it was read or written.
   * @param functionsOf the module's exports: looked at, not called
   */
  keep(kept: Kept, functionsOf: (module: WebAssembly.Module) => readonly unknown[]): void {
    const { module, bytes, regions, stored } = kept;
    const name = `${sha256Hex(bytes).slice(0, 32)}${SUFFIX}`;
    if (regions.size === 0) {
      if (stored.nrRegions > 0) removeOwnFile(this.#path(name));
      stored.nrRegions = 0;
      return;
    }
    const optimised = nrOptimised(functionsOf(module));
    if (regions.size === stored.nrRegions && optimised <= stored.nrOptimised) return;
    const native = optimised > 0 ? machineCodeOf(module) : undefined;
    const file = writeVolume({ regions: [...regions], module: bytes, native, nrOptimised: optimised });
    if (!writeOwnFile(this.#path(name), file)) return;
    stored.nrRegions = regions.size;
    stored.nrOptimised = optimised;
    // What was read of it before is not what there is now.
    this.#close(name);
    for (const { key } of regions) this.#index(key, name);
  }

  /** Make room, if there is too much. */
  tidy(): void {
    const files = listOwnFolder(this.#folder);
    let sum = files.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
    const removed = new Set<string>();
    for (const { name, sizeBytes } of files) {
      if (sum <= BYTES_MAX) break;
      removeOwnFile(this.#path(name));
      removed.add(name);
      sum -= sizeBytes;
    }
    if (removed.size > 0) this.#forget(removed);
  }
}
