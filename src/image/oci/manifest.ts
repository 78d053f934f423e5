/**
 * The documents of an OCI image: index, manifest, configuration. They come from strangers; what is used of them is checked here.
 * Source: OCI image specification (image-index.md, manifest.md, config.md, descriptor.md); Docker's image manifest version 2 schema 2.
 */
import { corrupt, unsupported } from '../compress/errors.ts';

export interface Descriptor {
  readonly mediaType: string;
  /** SHA-256, as hexadecimal digits. */
  readonly hash: string;
  readonly size: number;
  readonly os: string | undefined;
  readonly architecture: string | undefined;
  readonly annotations: Readonly<Record<string, unknown>>;
}

export interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export const INDEX_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
export const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
/** Documents longer than this are nobody's. */
export const DOCUMENT_BYTES_MAX = 4 << 20;
const LAYERS_MAX = 1024;
const MANIFESTS_MAX = 4096;
const WHAT = 'OCI image';

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function parseDocument(bytes: Uint8Array): Json {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw corrupt(WHAT, 'a document in it is no JSON');
  }
  if (!isObject(value)) throw corrupt(WHAT, 'a document in it is no object');
  return value;
}

/** `sha256:` and 64 digits. */
export function hashOfDigest(digest: unknown): string {
  if (typeof digest !== 'string') throw corrupt(WHAT, 'a digest is missing');
  const match = /^([a-z0-9+._-]+):([0-9a-f]+)$/.exec(digest);
  if (!match) throw corrupt(WHAT, 'a digest in it is none');
  if (match[1] !== 'sha256') throw unsupported(WHAT, `it uses ${match[1]} digests`);
  if (match[2]!.length !== 64) throw corrupt(WHAT, 'a digest in it is none');
  return match[2]!;
}

function parseDescriptor(value: unknown): Descriptor {
  if (!isObject(value)) throw corrupt(WHAT, 'a descriptor is missing');
  const { mediaType, digest, size, platform, annotations } = value;
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw corrupt(WHAT, 'a size in it is none');
  const { os, architecture } = isObject(platform) ? platform : {};
  return {
    mediaType: typeof mediaType === 'string' ? mediaType : '',
    hash: hashOfDigest(digest),
    size: size as number,
    os: typeof os === 'string' ? os : undefined,
    architecture: typeof architecture === 'string' ? architecture : undefined,
    annotations: isObject(annotations) ? annotations : {},
  };
}

function list(value: unknown, what: string, max: number): readonly unknown[] {
  if (!Array.isArray(value)) throw corrupt(WHAT, `its ${what} are missing`);
  if (value.length > max) throw corrupt(WHAT, `it has more than ${max} ${what}`);
  return value;
}

/** The entries of an index; undefined when the document is none. */
export function parseIndex(facts: Json): Descriptor[] | undefined {
  if (facts.manifests === undefined) return undefined;
  return list(facts.manifests, 'manifests', MANIFESTS_MAX).map(parseDescriptor);
}

export function parseManifest(facts: Json): Manifest {
  if (facts.schemaVersion !== 2) throw unsupported(WHAT, 'its manifest is not of version 2');
  const config = parseDescriptor(facts.config);
  if (config.mediaType.includes('helm') || config.mediaType.includes('wasm')) {
    throw unsupported(WHAT, 'it is no file system');
  }
  return { config, layers: list(facts.layers, 'layers', LAYERS_MAX).map(parseDescriptor) };
}

/** What runs here among the manifests of an index. @throws DomusError E_IMAGE_UNSUPPORTED */
export function chooseManifest(manifests: readonly Descriptor[]): Descriptor {
  const known = manifests.filter(
    ({ mediaType }) => mediaType === '' || [...MANIFEST_TYPES, ...INDEX_TYPES].includes(mediaType),
  );
  const fits = known.find(({ os, architecture }) => os === 'linux' && architecture === 'amd64');
  const only = known.length === 1 && known[0]!.architecture === undefined ? known[0] : undefined;
  const chosen = fits ?? only;
  if (chosen) return chosen;
  const others = known.map(({ os, architecture }) => `${os}/${architecture}`);
  throw unsupported(WHAT, `it is not there for linux/amd64, but for ${others.join(', ') || 'nothing'}`);
}

/** What an image says about itself, as far as it is used here. */
export interface ImageDocument {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly workingFolder: string;
  readonly user: string;
  /** Hashes of the unpacked layers. */
  readonly diffIds: readonly string[];
}

export function parseImageDocument(facts: Json): ImageDocument {
  const { architecture, os, rootfs, config } = facts;
  if (os !== 'linux' || architecture !== 'amd64') {
    throw unsupported(WHAT, `it is for ${String(os)}/${String(architecture)}, not for linux/amd64`);
  }
  const settings = isObject(config) ? config : {};
  const words = (value: unknown): readonly string[] => {
    if (value === undefined || value === null) return [];
    const all = list(value, 'words', 65_536);
    if (!all.every((word): word is string => typeof word === 'string' && !word.includes('\0'))) {
      throw corrupt(WHAT, 'a command in it is none');
    }
    return all;
  };
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  return {
    env: words(settings.Env),
    entrypoint: words(settings.Entrypoint),
    command: words(settings.Cmd),
    workingFolder: text(settings.WorkingDir) || '/',
    user: text(settings.User),
    diffIds: list(isObject(rootfs) ? rootfs.diff_ids : undefined, 'layers', LAYERS_MAX).map(hashOfDigest),
  };
}
