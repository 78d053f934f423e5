/** Compiles src/cpu/runtime/assembly to dist/runtime.wasm with the AssemblyScript compiler, when anything changed. */
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';
import { RUNTIME_DATA_BASE } from '../../src/machine/memory.ts';

const ENTRY = 'src/cpu/runtime/assembly/index.ts';
const OUTPUT = 'dist/runtime.wasm';
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

function digestOfInputs(): string {
  const hash = createHash('sha256').update(JSON.stringify(OPTIONS));
  for (const file of globSync('src/cpu/runtime/assembly/**/*.ts').sort()) {
    hash.update(file).update('\0').update(readFileSync(file));
  }
  return hash.digest('hex');
}

export async function buildRuntimeModule(force: boolean): Promise<void> {
  const digest = digestOfInputs();
  const current = existsSync(OUTPUT) && existsSync(DIGEST) && readFileSync(DIGEST, 'utf8') === digest;
  if (current && !force) return;
  mkdirSync('dist', { recursive: true });
  const { error, stderr } = await asc.main([ENTRY, '--outFile', OUTPUT, ...OPTIONS]);
  const messages = stderr.toString();
  if (messages) process.stderr.write(messages);
  if (error) throw error;
  writeFileSync(DIGEST, digest);
}
