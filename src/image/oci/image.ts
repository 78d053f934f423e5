/**
 * An OCI image as a root file system, wherever its parts come from: documents are read at once, layers when the root is made.
 * Everything is compared with its digest before it is believed: documents and packed layers with those in the manifest, what comes
 * out of a layer with that in the configuration.
 */
import { runningSha256 } from '../../platform/node/file-streams.ts';
import { sha256Hex } from '../../platform/node/native-codecs.ts';
import { readTarStream } from '../archive/tar-stream.ts';
import { corrupt, tooLarge, truncated } from '../compress/errors.ts';
import { unpacked } from '../compress/stream.ts';
import type { ImageConfig } from '../config.ts';
import type { Ext4, StoredFile } from '../rootfs/ext4/file-system.ts';
import { applyEntry, applyWhiteout } from '../rootfs/layer.ts';
import type { FileTree } from '../rootfs/tree.ts';
import type { ImageSource } from '../source/source.ts';
import {
  chooseManifest,
  type Descriptor,
  DOCUMENT_BYTES_MAX,
  type ImageDocument,
  type Manifest,
  parseDocument,
  parseImageDocument,
  parseIndex,
  parseManifest,
} from './manifest.ts';
import { userIds } from './users.ts';

/** Gives the bytes for a hash. They are not believed. */
export interface Contents {
  read(descriptor: Pick<Descriptor, 'hash' | 'size' | 'mediaType'>): AsyncIterable<Uint8Array>;
}

const WHAT = 'OCI image';
/** Files that are looked into while they pass: who is who in the image. */
const ACCOUNT_FILES = ['etc/passwd', 'etc/group'];
const ACCOUNT_BYTES_MAX = 1 << 20;
const NESTED_INDEXES_MAX = 4;

/** A whole document, compared with its digest. @throws DomusError E_IMAGE_* */
export async function readDocument(contents: Contents, descriptor: Descriptor): Promise<Uint8Array> {
  if (descriptor.size > DOCUMENT_BYTES_MAX) throw tooLarge(WHAT, DOCUMENT_BYTES_MAX);
  const bytes = new Uint8Array(descriptor.size);
  let length = 0;
  for await (const chunk of contents.read(descriptor)) {
    if (length + chunk.length > bytes.length) throw corrupt(WHAT, 'a document is longer than it should be');
    bytes.set(chunk, length);
    length += chunk.length;
  }
  if (length < bytes.length) throw truncated(WHAT);
  if (sha256Hex(bytes) !== descriptor.hash) throw corrupt(WHAT, 'a document does not have its digest');
  return bytes;
}

/** From an index, or a manifest, to the manifest for this kind of machine. */
export async function findManifest(contents: Contents, start: Descriptor): Promise<Manifest> {
  let descriptor = start;
  for (let i = 0; i < NESTED_INDEXES_MAX; i++) {
    const facts = parseDocument(await readDocument(contents, descriptor));
    const index = parseIndex(facts);
    if (!index) return parseManifest(facts);
    descriptor = chooseManifest(index);
  }
  throw corrupt(WHAT, 'its indexes lead to indexes');
}

/** @throws DomusError E_IMAGE_* */
export async function openOciImage(contents: Contents, manifest: Manifest): Promise<ImageSource> {
  const bytes = await readDocument(contents, manifest.config);
  const facts = parseImageDocument(parseDocument(bytes));
  if (facts.diffIds.length !== manifest.layers.length) {
    throw corrupt(WHAT, 'manifest and configuration do not have the same layers');
  }
  return sourceOf(facts, manifest.config.hash, manifest.layers, contents);
}

/** An image whose layers are read from `contents`; `configHash` is its identity. */
export function sourceOf(
  facts: ImageDocument,
  configHash: string,
  layers: readonly Descriptor[],
  contents: Contents,
): ImageSource {
  const config: { -readonly [Key in keyof ImageConfig]: ImageConfig[Key] } = {
    env: environment(facts.env),
    entrypoint: facts.entrypoint,
    command: facts.command,
    workingFolder: facts.workingFolder,
  };
  return {
    identity: `oci ${configHash}`,
    config,
    blobs: layers.map(({ hash }) => hash),
    async fill(fs, tree) {
      const accounts = new Map<string, string>();
      for (const [i, layer] of layers.entries()) {
        tree.beginLayer();
        await applyLayer(contents.read(layer), facts.diffIds[i]!, fs, tree, accounts);
      }
      const [passwd = '', group = ''] = ACCOUNT_FILES.map(path => accounts.get(path));
      const user = userIds(facts.user, passwd, group);
      if (user) config.user = user;
    },
  };
}

function environment(words: readonly string[]): Record<string, string> {
  const env: Record<string, string> = {};
  for (const word of words) {
    const equals = word.indexOf('=');
    if (equals > 0) env[word.slice(0, equals)] = word.slice(equals + 1);
  }
  return env;
}

async function applyLayer(
  packed: AsyncIterable<Uint8Array>,
  diffId: string,
  fs: Ext4,
  tree: FileTree<StoredFile>,
  accounts: Map<string, string>,
): Promise<void> {
  const hash = runningSha256();
  const stream = hashed(unpacked('layer', packed), hash);
  for await (const entry of readTarStream(keptOpen(stream))) {
    const path = entry.name.replace(/\/+$/, '');
    if (applyWhiteout(tree, path)) continue;
    const isAccount = ACCOUNT_FILES.includes(path) && entry.type === 'file';
    const chunks = isAccount ? noted(entry.contents(), text => accounts.set(path, text)) : entry.contents();
    await applyEntry(tree, { ...entry, name: path === '' ? '.' : path }, () => fs.store(entry.size, chunks));
  }
  // The hash is that of everything, also of what lies behind the end of the archive.
  for (let rest = await stream.next(); !rest.done; rest = await stream.next());
  if (hash.hex() !== diffId) throw corrupt('layer', 'its contents do not have their digest');
}

async function* hashed(chunks: AsyncIterable<Uint8Array>, hash: { update(bytes: Uint8Array): void }) {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

/** The same stream, which stays open when its reader has had enough. */
const keptOpen = (stream: AsyncGenerator<Uint8Array>): AsyncIterable<Uint8Array> => ({
  [Symbol.asyncIterator]: () => ({ next: () => stream.next() }),
});

/** Passes chunks on and tells their text at the end, if it is not too long. */
async function* noted(chunks: AsyncIterable<Uint8Array>, tell: (text: string) => void) {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of chunks) {
    if (text.length < ACCOUNT_BYTES_MAX) text += decoder.decode(chunk, { stream: true });
    yield chunk;
  }
  tell(text);
}
