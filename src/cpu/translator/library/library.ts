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

export class Library {
  readonly #folder: string;
  readonly #filter: PlaceFilter;
  /** Names of the volumes that may have something for a key. */
  readonly #names = new Map<number, string[]>();
  readonly #open = new Map<string, Kept | undefined>();

  /** @param folder of this version; made when something is kept */
  constructor(folder: string, filter: PlaceFilter) {
    this.#folder = folder;
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

  /** What may begin at places with this key. */
  find(key: number): Found[] {
    return (this.#names.get(key) ?? []).flatMap(name => {
      const kept = this.#volume(name);
      if (!kept) return [];
      return [...kept.regions].filter(region => region.key === key).map(region => ({ kept, region }));
    });
  }
  #volume(name: string): Kept | undefined {
    if (!this.#open.has(name)) this.#open.set(name, this.#read(name));
    return this.#open.get(name);
  }
  #read(name: string): Kept | undefined {
    const file = readOwnFile(this.#path(name));
    const volume = file && readVolume(file);
    if (!volume) {
      removeOwnFile(this.#path(name));
      return undefined;
    }
    touchFile(this.#path(name));
    const { module: bytes, native, regions } = volume;
    const fast = native && moduleWith(native, bytes);
    return {
      module: fast ?? new WebAssembly.Module(bytes as BufferSource),
      bytes,
      regions: new Set(regions),
      stored: { nrRegions: regions.length, nrOptimised: fast ? volume.nrOptimised : 0 },
    };
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
    this.#open.set(name, kept);
    for (const { key } of regions) this.#index(key, name);
  }

  /** Make room, if there is too much. */
  tidy(): void {
    const files = listOwnFolder(this.#folder);
    let sum = files.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
    for (const { name, sizeBytes } of files) {
      if (sum <= BYTES_MAX) return;
      removeOwnFile(this.#path(name));
      sum -= sizeBytes;
    }
  }
}
