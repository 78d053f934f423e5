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

/** The same in two parts: the first bytes, and the others. */
export function readAssetParts(
  name: string,
  headBytes: number,
): readonly [head: Uint8Array<ArrayBuffer>, rest: Uint8Array<ArrayBuffer>] | undefined {
  const path = assetPath(name);
  if (!existsSync(path)) return undefined;
  const fd = openSync(path, 'r');
  try {
    const head = new Uint8Array(headBytes);
    return readFully(fd, head, 0) ? [head, readRest(fd, headBytes)] : undefined;
  } finally {
    closeSync(fd);
  }
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

/**
 * What is another whenever one of our modules is: of what bundle and runtime module were made of, or of the modules themselves. One or more SHA-256
 * as hexadecimal digits.
 * @param folder in src/, of the modules that matter
 */
export function programDigest(folder: string): string {
  if (isBundle) return assetDigest('sources') + assetDigest('runtime');
  const root = new URL(`src/${folder}/`, ROOT);
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'));
  const digests = names.sort().map(name => sha256Hex(readFileSync(new URL(name, root))));
  return sha256Hex(new TextEncoder().encode(digests.join()));
}
