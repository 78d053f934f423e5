/**
 * Modules that a command in a kept machine does without: in the command's bundle, functions stand in their place that load the part of it where they are
 * when one is called first. Where a module is asked for at a moment that can wait, the sources say so themselves, by `import()`; these here are called in the
 * middle of something.
 */
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Plugin } from 'esbuild';

/** By part. They have functions, classes and plain constants alone, and nobody asks whether something is of such a class. */
export const LATE: Readonly<Record<string, readonly string[]>> = {
  translator: ['cpu/isa/definition-list', 'cpu/interpreter/warm-up', 'cpu/translator/maker'],
  boot: [
    'image/oci/docker-archive',
    'image/oci/layout',
    'image/oci/registry',
    'image/source/debian',
    'image/source/folder',
    'image/rootfs/make-root',
    'toolstack/build-domain',
  ],
  disk: [
    'disk/begun-snapshot',
    'disk/coalesce',
    'disk/convert',
    'disk/qcow2/image',
    'disk/resize',
    'disk/vhdx/image',
  ],
  folders: ['backend/p9/device'],
  debug: [
    'toolstack/gdb-server',
    'toolstack/lockstep-machine',
    'toolstack/trace-instructions',
    'toolstack/trace-status',
  ],
  save: ['state/save-domain', 'toolstack/cloned-guest', 'toolstack/machine-hash'],
  traffic: ['net/capture', 'net/nat/tcp-connection', 'net/switch'],
  threads: ['hypervisor/pcpus', 'hypervisor/shared-pcpu'],
};
/** What the bundler is asked for. */
export const PART = 'part:';

const pathOf = (root: string, module: string) => join(root, 'src', `${module}.ts`);
/** Of a module's export in the part that has several. */
const nameIn = (module: string, name: string) => `${module.replace(/\W/g, '_')}$${name}`;

/** Text of a module that exports, as `name`, what does as `value` of another module does. */
export function standIn(part: string, module: string, name: string, value: unknown): string {
  if (typeof value !== 'function') {
    if (typeof value === 'object' || typeof value === 'symbol')
      throw new TypeError(`${module}: ${name} cannot be stood in for`);
    return `export const ${name} = ${typeof value === 'bigint' ? `${value}n` : JSON.stringify(value)};`;
  }
  // Of a class, what belongs to itself would be missed.
  const own = Object.getOwnPropertyNames(value).filter(key => !['length', 'name', 'prototype'].includes(key));
  if (own.length > 0) throw new TypeError(`${module}: ${name} has ${own.join()}`);
  return `let real$${name};
export function ${name}(...args) {
  real$${name} ??= __now(import(${JSON.stringify(PART + part)})).${nameIn(module, name)};
  return new.target ? new real$${name}(...args) : real$${name}(...args);
}`;
}

/** `__now(import(…))` is what the part has, at once (program-parts.ts). */
export const lateModules = (root: string): Plugin => ({
  name: 'late-modules',
  async setup({ onLoad, onResolve }) {
    const partOf = new Map<string, string>();
    const exportsOf = new Map<string, Readonly<Record<string, unknown>>>();
    for (const [part, modules] of Object.entries(LATE)) {
      for (const module of modules) {
        const path = pathOf(root, module);
        partOf.set(path, part);
        // Of these sources, wherever those are that become the bundle.
        const own = new URL(`../../src/${module}.ts`, import.meta.url);
        exportsOf.set(path, await import(existsSync(own) ? own.href : pathToFileURL(path).href));
      }
    }
    const moduleOf = (path: string) =>
      relative(join(root, 'src'), path).replace(/\.ts$/, '').replaceAll('\\', '/');
    onResolve({ filter: /^part:/ }, ({ path }) => ({ path: path.slice(PART.length), namespace: 'part' }));
    onLoad({ filter: /./, namespace: 'part' }, ({ path: part }) => ({
      contents: (LATE[part] ?? [])
        .map(module => {
          const path = pathOf(root, module);
          const names = Object.keys(exportsOf.get(path) ?? {}).map(
            name => `${name} as ${nameIn(module, name)}`,
          );
          return `export { ${names.join(', ')} } from ${JSON.stringify(path)};`;
        })
        .join('\n'),
      loader: 'js',
      resolveDir: root,
    }));
    onResolve({ filter: /\.ts$/ }, ({ path, importer, namespace, resolveDir, kind }) => {
      if (kind !== 'import-statement' || namespace === 'part') return undefined;
      const file = join(resolveDir, path);
      const part = partOf.get(file);
      // Those of a part have one another.
      return part === undefined || partOf.get(importer) === part
        ? undefined
        : { path: file, namespace: 'late' };
    });
    onLoad({ filter: /./, namespace: 'late' }, ({ path }) => ({
      contents: Object.entries(exportsOf.get(path) ?? {})
        .map(([name, value]) => standIn(partOf.get(path) ?? '', moduleOf(path), name, value))
        .join('\n'),
      loader: 'js',
    }));
  },
});
