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
import {
  catalogueBytes,
  HEAD_BYTES,
  keysOf,
  readCatalogue,
  readCode,
  type StoredRegion,
  writeVolume,
} from './volume.ts';

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
/** A file of a module, as far as it has been read. */
export interface Volume {
  readonly name: string;
  /** As those of `Kept`. */
  readonly regions: Set<StoredRegion>;
  /** As the file has it. */
  readonly nrRegions: number;
}
/** What may begin at a place. Its module has not been read yet. */
export interface Found {
  readonly volume: Volume;
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
  /** Those of which the catalogue has been read: a few KiB each. */
  readonly #volumes = new Map<string, Volume>();
  /** Volumes with their code, what was asked for last at the end. */
  readonly #open = new Map<string, Opened>();
  readonly #openBytesMax: number;
  #openBytes = 0;
  /** Something was written since there was room. */
  #hasGrown = false;

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
      const volume = this.#volume(name);
      if (!volume) return [];
      return [...volume.regions].filter(region => region.key === key).map(region => ({ volume, region }));
    });
  }
  #volume(name: string): Volume | undefined {
    const known = this.#volumes.get(name);
    if (known) return known;
    const regions = this.#catalogue(name);
    if (!regions) return this.#drop(name);
    const volume = { name, regions: new Set(regions), nrRegions: regions.length };
    this.#volumes.set(name, volume);
    return volume;
  }
  #catalogue(name: string): StoredRegion[] | undefined {
    const head = readOwnFile(this.#path(name), HEAD_BYTES);
    if (!head) return undefined;
    const size = catalogueBytes(head);
    const whole = size <= HEAD_BYTES ? head : readOwnFile(this.#path(name), size);
    return whole && readCatalogue(whole);
  }
  /** It cannot be read. */
  #drop(name: string): undefined {
    removeOwnFile(this.#path(name));
    this.#forget(new Set([name]));
  }

  /** The module of a volume, and its regions. */
  open(volume: Volume): Kept | undefined {
    const { name } = volume;
    const opened = this.#close(name) ?? this.#read(volume);
    if (!opened) return this.#drop(name);
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
  #read({ name, regions, nrRegions }: Volume): Opened | undefined {
    const file = readOwnFile(this.#path(name));
    const code = file && readCode(file);
    if (!code) return undefined;
    touchFile(this.#path(name));
    // The file's other parts are not held with it.
    const bytes = code.module.slice();
    const fast = code.native && moduleWith(code.native, bytes);
    const kept = {
      module: fast ?? new WebAssembly.Module(bytes),
      bytes,
      regions,
      stored: { nrRegions, nrOptimised: fast ? code.nrOptimised : 0 },
    };
    return { kept, sizeBytes: file.length };
  }
  /** There are no such volumes. */
  #forget(names: ReadonlySet<string>): void {
    for (const name of names) {
      this.#close(name);
      this.#volumes.delete(name);
    }
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
    this.#hasGrown = true;
    stored.nrRegions = regions.size;
    stored.nrOptimised = optimised;
    // What was read of it before is not what there is now.
    this.#close(name);
    this.#volumes.delete(name);
    for (const { key } of regions) this.#index(key, name);
  }

  /** Make room, if there is too much. */
  tidy(): void {
    if (!this.#hasGrown) return;
    this.#hasGrown = false;
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
