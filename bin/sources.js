/**
 * Which sources there are, in what state: the build notes it beside the bundle that it makes of them, and bin/domus.js compares.
 * Sizes and times of change of all files take five milliseconds, and also show that a file came or went.
 */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Where the build notes it, from the package's folder. */
export const STAMP = 'dist/sources.stamp';

/** Whether a file goes into the bundle; the two assembly folders are compiled to other things, with digests of their own. */
export const isSource = file =>
  file.endsWith('.ts') && !/\.(?:test|fixture)\.ts$/.test(file) && !/[\\/]assembly[\\/]/.test(file);

/** One line for each source of the package in `root`. */
export function sourcesStamp(root) {
  const lines = [];
  const walk = (top, folder) => {
    for (const entry of readdirSync(top + folder, { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) walk(top, path);
      else if (isSource(path)) {
        const { size, mtimeMs } = statSync(top + path);
        lines.push(`${path} ${size} ${mtimeMs}`);
      }
    }
  };
  walk(join(root, 'src'), '');
  return lines.sort().join('\n');
}
