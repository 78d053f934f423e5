/**
 * The image cache: file contents under their SHA-256, and records that say which contents a name stands for.
 *
 *     objects/<sha256>         contents
 *     records/<name>.json      what was found for a name: package, version, hash of the contents
 *     kernels/<sha256>         unpacked kernels (unpacked-kernels.ts)
 *     locks/, scratch/, apt/   while at work; the package client's private lists
 *
 * Contents are checked when they are read: a damaged cache repairs itself. Every file appears whole or not at all.
 */
import {
  absolutePath,
  defaultCacheFolder,
  joinPath,
  listFolder,
  readIfPresent,
  readSmallIfPresent,
  removeFile,
  sweep,
  withLock,
  withScratchFolder,
  writeWhole,
} from '../platform/node/cache-folder.ts';
import { sha256Hex } from '../platform/node/native-codecs.ts';

/** What is remembered of a file that came out of a package. */
export interface CacheRecord {
  readonly package: string;
  readonly version: string;
  /** Name of the file inside the package. */
  readonly file: string;
  readonly sha256: string;
}

export interface ImageCache {
  readonly folder: string;
  /** What `name` stands for, with its contents; undefined if unknown, damaged or incomplete. */
  lookUp(name: string): Promise<{ record: CacheRecord; contents: Uint8Array } | undefined>;
  /** The same without reading the contents. */
  record(name: string): Promise<CacheRecord | undefined>;
  store(name: string, record: Omit<CacheRecord, 'sha256'>, contents: Uint8Array): Promise<CacheRecord>;
  forget(name: string): Promise<void>;
  names(): Promise<string[]>;
  /** One process at a time works on `name`. */
  exclusively<T>(name: string, use: () => Promise<T>, onWait?: () => void): Promise<T>;
  withScratchFolder<T>(use: (folder: string) => Promise<T>): Promise<T>;
}

/** Names become file names: anything but plain characters is spelt out. */
export const fileName = (name: string): string =>
  name
    .replace(/[^A-Za-z0-9+.-]/g, character => `_${character.codePointAt(0)!.toString(16)}_`)
    .replace(/^\./, '_2e_');

function parseRecord(bytes: Uint8Array): CacheRecord | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const record = value as CacheRecord;
    const good =
      typeof record.package === 'string' &&
      typeof record.version === 'string' &&
      typeof record.file === 'string' &&
      typeof record.sha256 === 'string' &&
      /^[0-9a-f]{64}$/.test(record.sha256);
    return good ? record : undefined;
  } catch {
    return undefined;
  }
}

export function openImageCache(path = defaultCacheFolder()): ImageCache {
  // The package client runs in a folder of its own.
  const folder = absolutePath(path);
  const objectPath = (sha256: string): string => joinPath(folder, 'objects', sha256);
  const recordPath = (name: string): string => joinPath(folder, 'records', `${fileName(name)}.json`);
  async function recordOf(name: string): Promise<CacheRecord | undefined> {
    const bytes = readSmallIfPresent(recordPath(name));
    return bytes && parseRecord(bytes);
  }
  return {
    folder,
    record: recordOf,
    async lookUp(name) {
      const record = await recordOf(name);
      if (!record) return undefined;
      const contents = await readIfPresent(objectPath(record.sha256));
      if (!contents) return undefined;
      if (sha256Hex(contents) !== record.sha256) {
        await removeFile(objectPath(record.sha256));
        return undefined;
      }
      return { record, contents };
    },
    async store(name, facts, contents) {
      const record = { ...facts, sha256: sha256Hex(contents) };
      for (const part of ['objects', 'records']) await sweep(joinPath(folder, part));
      await writeWhole(objectPath(record.sha256), contents);
      await writeWhole(recordPath(name), `${JSON.stringify(record, null, 2)}\n`);
      return record;
    },
    forget: name => removeFile(recordPath(name)),
    async names() {
      return (await listFolder(joinPath(folder, 'records')))
        .filter(name => name.endsWith('.json'))
        .map(name => name.slice(0, -'.json'.length));
    },
    exclusively: (name, use, onWait) => withLock(joinPath(folder, 'locks', fileName(name)), use, onWait),
    withScratchFolder: use => withScratchFolder(joinPath(folder, 'scratch'), use),
  };
}
