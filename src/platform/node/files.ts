/** Files of the package itself, in Node. */
import { readFileSync } from 'node:fs';

/** The package's folder: this file lies three folders below it, and the bundle that has it lies in dist/. */
const ROOT = new URL(import.meta.url.endsWith('.ts') ? '../../../' : '../', import.meta.url);

/** A file that the build left in dist/. */
export function readAsset(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(`dist/${name}`, ROOT)));
}

/** Version in the package's own package.json. */
export function readPackageVersion(): string {
  const text = readFileSync(new URL('package.json', ROOT), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
