/** Files of the package itself, in Node. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** The package's folder: this file lies three folders below it, and the bundle that has it lies in dist/. */
const isBundle = !import.meta.url.endsWith('.ts');
const ROOT = new URL(isBundle ? '../' : '../../../', import.meta.url);

/** A file that the build left in dist/. */
export function readAsset(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(`dist/${name}`, ROOT)));
}

/** The same for one that not every build leaves there. */
export function readAssetIfBuilt(name: string): Uint8Array<ArrayBuffer> | undefined {
  const url = new URL(`dist/${name}`, ROOT);
  return existsSync(url) ? readAsset(name) : undefined;
}

/** Version in the package's own package.json. */
export function readPackageVersion(): string {
  const text = readFileSync(new URL('package.json', ROOT), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/**
 * What is another whenever one of our modules is: what the bundle was made of, or the modules themselves.
 * @param folder in src/, of the modules that matter
 */
export function programText(folder: string): readonly Uint8Array[] {
  if (isBundle) return [readAsset('sources.stamp'), readAsset('runtime.digest')];
  const root = new URL(`src/${folder}/`, ROOT);
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'));
  return names.sort().map(name => new Uint8Array(readFileSync(new URL(name, root))));
}
