/** Files of the package itself, in Node. */
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { sha256Hex } from './native-codecs.ts';
import { readFully } from './random-files.ts';

/** The package's folder: this file lies three folders below it, and the bundle that has it lies in dist/. */
const isBundle = !import.meta.url.endsWith('.ts');
const ROOT = new URL(isBundle ? '../' : '../../../', import.meta.url);

const assetPath = (name: string): string => fileURLToPath(new URL(`dist/${name}`, ROOT));

/** A file that the build left in dist/. */
export function readAsset(name: string): Uint8Array<ArrayBuffer> {
  const fd = openSync(assetPath(name), 'r');
  try {
    return readRest(fd, 0);
  } finally {
    closeSync(fd);
  }
}

/** The same for one that not every build leaves there. */
export const readAssetIfBuilt = (name: string): Uint8Array<ArrayBuffer> | undefined =>
  existsSync(assetPath(name)) ? readAsset(name) : undefined;

export type AssetParts = readonly [head: Uint8Array<ArrayBuffer>, rest: Uint8Array<ArrayBuffer>];

/** The same in two parts: the first bytes, and the others. */
export function readAssetParts(name: string, headBytes: number): AssetParts | undefined {
  const path = assetPath(name);
  if (!existsSync(path)) return undefined;
  const fd = openSync(path, 'r');
  try {
    return readParts(fd, headBytes);
  } finally {
    closeSync(fd);
  }
}

function readParts(fd: number, headBytes: number): AssetParts | undefined {
  const head = new Uint8Array(headBytes);
  return readFully(fd, head, 0) ? [head, readRest(fd, headBytes)] : undefined;
}

/** A file that the build left in dist/, open for as long as this thread lives. */
export interface HeldAsset {
  read(): Uint8Array<ArrayBuffer>;
  parts(headBytes: number): AssetParts | undefined;
}

/** For what may be read later: by then another version may be in its place. Undefined when there is none. */
export function holdAsset(name: string): HeldAsset | undefined {
  const path = assetPath(name);
  if (!existsSync(path)) return undefined;
  const fd = openSync(path, 'r');
  return { read: () => readRest(fd, 0), parts: headBytes => readParts(fd, headBytes) };
}

/** Into memory of its own, and nowhere else before: some are megabytes, and read by every command. */
function readRest(fd: number, from: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(fstatSync(fd).size - from);
  if (!readFully(fd, bytes, from)) throw new Error('a file of the package has become shorter');
  return bytes;
}

/** Version in the package's own package.json. */
export function readPackageVersion(): string {
  const text = readFileSync(new URL('package.json', ROOT), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** What the build noted of a file in dist/ for what it was made of: SHA-256 as hexadecimal digits, another whenever that is. */
export const assetDigest = (name: string): string => new TextDecoder().decode(readAsset(`${name}.digest`));

/** Folders in src/ with all that decides what the CPU engine makes of guest code. */
export const ENGINE_FOLDERS = ['base', 'machine', 'cpu'] as const;

/** SHA-256, as hexadecimal digits, of the modules in these folders of the package in `root`. */
export function sourcesDigest(root: URL, folders: readonly string[]): string {
  const digests = folders.flatMap(folder => {
    const url = new URL(`src/${folder}/`, root);
    const names = readdirSync(url, { recursive: true, encoding: 'utf8' }).filter(name =>
      name.endsWith('.ts'),
    );
    return names.sort().map(name => `${folder}/${name} ${sha256Hex(readFileSync(new URL(name, url)))}`);
  });
  return sha256Hex(new TextEncoder().encode(digests.join('\n')));
}

/** What is another whenever one of our modules is: one or more SHA-256 as hexadecimal digits. */
export const programDigest = (): string =>
  isBundle ? assetDigest('sources') + assetDigest('runtime') : sourcesDigest(ROOT, ['.']);

/** The same of what the CPU engine is made of. */
export const engineDigest = (): string =>
  isBundle ? assetDigest('engine') + assetDigest('runtime') : sourcesDigest(ROOT, ENGINE_FOLDERS);
