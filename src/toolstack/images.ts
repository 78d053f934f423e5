/** From the name of an image to a root that can be booted: out of the store, or made. */
import { DomusError } from '../base/errors.ts';
import type { DiskHost } from '../disk/host.ts';
import { type ImageCache, openImageCache } from '../image/cache.ts';
import { openDockerArchive } from '../image/oci/docker-archive.ts';
import { openLayout } from '../image/oci/layout.ts';
import { openRegistryImage } from '../image/oci/registry.ts';
import { type ImageReference, parseReference } from '../image/reference.ts';
import { makeRootDisk, ROOT_DISK_BYTES, sealRootDisk } from '../image/rootfs/make-root.ts';
import { openDebian } from '../image/source/debian.ts';
import { openFolder } from '../image/source/folder.ts';
import type { ImageSource } from '../image/source/source.ts';
import { ImageStore, type StoredImage } from '../image/store.ts';
import { joinPath } from '../platform/node/cache-folder.ts';
import { nodeDiskHost } from './disk-host.ts';

/** Changes when roots are made in another way: those made before are then made anew. */
const RECIPE = 1;

/** Boots a guest whose root is the disk in a file and runs a script there. @throws DomusError when the script fails */
export type FinishRoot = (rootPath: string, script: string, request: ImageRequest) => Promise<void>;

export interface ImageRequest {
  /** As people write it: see src/image/reference.ts. */
  readonly reference: string;
  /** Look whether the source has changed even when the store has an image of that name. */
  readonly refresh?: boolean;
  /** What the root can grow to, for a root that must be made. */
  readonly diskBytes?: number;
  /** Store it under this name instead of the reference. */
  readonly name?: string;
  /** `debian:` alone: packages besides the usual ones. */
  readonly include?: readonly string[];
  readonly progress?: (phase: string, detail: string) => void;
  readonly signal?: AbortSignal;
}

/** Those that say where an image comes from. */
type SourceReference = Exclude<ImageReference, { kind: 'stored' }>;

export class Images {
  readonly store: ImageStore;
  readonly #host: DiskHost = nodeDiskHost();
  readonly #cache: ImageCache;
  readonly #finish: FinishRoot;

  constructor(finish: FinishRoot, cache = openImageCache()) {
    this.#cache = cache;
    this.#finish = finish;
    this.store = new ImageStore(cache.folder, this.#host);
  }

  /** @throws DomusError E_IMAGE_* and whatever stands in the way of the source */
  async obtain(request: ImageRequest): Promise<StoredImage> {
    const reference = parseReference(request.reference);
    if (reference.kind === 'stored') {
      const found = await this.store.find(reference.name);
      if (found) return found;
      throw new DomusError(
        'E_IMAGE_UNKNOWN',
        `there is no image ${reference.name} in the store`,
        'see "domus image list"; images of a registry are written HOST/NAME:TAG; put -- before a command',
      );
    }
    return this.store.building(
      request.reference,
      () => this.#find(request, reference),
      () => request.progress?.('wait', `another process is making ${request.reference}`),
    );
  }

  async #find(request: ImageRequest, reference: SourceReference): Promise<StoredImage> {
    const name = request.name ?? request.reference;
    const isNamedSource = reference.kind === 'debian' || reference.kind === 'registry';
    // What has a version of its own somewhere is looked for there when that is asked for.
    const stored = isNamedSource && !request.refresh ? await this.store.find(name) : undefined;
    if (stored) return stored;
    const source = await this.#open(request, reference);
    const diskBytes = request.diskBytes ?? ROOT_DISK_BYTES;
    const identity = `${source.identity} recipe ${RECIPE} disk ${diskBytes}`;
    const known = await this.store.findByIdentity(identity);
    if (known) return known.name === name ? known : this.store.alias(known, name);
    return this.#make(request, source, { name, identity, diskBytes });
  }

  #open(request: ImageRequest, reference: SourceReference): Promise<ImageSource> {
    const { include = [], progress, signal } = request;
    switch (reference.kind) {
      case 'debian':
        return openDebian({ cache: this.#cache, suite: reference.suite, include, progress, signal });
      case 'dir':
        return openFolder(reference.path);
      case 'oci':
        return openLayout(reference.path, reference.tag);
      case 'docker-archive':
        return openDockerArchive(this.#host, reference.path, reference.tag);
      case 'registry':
        return openRegistryImage(reference, { store: this.store, progress, signal });
    }
  }

  #make(
    request: ImageRequest,
    source: ImageSource,
    facts: { readonly name: string; readonly identity: string; readonly diskBytes: number },
  ): Promise<StoredImage> {
    request.progress?.('unpack', facts.name);
    return this.store.withScratchFolder(async folder => {
      const path = joinPath(folder, 'root.vhd');
      await makeRootDisk(this.#host, path, facts.diskBytes, (fs, tree) => source.fill(fs, tree));
      if (source.finishing) await this.#finish(path, source.finishing(), request);
      await sealRootDisk(this.#host, path);
      return this.store.add(path, { ...facts, blobs: source.blobs, config: source.config });
    });
  }
}
