/**
 * The store of images, a part of the cache:
 *
 *     images/<name>.json       what a name stands for: the root's hash, and how commands are run in it
 *     roots/<sha256>.vhd       root disks under the hash of their file; only read
 *     blobs/<sha256>           layers of images, as registries have them
 *     runs/                    disks of guests that run now
 *
 * Names may share a root, and images share blobs. What no name leads to any more, and nobody uses, `collectGarbage` removes.
 * Several processes may work on a store: files appear whole or not at all, and what belongs together changes under a lock.
 */
import type { DiskHost } from '../disk/host.ts';
import {
  fileAgeMs,
  joinPath,
  listFolder,
  makeFolder,
  readIfPresent,
  readSmallIfPresent,
  removeFile,
  sweep,
  withLock,
  withScratchFolder,
  writeWhole,
} from '../platform/node/cache-folder.ts';
import { fileSize, hashFile, readStream, settleFile } from '../platform/node/file-streams.ts';
import { fileName } from './cache.ts';
import { corrupt } from './compress/errors.ts';
import type { ImageConfig } from './config.ts';

export interface StoredImage {
  readonly name: string;
  /** What the root was made of. Equal identities stand for equal roots. */
  readonly identity: string;
  /** SHA-256 of the root's file. */
  readonly root: string;
  readonly fileBytes: number;
  readonly diskBytes: number;
  /** Hashes of the layers it was made of. */
  readonly blobs: readonly string[];
  readonly config: ImageConfig;
  /** Seconds since 1970. */
  readonly created: number;
}

/** Blobs that no image needs stay for so long, for a pull that goes on or is tried again. */
const BLOB_KEPT_MS = 24 * 60 * 60_000;
const HASH = /^[0-9a-f]{64}$/;

function parseImage(bytes: Uint8Array): StoredImage | undefined {
  try {
    const image = JSON.parse(new TextDecoder().decode(bytes)) as StoredImage;
    const isGood =
      typeof image.name === 'string' &&
      typeof image.identity === 'string' &&
      HASH.test(image.root) &&
      Number.isSafeInteger(image.fileBytes) &&
      Number.isSafeInteger(image.diskBytes) &&
      Array.isArray(image.blobs) &&
      image.blobs.every(blob => HASH.test(blob)) &&
      typeof image.config === 'object';
    return isGood ? image : undefined;
  } catch {
    return undefined;
  }
}

export class ImageStore {
  readonly #folder: string;
  readonly #host: DiskHost;

  constructor(folder: string, host: DiskHost) {
    this.#folder = folder;
    this.#host = host;
  }

  #path(...parts: string[]): string {
    return joinPath(this.#folder, ...parts);
  }
  #record(name: string): string {
    return this.#path('images', `${fileName(name)}.json`);
  }
  rootPath(root: string): string {
    return this.#path('roots', `${root}.vhd`);
  }
  get runsFolder(): string {
    return this.#path('runs');
  }

  /** Nobody else changes what there is meanwhile. */
  exclusively<T>(use: () => Promise<T>): Promise<T> {
    return withLock(this.#path('locks', 'images'), use);
  }

  /** One process at a time makes the image `name`. */
  building<T>(name: string, use: () => Promise<T>, onWait?: () => void): Promise<T> {
    return withLock(this.#path('locks', `image-${fileName(name)}`), use, onWait);
  }

  withScratchFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
    return withScratchFolder(this.#path('scratch'), use);
  }

  /** The image of that name, if its root is there and as long as it should be. */
  async find(name: string): Promise<StoredImage | undefined> {
    const bytes = readSmallIfPresent(this.#record(name));
    const image = bytes && parseImage(bytes);
    return image && (await this.#isWhole(image)) ? image : undefined;
  }

  async findByIdentity(identity: string): Promise<StoredImage | undefined> {
    for (const image of await this.list()) {
      if (image.identity === identity && (await this.#isWhole(image))) return image;
    }
    return undefined;
  }

  /** All images, by name. */
  async list(): Promise<StoredImage[]> {
    const images: StoredImage[] = [];
    for (const name of await listFolder(this.#path('images'))) {
      const bytes = name.endsWith('.json') ? await readIfPresent(this.#path('images', name)) : undefined;
      const image = bytes && parseImage(bytes);
      if (image) images.push(image);
    }
    return images.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async #isWhole({ root, fileBytes }: StoredImage): Promise<boolean> {
    return (await fileSize(this.rootPath(root)).catch(() => -1)) === fileBytes;
  }

  /** Compare a root with its hash. */
  async isIntact({ root }: StoredImage): Promise<boolean> {
    return (await hashFile(this.rootPath(root)).catch(() => '')) === root;
  }

  /** Take over the file of a root, which must be closed and sealed, under a name. */
  async add(path: string, facts: Omit<StoredImage, 'root' | 'fileBytes' | 'created'>): Promise<StoredImage> {
    const image: StoredImage = {
      ...facts,
      root: await hashFile(path),
      fileBytes: await fileSize(path),
      created: Number(this.#host.clock.wallNs() / 1_000_000_000n),
    };
    await makeFolder(this.#path('roots'));
    await this.exclusively(async () => {
      await settleFile(path, this.rootPath(image.root));
      await this.#write(image);
    });
    return image;
  }

  /** Another name for an image. */
  async alias(image: StoredImage, name: string): Promise<StoredImage> {
    const renamed = { ...image, name };
    await this.exclusively(() => this.#write(renamed));
    return renamed;
  }

  async #write(image: StoredImage): Promise<void> {
    await sweep(this.#path('images'));
    await writeWhole(this.#record(image.name), `${JSON.stringify(image, null, 2)}\n`);
  }

  /** Forget a name. False if there is none. */
  remove(name: string): Promise<boolean> {
    return this.exclusively(async () => {
      const isThere = (await readIfPresent(this.#record(name))) !== undefined;
      await removeFile(this.#record(name));
      return isThere;
    });
  }

  /** The path of a layer that is there. */
  async findBlob(hash: string): Promise<string | undefined> {
    const path = this.#path('blobs', hash);
    return (await fileSize(path).catch(() => -1)) >= 0 ? path : undefined;
  }

  /** Take over a file as a blob. @throws DomusError E_IMAGE_CORRUPT when it is not what its hash says */
  async addBlob(hash: string, path: string): Promise<string> {
    if ((await hashFile(path)) !== hash) throw corrupt(`blob ${hash}`, 'its contents have another hash');
    await makeFolder(this.#path('blobs'));
    const settled = this.#path('blobs', hash);
    await settleFile(path, settled);
    return settled;
  }

  readBlob(hash: string): AsyncIterable<Uint8Array> {
    return readStream(this.#path('blobs', hash));
  }

  /** Remove what no image needs and nobody uses. Returns the bytes that this freed. */
  collectGarbage(): Promise<number> {
    return this.exclusively(async () => {
      const images = await this.list();
      const roots = new Set(images.map(({ root }) => root));
      const blobs = new Set(images.flatMap(image => image.blobs));
      let freedBytes = 0;
      const remove = async (path: string): Promise<void> => {
        freedBytes += await fileSize(path).catch(() => 0);
        await removeFile(path);
      };
      for (const name of await listFolder(this.#path('roots'))) {
        const hash = /^([0-9a-f]{64})\.vhd$/.exec(name)?.[1];
        if (hash === undefined || roots.has(hash)) continue;
        await this.#unlessInUse(this.rootPath(hash), remove);
      }
      for (const hash of await listFolder(this.#path('blobs'))) {
        const path = this.#path('blobs', hash);
        // Young ones may belong to an image that is on its way.
        const isOld = ((await fileAgeMs(path)) ?? 0) > BLOB_KEPT_MS;
        if (HASH.test(hash) && !blobs.has(hash) && isOld) await remove(path);
      }
      await sweep(this.#path('runs'));
      return freedBytes;
    });
  }

  async #unlessInUse(path: string, use: (path: string) => Promise<void>): Promise<void> {
    let lock: { release(): Promise<void> };
    try {
      lock = await this.#host.files.lock(path, 'exclusive');
    } catch {
      return;
    }
    await use(path);
    await lock.release();
  }
}
