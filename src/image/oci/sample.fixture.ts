/** Makes small OCI images for tests: layers out of tar entries, documents around them, in the forms in which they are passed on. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { sha256Hex } from '../../platform/node/native-codecs.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const concat = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

export interface SampleEntry {
  readonly name: string;
  readonly type?: string;
  readonly data?: string | Uint8Array;
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: Readonly<Record<string, string>>;
  /** A size for the header that is not that of the data. */
  readonly claims?: number;
}

function header(name: string, type: string, size: number, entry: SampleEntry): Uint8Array {
  const block = new Uint8Array(512);
  const put = (at: number, text: string): void => block.set(bytesOf(text), at);
  const octal = (at: number, length: number, value: number): void =>
    put(at, `${value.toString(8).padStart(length - 1, '0')}\0`);
  put(0, name);
  octal(100, 8, entry.mode ?? 0o644);
  octal(108, 8, entry.uid ?? 0);
  octal(116, 8, entry.gid ?? 0);
  octal(124, 12, size);
  octal(136, 12, 1_600_000_000);
  put(156, type);
  put(157, entry.link ?? '');
  put(257, 'ustar\x0000');
  octal(329, 8, entry.major ?? 0);
  octal(337, 8, entry.minor ?? 0);
  put(148, '        ');
  octal(
    148,
    7,
    block.reduce((sum, byte) => sum + byte, 0),
  );
  return block;
}

const padded = (data: Uint8Array): Uint8Array =>
  concat(data, new Uint8Array((512 - (data.length % 512)) % 512));

function paxHeader(xattrs: Readonly<Record<string, string>>): Uint8Array {
  const records = Object.entries(xattrs).map(([key, value]) => {
    const rest = ` SCHILY.xattr.${key}=${value}\n`;
    let length = rest.length + 1;
    while (`${length}${rest}`.length !== length) length += 1;
    return `${length}${rest}`;
  });
  const data = bytesOf(records.join(''));
  return concat(header('pax', 'x', data.length, { name: 'pax' }), padded(data));
}

export function tarOf(entries: readonly SampleEntry[]): Uint8Array {
  const parts = entries.map(entry => {
    const data = typeof entry.data === 'string' ? bytesOf(entry.data) : (entry.data ?? new Uint8Array(0));
    return concat(
      entry.xattrs ? paxHeader(entry.xattrs) : new Uint8Array(0),
      header(entry.name, entry.type ?? '0', entry.claims ?? data.length, entry),
      padded(data),
    );
  });
  return concat(...parts, new Uint8Array(1024));
}

export interface SampleImage {
  /** Everything by its hash: layers, configuration, manifest, index. */
  readonly blobs: ReadonlyMap<string, Uint8Array>;
  readonly index: Uint8Array;
  readonly indexHash: string;
  readonly manifestHash: string;
  readonly configHash: string;
  readonly layerHashes: readonly string[];
  readonly layers: readonly Uint8Array[];
}

const PACKERS = [gzipSync, zstdCompressSync, (bytes: Uint8Array) => bytes];

/** Each layer packed in another way; the index has other machines' images too. */
export function sampleImage(
  layers: readonly (readonly SampleEntry[])[],
  config: Readonly<Record<string, unknown>> = {},
): SampleImage {
  const blobs = new Map<string, Uint8Array>();
  const add = (bytes: Uint8Array) => {
    const hash = sha256Hex(bytes);
    blobs.set(hash, bytes);
    return { digest: `sha256:${hash}`, size: bytes.length };
  };
  const json = (value: unknown) => bytesOf(JSON.stringify(value));
  const tars = layers.map(tarOf);
  const packed = tars.map((tar, i) => add(new Uint8Array(PACKERS[i % 3]!(tar))));
  const configBytes = json({
    architecture: 'amd64',
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: tars.map(tar => `sha256:${sha256Hex(tar)}`) },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...add(configBytes) },
    layers: packed.map(each => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', ...each })),
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const other = add(json({ schemaVersion: 2, nothing: 'for here' }));
  const index = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [
      { mediaType, ...other, platform: { os: 'linux', architecture: 'arm64' } },
      { mediaType, ...add(manifest), platform: { os: 'linux', architecture: 'amd64' } },
    ],
  });
  add(index);
  return {
    blobs,
    index,
    indexHash: sha256Hex(index),
    manifestHash: sha256Hex(manifest),
    configHash: sha256Hex(configBytes),
    layerHashes: packed.map(({ digest }) => digest.slice(7)),
    layers: tars,
  };
}

/** As a layout folder. */
export function writeLayout(path: string, { blobs, index }: Pick<SampleImage, 'blobs' | 'index'>): void {
  mkdirSync(join(path, 'blobs/sha256'), { recursive: true });
  for (const [hash, bytes] of blobs) writeFileSync(join(path, 'blobs/sha256', hash), bytes);
  writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(path, 'index.json'), index);
}

/** As `docker save` writes it. */
export function dockerArchive(
  { blobs, configHash, layers }: SampleImage,
  tags: readonly string[],
): Uint8Array {
  const names = layers.map((_, i) => `layer-${i}/layer.tar`);
  return tarOf([
    ...layers.map((data, i) => ({ name: names[i]!, data })),
    { name: `${configHash}.json`, data: blobs.get(configHash)! },
    {
      name: 'manifest.json',
      data: JSON.stringify([{ Config: `${configHash}.json`, RepoTags: tags, Layers: names }]),
    },
  ]);
}
