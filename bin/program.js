/**
 * Loads the bundle of the command, dist/program.cjs and the other parts of it when something of them is needed (scripts/build/program-parts.ts), with the code that V8
 * made of them in earlier runs. Node keeps code of modules, too, but takes it right after compiling, when V8 has compiled no function but the
 * outermost: each run then compiled again whatever it called. Here it is taken at the end of a run and holds what was called. There is one for
 * each verb and part, as each verb calls other functions, made anew by the first few runs, which are not all alike. A verb without one has that of `run`.
 *
 *     program/<the bundle's name for itself>-<verb>-<part>    CodeHeader | code
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
const { basename, dirname, join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');
const { crc32 } = require('node:zlib');
const { defaultCacheFolder } = require('./cache-folder.js');
const { FLAGS, STACK_CHECKS } = require('./v8-flags.js');

/** The part that is loaded first, and the chunk of it where src/cli/main.ts is. */
const FIRST = 'program';
const MAIN = `${FIRST}/main`;
/** Runs that make the code of a part anew, each from that of the one before. */
const TRIES = 4;
/** After so many one begins from nothing: the first boot a guest and make images, which later ones need not. */
const ANEW = 2;
/** Files that stay. */
const KEPT = 80;
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

/** Of a verb: its parts of the program that are loaded, with what V8 made of them. */
class Parts {
  #path;
  #verb;
  #name;
  #folder = join(defaultCacheFolder(), 'program');
  #scripts = new Map();

  /** @param path of the first */
  constructor(path, verb) {
    this.#path = path;
    this.#verb = /^[a-z][a-z-]{0,30}$/.test(verb ?? '') ? verb : undefined;
  }

  /** What the script of a part comes to: a function. @param isNeeded it is about to be called, so that what V8 makes of it is worth to be kept */
  load(part, isNeeded = true) {
    const path = part === FIRST ? this.#path : this.#path.replace(/\.cjs$/, `-${part}.cjs`);
    // esbuild writes nothing but ASCII.
    const source = read(path, false).latin1Slice();
    const [, name] = /^\/\/ (\w+)\n/.exec(source.slice(0, 100)) ?? [];
    if (this.#scripts.size > 0 && name !== this.#name)
      throw Object.assign(new Error(`${path} is of another build than what runs`), {
        code: 'E_STALE_BUILD',
        remedy: 'start domus again',
      });
    this.#name = name;
    const isKept = isNeeded && name !== undefined && this.#verb !== undefined;
    const codePath = join(this.#folder, `${name}-${this.#verb}-${part}`);
    const known = isKept ? readCode(codePath) : undefined;
    const tries = known?.tries ?? 0;
    const other =
      name === undefined || known ? undefined : readCode(join(this.#folder, `${name}-run-${part}`));
    const cachedData = tries === ANEW ? undefined : (known ?? other)?.code;
    const script = new Script(source, { filename: path, cachedData });
    const isOwn = known !== undefined && !script.cachedDataRejected;
    this.#scripts.set(codePath, { script, tries: isOwn ? tries : 0, isKept });
    return script.runInThisContext();
  }

  /** Names of all but the first. */
  rest() {
    const begin = `${basename(this.#path, '.cjs')}-`;
    const names = readdirSync(dirname(this.#path)).filter(
      name => name.startsWith(begin) && name.endsWith('.cjs'),
    );
    return names.map(name => name.slice(begin.length, -'.cjs'.length));
  }

  keepCode() {
    for (const [path, { script, tries, isKept }] of this.#scripts)
      if (isKept && tries < TRIES) writeCode(this.#folder, path, script.createCachedData(), tries + 1);
  }
}

/**
 * @param path of the bundle's first part
 * @param verb what the command line begins with
 * @returns what src/cli/main.ts exports, and `keepCode`, to be called at the end
 */
function loadProgram(path, verb) {
  for (const flag of [`--no-${STACK_CHECKS}`, ...FLAGS]) setFlagsFromString(flag);
  const parts = new Parts(path, verb);
  const requireThere = createRequire(path);
  const modules = new Map();
  const requireOnce = id => {
    let module = modules.get(id);
    if (module === undefined) {
      module = RARE.has(id) ? lazily(() => requireThere(id)) : requireThere(id);
      modules.set(id, module);
    }
    return module;
  };
  /** The chunks of the parts that are loaded, and of each chunk whose modules are evaluated what it exports. */
  const chunks = new Map();
  const evaluated = new Map();
  const url = pathToFileURL(path).href;
  const load = address => {
    let exports = evaluated.get(address);
    if (exports === undefined) {
      const [part, chunk] = address.split('/');
      if (!chunks.has(part)) chunks.set(part, parts.load(part)(requireOnce, load, url));
      exports = chunks.get(part)[chunk]();
      evaluated.set(address, exports);
    }
    return exports;
  };
  const { endProcess, main, hasWorked } = load(MAIN);
  return {
    endProcess,
    main,
    /** For a process that stays: by the time it needs one of the other parts, another version may be in their place. */
    loadRest() {
      try {
        for (const part of parts.rest())
          if (!chunks.has(part)) chunks.set(part, parts.load(part, false)(requireOnce, load, url));
      } catch {
        // It is there already: whoever needs one will hear of it.
      }
    },
    keepCode() {
      if (hasWorked(verb)) parts.keepCode();
    },
  };
}

module.exports = { loadProgram };
