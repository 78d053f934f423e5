/**
 * Pulls images from a registry over its HTTP API, version 2. Layers go into the store, where the next image finds those that it
 * shares. Source: OCI distribution specification ("Pull"); Docker's token authentication.
 */
import { DomusError } from '../../base/errors.ts';
import { joinPath } from '../../platform/node/cache-folder.ts';
import { runningSha256, writeStream } from '../../platform/node/file-streams.ts';
import { type HttpAnswer, httpGet } from '../../platform/node/http.ts';
import { sha256Hex } from '../../platform/node/native-codecs.ts';
import { corrupt, tooLarge, truncated } from '../compress/errors.ts';
import type { RegistryReference } from '../reference.ts';
import type { ImageSource } from '../source/source.ts';
import type { ImageStore } from '../store.ts';
import { type Contents, findManifest, openOciImage } from './image.ts';
import {
  type Descriptor,
  DOCUMENT_BYTES_MAX,
  hashOfDigest,
  INDEX_TYPES,
  MANIFEST_TYPES,
  parseDocument,
} from './manifest.ts';

const ACCEPT = [...INDEX_TYPES, ...MANIFEST_TYPES].join(', ');
/** Hosts that are asked without encryption: only this machine. */
const LOCAL = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/;

export interface RegistryOptions {
  readonly store: ImageStore;
  readonly progress?: ((phase: string, detail: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const failed = (what: string, why: string, remedy: string): DomusError =>
  new DomusError('E_REGISTRY', `${what}: ${why}`, remedy);

/** One repository of a registry. */
class Repository {
  readonly #name: string;
  readonly #base: string;
  readonly #repository: string;
  readonly #signal: AbortSignal | undefined;
  #authorization: string | undefined;

  constructor({ host, repository }: RegistryReference, signal: AbortSignal | undefined) {
    this.#name = `${host}/${repository}`;
    this.#repository = repository;
    this.#base = `${LOCAL.test(host) ? 'http' : 'https'}://${host}/v2/${repository}`;
    this.#signal = signal;
  }

  /** @throws DomusError E_REGISTRY */
  async get(path: string, accept?: string): Promise<HttpAnswer> {
    let answer = await this.#ask(path, accept);
    if (answer.status === 401 && this.#authorization === undefined) {
      this.#authorization = await this.#authorize(answer.header('www-authenticate') ?? '');
      answer = await this.#ask(path, accept);
    }
    if (answer.status === 200) return answer;
    const remedy =
      answer.status === 404
        ? 'check the name and the tag'
        : answer.status === 401 || answer.status === 403
          ? 'only what everybody may read can be pulled'
          : 'try again later';
    throw failed(this.#name, `the registry answers ${answer.status}`, remedy);
  }

  async #ask(path: string, accept: string | undefined): Promise<HttpAnswer> {
    const headers = {
      ...(accept !== undefined && { accept }),
      ...(this.#authorization !== undefined && { authorization: this.#authorization }),
    };
    return this.#request(`${this.#base}${path}`, headers);
  }

  async #request(url: string, headers: Readonly<Record<string, string>>): Promise<HttpAnswer> {
    try {
      return await httpGet(url, headers, this.#signal);
    } catch (error) {
      this.#signal?.throwIfAborted();
      throw failed(this.#name, (error as Error).message, 'check the name of the registry and the network');
    }
  }

  /** A token for somebody without a name. */
  async #authorize(challenge: string): Promise<string> {
    const fields = new Map(
      [...challenge.matchAll(/([a-z]+)="([^"]*)"/gi)].map(m => [m[1]!.toLowerCase(), m[2]!]),
    );
    const realm = fields.get('realm');
    const isKnown = /^bearer\s/i.test(challenge) && realm !== undefined && URL.canParse(realm);
    if (!isKnown)
      throw failed(this.#name, 'it asks for a password', 'only what everybody may read can be pulled');
    const url = new URL(realm);
    if (url.protocol !== 'https:' && !LOCAL.test(url.host)) {
      throw failed(this.#name, 'it sends for a token without encryption', 'use a registry that does not');
    }
    url.searchParams.set('service', fields.get('service') ?? '');
    url.searchParams.set('scope', `repository:${this.#repository}:pull`);
    const answer = await this.#request(url.href, {});
    if (answer.status !== 200) {
      throw failed(this.#name, `no token: ${answer.status}`, 'only what everybody may read can be pulled');
    }
    const facts = parseDocument(await whole(answer));
    const token = facts.token ?? facts.access_token;
    if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token))
      throw corrupt(this.#name, 'its token is none');
    return `Bearer ${token}`;
  }
}

async function whole(answer: HttpAnswer): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body()) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > DOCUMENT_BYTES_MAX) throw tooLarge('OCI image', DOCUMENT_BYTES_MAX);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** Exactly what a descriptor promises. */
async function* measured(chunks: AsyncIterable<Uint8Array>, { size, hash }: Descriptor) {
  const running = runningSha256();
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.length;
    if (length > size) throw corrupt('layer', 'it is longer than it should be');
    running.update(chunk);
    yield chunk;
  }
  if (length < size) throw truncated('layer');
  if (running.hex() !== hash) throw corrupt('layer', 'it does not have its digest');
}

/** @throws DomusError E_REGISTRY, E_IMAGE_* */
export async function openRegistryImage(
  reference: RegistryReference,
  { store, progress, signal }: RegistryOptions,
): Promise<ImageSource> {
  const repository = new Repository(reference, signal);
  progress?.('resolve', `${reference.repository} ${reference.reference}`);
  const first = await repository.get(`/manifests/${reference.reference}`, ACCEPT);
  const bytes = await whole(first);
  const hash = sha256Hex(bytes);
  // A digest in the reference is what the user trusts.
  const isPinned = reference.reference.startsWith('sha256:');
  if (isPinned && hashOfDigest(reference.reference) !== hash) {
    throw corrupt('OCI image', 'the registry sent another manifest than the one that was asked for');
  }
  const documents: Contents = {
    async *read({ hash: wanted, mediaType }) {
      if (wanted === hash) yield bytes;
      else {
        const isManifest = [...INDEX_TYPES, ...MANIFEST_TYPES].includes(mediaType);
        const path = isManifest ? 'manifests' : 'blobs';
        yield* (await repository.get(`/${path}/sha256:${wanted}`, isManifest ? ACCEPT : undefined)).body();
      }
    },
  };
  const start = { mediaType: first.header('content-type') ?? '', hash, size: bytes.length };
  const about = { os: undefined, architecture: undefined, annotations: {} };
  const manifest = await findManifest(documents, { ...start, ...about });
  const image = await openOciImage(
    {
      read: descriptor =>
        manifest.layers.some(layer => layer.hash === descriptor.hash)
          ? store.readBlob(descriptor.hash)
          : documents.read(descriptor),
    },
    manifest,
  );
  return {
    ...image,
    async fill(fs, tree) {
      for (const [i, layer] of manifest.layers.entries()) {
        if ((await store.findBlob(layer.hash)) !== undefined) continue;
        const size = `${(layer.size / 1e6).toFixed(1)} MB`;
        progress?.('download', `layer ${i + 1} of ${manifest.layers.length} (${size})`);
        const answer = await repository.get(`/blobs/sha256:${layer.hash}`);
        await store.withScratchFolder(async folder => {
          const path = joinPath(folder, 'layer');
          await writeStream(path, measured(answer.body(), layer));
          await store.addBlob(layer.hash, path);
        });
      }
      await image.fill(fs, tree);
    },
  };
}
