/**
 * Loads the bundle of the command, dist/program.cjs, with the code that V8 made of it in earlier runs. Node keeps code of modules, too, but
 * takes it right after compiling, when V8 has compiled no function but the outermost: each run then compiled again whatever it
 * called. Here it is taken at the end of a run and holds what was called. There is one for each verb, as each calls other functions, made
 * anew by the first few runs, which are not all alike. A verb without one has that of `run`.
 *
 *     program/<the bundle's name for itself>-<verb>    CodeHeader | code
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { crc32 } from 'node:zlib';
import { defaultCacheFolder } from './cache-folder.js';
import { FLAGS, STACK_CHECKS } from './v8-flags.js';

/** Runs of a verb that make its code anew. */
const TRIES = 4;
/** Files that stay. */
const KEPT = 40;
/** Number of the run that made it and CRC-32 of the code, u32 each. */
const HEADER_BYTES = 8;
const OTHERS_MAY_WRITE = 0o022;

/** Modules of Node that take time to load, and that most commands never use: they are loaded when something of them is. */
const RARE = new Set(
  [
    'child_process',
    'dgram',
    'dns',
    'net',
    'stream',
    'stream/promises',
    'timers/promises',
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

/** The code at `path` and the number of the run that made it, if it is the user's own and whole. */
function readCode(path) {
  try {
    const { uid, mode } = statSync(path);
    const isOwn =
      process.getuid === undefined || (uid === process.getuid() && (mode & OTHERS_MAY_WRITE) === 0);
    if (!isOwn) return undefined;
    const file = readFileSync(path);
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
export function loadProgram(path, verb) {
  for (const flag of [`--no-${STACK_CHECKS}`, ...FLAGS]) setFlagsFromString(flag);
  // esbuild writes nothing but ASCII.
  const source = readFileSync(path, 'latin1');
  const [, name = ''] = /^\/\/ (\w+)\n/.exec(source.slice(0, 100)) ?? [];
  const folder = join(defaultCacheFolder(), 'program');
  const codePath = join(folder, `${name}-${verb}`);
  const isKnownVerb = name !== '' && /^[a-z][a-z-]{0,30}$/.test(verb ?? '');
  const known = isKnownVerb ? readCode(codePath) : undefined;
  const code = known?.code ?? (name === '' ? undefined : readCode(join(folder, `${name}-run`))?.code);
  const script = new Script(source, { filename: path, cachedData: code });
  const require = createRequire(path);
  const module = { exports: {} };
  const requireLazily = id => (RARE.has(id) ? lazily(() => require(id)) : require(id));
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
