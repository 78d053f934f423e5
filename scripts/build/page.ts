/**
 * The page of `domus web` (src/web/page): one script and one style sheet in dist/web/, with the libraries that it uses in them, so that the
 * page asks nobody but its own server.
 */
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

/** Served as they are. */
const FILES = ['index.html', 'icon.svg'];

export async function bundlePage(root: string): Promise<void> {
  const from = join(root, 'src/web/page');
  const to = join(root, 'dist/web');
  await build({
    absWorkingDir: root,
    entryPoints: [
      { in: join(from, 'main.tsx'), out: 'page' },
      { in: join(from, 'style.css'), out: 'page' },
    ],
    outdir: to,
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'inline',
    logLevel: 'warning',
  });
  mkdirSync(to, { recursive: true });
  for (const file of FILES) copyFileSync(join(from, file), join(to, file));
}
