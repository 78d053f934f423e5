/**
 * Writes dist/: the sources of src/ as JavaScript, for the places where Node refuses to strip types by itself (below
 * node_modules). The layout is the same as in src/, so that relative paths such as `../../dist/x.wasm` mean the same
 * file from both. Types are blanked out, nothing is transformed: lines and columns of a stack trace stay true.
 */
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Relative `.ts` paths in imports, exports and `new URL(..., import.meta.url)` become `.js`. */
const RELATIVE = /(\b(?:from|import)\s*\(?\s*|\bnew\s+URL\(\s*)(['"])(\.{1,2}\/[^'"\n]+)\.ts\2/g;

export function toJavaScript(source: string): string {
  return stripTypeScriptTypes(source, { mode: 'strip' }).replace(RELATIVE, '$1$2$3.js$2');
}

/** Strip every source file; returns how many were written. */
export function stripSources(root: string): number {
  const files = globSync('src/**/*.ts', { cwd: root }).filter(
    file =>
      !/\.(?:test|fixture)\.ts$/.test(file) && !file.includes('/assembly/') && !file.includes('/testing/'),
  );
  for (const file of files) {
    const target = join(root, file.replace(/^src/, 'dist').replace(/\.ts$/, '.js'));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, toJavaScript(readFileSync(join(root, file), 'utf8')));
  }
  return files.length;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const count = stripSources(fileURLToPath(new URL('..', import.meta.url)));
  console.log(`dist: ${count} files`);
}
