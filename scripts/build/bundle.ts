/**
 * Bundles src/ as JavaScript into dist/: what runs below node_modules, where Node refuses to strip types, and in a clone whose
 * sources have not changed since. One file where there were four hundred is a quarter of a second less at each start.
 *
 * The library is an entry point, and so is each module that a thread begins with, which the sources write as
 * `new URL('./name.ts', import.meta.url)`. All files lie in dist/ itself, so such a URL, with the other ending, means the same
 * from whichever file the module that has it went to. The program is some scripts of their own (bin/program.js loads them). Names stay as they are, so
 * that a stack trace can be read.
 */
import { createHash } from 'node:crypto';
import { globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { isSource, sourcesStamp, stampFile } from '../../bin/sources.js';
import { ENGINE_FOLDERS, sourcesDigest } from '../../src/platform/node/files.ts';
import { PROGRAM } from './chunk-files.ts';
import { decoderTable, TABLE_FILE } from './decoder-table.ts';
import { lateModules } from './late-modules.ts';
import { programParts } from './program-parts.ts';
import { readyTables } from './ready-tables.ts';

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
  for (const old of globSync('dist/**/*.{js,cjs}', { cwd: root })) rmSync(join(root, old));
  const entries = ['src/toolstack/index.ts', ...threadEntries(root)];
  const common = {
    absWorkingDir: root,
    outdir: 'dist',
    bundle: true,
    platform: 'node',
    target: 'node24',
    plugins: [threadUrls],
    metafile: true,
    logLevel: 'warning',
  } as const satisfies BuildOptions;
  const { metafile } = await build({
    ...common,
    entryPoints: entries.map(file => ({ in: file, out: basename(file, '.ts') })),
    splitting: true,
    format: 'esm',
  });
  const program = await bundleProgram(root, common);
  writeFileSync(stampFile(root), stamp);
  // For the program, which has no sources then, and to which loading what makes digests takes time.
  writeFileSync(join(root, 'dist/sources.digest'), createHash('sha256').update(stamp).digest('hex'));
  writeFileSync(join(root, 'dist/engine.digest'), sourcesDigest(pathToFileURL(`${root}/`), ENGINE_FOLDERS));
  return [...Object.keys(metafile.outputs), ...program];
}

/**
 * The program in parts, with the decoder's table beside them. It has no name of its own, as it comes from the same sources.
 * @returns the files' names
 */
async function bundleProgram(root: string, common: BuildOptions): Promise<string[]> {
  const { metafile, outputFiles = [] } = await build({
    ...common,
    entryPoints: ['src/cli/main.ts'],
    splitting: true,
    format: 'esm',
    write: false,
    metafile: true,
    chunkNames: '[name]-[hash]',
    plugins: [lateModules(root), readyTables, threadUrls],
    define: { 'import.meta.url': '__moduleUrl' },
  });
  const parts = await programParts(metafile, outputFiles);
  const paths = [...parts].map(([part, text]) => {
    const path = `dist/${part === PROGRAM ? PROGRAM : `${PROGRAM}-${part}`}.cjs`;
    writeFileSync(join(root, path), text);
    return path;
  });
  writeFileSync(join(root, 'dist', TABLE_FILE), decoderTable());
  return paths;
}
