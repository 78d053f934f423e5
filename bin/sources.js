/**
 * Which sources there are, in what state: the build notes it beside the bundle that it makes of them, and bin/domus.js compares.
 * Sizes and times of change of all files and folders take a few milliseconds; a folder's time also shows that a file came or went.
 */
const { readdirSync, readFileSync, statSync } = require('node:fs');
const { join } = require('node:path');

/** Where the build notes it, from the package's folder. */
const STAMP = 'dist/sources.stamp';

/** Of this folder, what is in the bundle, too. */
const SHARED = ['cache-folder.js', 'v8-flags.js'];

/** Whether a file goes into the bundle. */
const isSource = file => file.endsWith('.ts') && !/\.(?:test|fixture)\.ts$/.test(file);

/** Of what has no size of its own: a folder, and what is not there. */
const NO_SIZE = -1;
const MAY_BE_ABSENT = { throwIfNoEntry: false };

/** What to write there of the package in `root`: for each source and each folder of them its path, size and time. */
function sourcesStamp(root) {
  const entries = [];
  const add = path => {
    const facts = statSync(root + path, MAY_BE_ABSENT);
    entries.push(path, facts?.isFile() ? facts.size : NO_SIZE, facts?.mtimeMs ?? 0);
  };
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
  return JSON.stringify(entries);
}

const stampFile = root => join(root, STAMP);

/**
 * Whether the bundle of the package in `root` is made of the sources as they are. Numbers are compared: to write 700 of them takes longer. No function
 * is called for each of them but the system's, as V8 has compiled none yet.
 */
function isBundleCurrent(root) {
  try {
    const entries = JSON.parse(readFileSync(stampFile(root), 'utf8'));
    if (!Array.isArray(entries) || entries.length === 0) return false;
    for (let i = 0; i < entries.length; i += 3) {
      const facts = statSync(root + entries[i], MAY_BE_ABSENT);
      const size = entries[i + 1];
      if ((facts?.mtimeMs ?? 0) !== entries[i + 2] || (size !== NO_SIZE && facts.size !== size)) return false;
    }
    return true;
  } catch {
    return false;
  }
}

module.exports = { isBundleCurrent, isSource, sourcesStamp, stampFile };
