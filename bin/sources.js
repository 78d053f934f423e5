/**
 * Which sources there are, in what state: the build notes it beside the bundle that it makes of them, and bin/domus.js compares.
 * Sizes and times of change of all files and folders take a few milliseconds; a folder's time also shows that a file came or went.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Where the build notes it, from the package's folder. */
const STAMP = 'dist/sources.stamp';

/** Of this folder, what is in the bundle, too. */
const SHARED = ['cache-folder.js', 'v8-flags.js'];

/** Whether a file goes into the bundle. */
export const isSource = file => file.endsWith('.ts') && !/\.(?:test|fixture)\.ts$/.test(file);

function describe(root, path) {
  const facts = statSync(root + path, { throwIfNoEntry: false });
  if (!facts) return 'absent';
  return facts.isDirectory() ? `${facts.mtimeMs}` : `${facts.size} ${facts.mtimeMs}`;
}

/** What to write there of the package in `root`: a line for each source and each folder of them. */
export function sourcesStamp(root) {
  const lines = [];
  const add = path => lines.push(`${path}\t${describe(root, path)}`);
  const walk = folder => {
    add(folder);
    for (const entry of readdirSync(root + folder, { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      // What is in folders of this name is compiled to something else, with a digest of its own.
      if (entry.isDirectory() && entry.name !== 'assembly') walk(path);
      else if (entry.isFile() && isSource(path)) add(path);
    }
  };
  walk('/src');
  for (const name of SHARED) add(`/bin/${name}`);
  return lines.join('\n');
}

export const stampFile = root => join(root, STAMP);

/** Whether the bundle of the package in `root` is made of the sources as they are. */
export function isBundleCurrent(root) {
  try {
    return readFileSync(stampFile(root), 'utf8')
      .split('\n')
      .every(line => {
        const [path, facts] = line.split('\t');
        return describe(root, path) === facts;
      });
  } catch {
    return false;
  }
}
