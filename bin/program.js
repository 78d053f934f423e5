/**
 * Loads the bundle of the command, dist/program.cjs, with the code that V8 made of it in earlier runs. Node keeps code of modules, too, but
 * takes it right after compiling, when V8 has compiled no function but the outermost: each run then compiled again whatever it
 * called. Here it is taken at the end of a run and holds what was called. There is one for each verb, as each calls other functions, made
 * anew by the first few runs, which are not all alike. A verb without one has that of `run`.
 *
 *     program/<the bundle's name for itself>-<verb>    CodeHeader | code
 */
const {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} = require('node:fs');
const { createRequire } = require('node:module');
const { dirname, join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');
const { crc32 } = require('node:zlib');
const { defaultCacheFolder } = require('./cache-folder.js');
const { FLAGS, STACK_CHECKS } = require('./v8-flags.js');

/** Runs of a verb that make its code anew. */
const TRIES = 4;
/** Files that stay. */
const KEPT = 40;
/** Number of the run that made it and CRC-32 of the code, u32 each. */
const HEADER_BYTES = 8;
const OTHERS_MAY_WRITE = 0o022;
/** More than what is read has, as a rule. */
const SCRATCH_BYTES = 4 << 20;

/** Modules of Node that take time to load, and that most commands never use: they are loaded when something of them is. */
const RARE = new Set(
  [
    'child_process',
    'crypto',
    'dgram',
    'dns',
    'fs/promises',
    'net',
    'stream',
    'stream/promises',
    'timers/promises',
    'tty',
    'worker_threads',
  ].map(name => `node:${name}`),
);

function lazily(load) {
  let loaded;
  const target = () => {
    loaded ??= load();
    return loaded;
  };
  return new Proxy(Object.create(null), {
    get: (_, name) => target()[name],
    has: (_, name) => name in target(),
    ownKeys: () => Reflect.ownKeys(target()),
    getOwnPropertyDescriptor: (_, name) => {
      const found = Reflect.getOwnPropertyDescriptor(target(), name);
      return found && { ...found, configurable: true };
    },
  });
}

/**
 * Touching memory for the first time can take longer than reading something into it, so the files are read into the same, one after the
 * other: what is read is good until the next one is.
 */
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

/** @returns what is in the file; undefined when it must be the user's own and is not */
function read(path, mustBeOwn) {
  const fd = openSync(path);
  try {
    const { uid, mode, size } = fstatSync(fd);
    const isOwn =
      process.getuid === undefined || (uid === process.getuid() && (mode & OTHERS_MAY_WRITE) === 0);
    if (mustBeOwn && !isOwn) return undefined;
    const file = size <= scratch.length ? scratch.subarray(0, size) : Buffer.allocUnsafeSlow(size);
    for (let done = 0; done < size; ) {
      const count = readSync(fd, file, done, size - done, done);
      if (count === 0) throw new Error(`${path} has become shorter`);
      done += count;
    }
    return file;
  } finally {
    closeSync(fd);
  }
}

/** The code at `path` and the number of the run that made it, if it is the user's own and whole. */
function readCode(path) {
  try {
    const file = read(path, true);
    if (!file) return undefined;
    const code = file.subarray(HEADER_BYTES);
    return crc32(code) === file.readUInt32LE(4) ? { code, tries: file.readUInt32LE(0) } : undefined;
  } catch {
    return undefined;
  }
}

/** Not the folders above it: Node looks for the end of some paths for ever (/proc/nothing). */
function makeFolder(path) {
  if (!existsSync(path)) mkdirSync(path, { mode: 0o700 });
}

function writeCode(folder, path, code, tries) {
  const temporary = `${path}.tmp-${process.pid}-0`;
  try {
    makeFolder(dirname(folder));
    makeFolder(folder);
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32LE(tries, 0);
    header.writeUInt32LE(crc32(code), 4);
    writeFileSync(temporary, Buffer.concat([header, code]), { mode: 0o600 });
    renameSync(temporary, path);
    const aged = readdirSync(folder).map(name => ({ name, at: statSync(join(folder, name)).mtimeMs }));
    for (const { name } of aged.sort((a, b) => b.at - a.at).slice(KEPT))
      rmSync(join(folder, name), { force: true });
  } catch {
    // It only saves time.
    rmSync(temporary, { force: true });
  }
}

/**
 * @param path of the bundle
 * @param verb what the command line begins with
 * @returns what src/cli/main.ts exports, and `keepCode`, to be called at the end
 */
function loadProgram(path, verb) {
  for (const flag of [`--no-${STACK_CHECKS}`, ...FLAGS]) setFlagsFromString(flag);
  // esbuild writes nothing but ASCII.
  const source = read(path, false).latin1Slice();
  const [, name = ''] = /^\/\/ (\w+)\n/.exec(source.slice(0, 100)) ?? [];
  const folder = join(defaultCacheFolder(), 'program');
  const codePath = join(folder, `${name}-${verb}`);
  const isKnownVerb = name !== '' && /^[a-z][a-z-]{0,30}$/.test(verb ?? '');
  const known = isKnownVerb ? readCode(codePath) : undefined;
  const code = known?.code ?? (name === '' ? undefined : readCode(join(folder, `${name}-run`))?.code);
  const script = new Script(source, { filename: path, cachedData: code });
  const requireThere = createRequire(path);
  const module = { exports: {} };
  const requireLazily = id => (RARE.has(id) ? lazily(() => requireThere(id)) : requireThere(id));
  script.runInThisContext()(requireLazily, module, pathToFileURL(path).href);
  const tries = known && script.cachedDataRejected === false ? known.tries : 0;
  return {
    ...module.exports,
    keepCode() {
      if (isKnownVerb && tries < TRIES && module.exports.hasWorked(verb))
        writeCode(folder, codePath, script.createCachedData(), tries + 1);
    },
  };
}

module.exports = { loadProgram };
