/**
 * Bundles src/ as JavaScript into dist/: what runs below node_modules, where Node refuses to strip types, and in a clone whose
 * sources have not changed since. One file where there were four hundred is a quarter of a second less at each start.
 *
 * The program and the library are entry points, and so is each module that a thread begins with, which the sources write as
 * `new URL('./name.ts', import.meta.url)`. All files lie in dist/ itself, so such a URL, with the other ending, means the same
 * from whichever file the module that has it went to. Nothing is shortened: names and lines of a stack trace can be read.
 */
import { globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { isSource, sourcesStamp, stampFile } from '../../bin/sources.js';

const THREAD = /\bnew URL\('\.\/([\w-]+)\.ts', import\.meta\.url\)/g;

const threadUrls: Plugin = {
  name: 'thread-urls',
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => {
      const source = readFileSync(path, 'utf8');
      return { loader: 'ts', contents: source.replace(THREAD, "new URL('./$1.js', import.meta.url)") };
    });
  },
};

/** Modules that threads begin with. */
function threadEntries(root: string): string[] {
  const files = globSync('src/**/*.ts', { cwd: root }).filter(isSource);
  return files.flatMap(file =>
    [...readFileSync(join(root, file), 'utf8').matchAll(THREAD)].map(([, name]) =>
      file.replace(/[^/\\]+$/, `${name}.ts`),
    ),
  );
}

/** Write dist/*.js of the package in `root`; returns their names. */
export async function bundleSources(root: string): Promise<string[]> {
  // Before anything is read: what changes meanwhile makes the bundle out of date.
  const stamp = sourcesStamp(root);
  for (const old of globSync('dist/**/*.js', { cwd: root })) rmSync(join(root, old));
  const entries = ['src/cli/main.ts', 'src/toolstack/index.ts', ...threadEntries(root)];
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: entries.map(file => ({ in: file, out: basename(file, '.ts') })),
    outdir: 'dist',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    plugins: [threadUrls],
    metafile: true,
    logLevel: 'warning',
  });
  writeFileSync(stampFile(root), stamp);
  return Object.keys(metafile.outputs);
}
