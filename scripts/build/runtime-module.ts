/**
 * Compiles src/cpu/runtime/assembly with the AssemblyScript compiler, when anything changed, and makes two modules of it: what is needed rarely is
 * in dist/rare-runtime.wasm, all else in dist/runtime.wasm (src/cpu/runtime/rare-functions.ts).
 */
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';
import binaryen from 'binaryen';
import { RARE_FUNCTIONS } from '../../src/cpu/runtime/rare-functions.ts';
import { RUNTIME_SIGNATURES } from '../../src/cpu/runtime/signatures-all.ts';
import { lateSection } from '../../src/cpu/wasm/late-module.ts';
import { RUNTIME_DATA_BASE } from '../../src/machine/memory.ts';
import { writeAnew } from './write-anew.ts';

const ENTRY = 'src/cpu/runtime/assembly/index.ts';
const OUTPUT = 'dist/runtime.wasm';
const RARE_OUTPUT = 'dist/rare-runtime.wasm';
const DIGEST = 'dist/runtime.digest';

/** The memory is machine memory: imported, shared, of whatever size the host chose. */
const OPTIONS = [
  ...['-O3', '--runtime', 'stub', '--noAssert', '--use', 'abort='],
  ...['--importMemory', '--sharedMemory', '--initialMemory', '32', '--maximumMemory', '65536'],
  ...['--memoryBase', String(RUNTIME_DATA_BASE)],
  // Else the zeros of large tables are in the module, and are written into each machine's memory.
  '--zeroFilledMemory',
  ...['--enable', 'threads', '--enable', 'simd', '--enable', 'bulk-memory'],
  // Addresses and sizes are both 32-bit integers here.
  ...['--disableWarning', '201'],
  // Vectors are exchanged with other modules, never with JavaScript.
  ...['--disableWarning', '112'],
];

const { Features } = binaryen;
const FEATURES =
  Features.Atomics |
  Features.BulkMemory |
  Features.MutableGlobals |
  Features.NontrappingFPToInt |
  Features.SignExt |
  Features.SIMD128;

function digestOfInputs(): string {
  const hash = createHash('sha256').update(JSON.stringify([OPTIONS, ...RARE_FUNCTIONS]));
  for (const file of globSync('src/cpu/runtime/assembly/**/*.ts').sort()) {
    hash.update(file).update('\0').update(readFileSync(file));
  }
  return hash.digest('hex');
}

export async function buildRuntimeModule(force: boolean): Promise<void> {
  const digest = digestOfInputs();
  const isThere = [OUTPUT, RARE_OUTPUT, DIGEST].every(file => existsSync(file));
  const current = isThere && readFileSync(DIGEST, 'utf8') === digest;
  if (current && !force) return;
  mkdirSync('dist', { recursive: true });
  const { error, stderr } = await asc.main([ENTRY, '--outFile', OUTPUT, ...OPTIONS]);
  const messages = stderr.toString();
  if (messages) process.stderr.write(messages);
  if (error) throw error;
  const whole = readFileSync(OUTPUT);
  const rare = partOf(whole, name => RARE_FUNCTIONS.has(name));
  writeAnew(RARE_OUTPUT, rare);
  writeFileSync(
    OUTPUT,
    partOf(whole, name => !RARE_FUNCTIONS.has(name), lateSection('rare-runtime', rare)),
  );
  writeFileSync(DIGEST, digest);
}

/** A module of these functions of the whole one, and what they need; their constants lie where they did. */
function partOf(
  whole: Uint8Array,
  isWanted: (name: string) => boolean,
  section?: ReturnType<typeof lateSection>,
): Uint8Array {
  const module = binaryen.readBinary(whole);
  module.setFeatures(FEATURES);
  for (const name of Object.keys(RUNTIME_SIGNATURES)) if (!isWanted(name)) module.removeExport(name);
  module.runPasses(['remove-unused-module-elements']);
  if (section) module.addCustomSection(...section);
  const bytes = module.emitBinary();
  module.dispose();
  return bytes;
}
