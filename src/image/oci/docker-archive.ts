/**
 * What `docker save` writes: a tar archive with `manifest.json`, which names a configuration and layers among the archive's files.
 * The layers have no digests of their own; the configuration has those of what is in them.
 */
import { DomusError } from '../../base/errors.ts';
import type { DiskHost } from '../../disk/host.ts';
import { readStream } from '../../platform/node/file-streams.ts';
import { sha256Hex } from '../../platform/node/native-codecs.ts';
import { indexTar, type TarPlace } from '../archive/tar-index.ts';
import { corrupt, tooLarge } from '../compress/errors.ts';
import type { ImageSource } from '../source/source.ts';
import { type Contents, sourceOf } from './image.ts';
import { DOCUMENT_BYTES_MAX, parseDocument, parseImageDocument } from './manifest.ts';

const WHAT = 'docker archive';

interface SavedImage {
  readonly config: string;
  readonly layers: readonly string[];
  readonly tags: readonly string[];
}

function parseSaved(bytes: Uint8Array): SavedImage[] {
  // The document is an array: put into an object, it is checked as all others.
  const text = new TextDecoder().decode(bytes);
  const { images } = parseDocument(new TextEncoder().encode(`{"images":${text}}`));
  if (!Array.isArray(images)) throw corrupt(WHAT, 'its manifest.json is no list');
  return images.map(image => {
    const { Config: config, Layers: layers, RepoTags: tags } = (image ?? {}) as Record<string, unknown>;
    const areNames = (value: unknown): value is string[] =>
      Array.isArray(value) && value.every(name => typeof name === 'string');
    if (typeof config !== 'string' || !areNames(layers)) throw corrupt(WHAT, 'its manifest.json lacks names');
    return { config, layers, tags: areNames(tags) ? tags : [] };
  });
}

function choose(images: readonly SavedImage[], tag: string | undefined, path: string): SavedImage {
  const found =
    tag === undefined ? images : images.filter(({ tags }) => tags.some(each => matches(each, tag)));
  if (found.length === 1) return found[0]!;
  const names = images.flatMap(({ tags }) => tags).join(', ') || 'images without names';
  throw new DomusError(
    'E_IMAGE_UNKNOWN',
    tag === undefined ? `${path} has more than one image, or none` : `${path} has no image ${tag}`,
    `write docker-archive:${path}:NAME; it has ${names}`,
  );
}

const matches = (full: string, tag: string): boolean =>
  full === tag || full.endsWith(`/${tag}`) || full.slice(full.lastIndexOf('/') + 1).split(':')[0] === tag;

/** @throws DomusError E_FILE_READ, E_IMAGE_* */
export async function openDockerArchive(
  { files }: DiskHost,
  path: string,
  tag: string | undefined,
): Promise<ImageSource> {
  const file = await files.open(path, 'read').catch(error => {
    throw new DomusError('E_FILE_READ', (error as Error).message, 'name a file that "docker save" wrote');
  });
  try {
    const places = await indexTar(file);
    const placeOf = (name: string): TarPlace => {
      const place = places.get(name);
      if (place) return place;
      throw corrupt(WHAT, `it lacks ${JSON.stringify(name.slice(0, 100))}`);
    };
    const document = async (name: string): Promise<Uint8Array> => {
      const { start, size } = placeOf(name);
      if (size > DOCUMENT_BYTES_MAX) throw tooLarge(WHAT, DOCUMENT_BYTES_MAX);
      const bytes = new Uint8Array(size);
      await file.read(start, bytes);
      return bytes;
    };
    const saved = choose(parseSaved(await document('manifest.json')), tag, path);
    const config = await document(saved.config);
    const image = parseImageDocument(parseDocument(config));
    if (image.diffIds.length !== saved.layers.length) throw corrupt(WHAT, 'it lacks layers, or has too many');
    const layers = saved.layers.map((name, i) => {
      const { size } = placeOf(name);
      const about = { mediaType: '', os: undefined, architecture: undefined, annotations: {} };
      // Each goes by the hash of what is in it.
      return { ...about, hash: image.diffIds[i]!, size };
    });
    const placeByHash = new Map(image.diffIds.map((hash, i) => [hash, placeOf(saved.layers[i]!)]));
    const contents: Contents = { read: ({ hash }) => readStream(path, placeByHash.get(hash)) };
    return { ...sourceOf(image, sha256Hex(config), layers, contents), blobs: [] };
  } finally {
    await file.close();
  }
}
