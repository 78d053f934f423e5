/** Files of the package itself, in Node. */
import { readFileSync } from 'node:fs';

const DIST = new URL('../../../dist/', import.meta.url);

/** A file that the build left in dist/. */
export function readAsset(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(name, DIST)));
}
