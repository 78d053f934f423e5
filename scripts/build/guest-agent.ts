/** Compiles src/image/guest-agent/assembly to dist/guest-agent, a static program for guests, when anything changed. */
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import asc from 'assemblyscript/asc';
import { compileWasm } from './elf/compile.ts';
import { readWasm } from './elf/reader.ts';
import { TEXT_OFFSET, writeElf } from './elf/write.ts';

const FOLDER = 'src/image/guest-agent/assembly';
const OUTPUT = 'dist/guest-agent';
const DIGEST = 'dist/guest-agent.digest';
/** system.ts has the second one too. */
const LAYOUT = { textAddress: 0x400000 + TEXT_OFFSET, memoryAddress: 0x1000_0000 };
const OPTIONS = [
  ...['-O2', '--runtime', 'stub', '--noAssert', '--use', 'abort='],
  ...['--initialMemory', '80', '--maximumMemory', '80', '--enable', 'bulk-memory'],
  ...['--disable', 'nontrapping-f2i', '--disableWarning', '201'],
];

function digestOfInputs(): string {
  const hash = createHash('sha256').update(JSON.stringify([OPTIONS, LAYOUT]));
  for (const file of [...globSync(`${FOLDER}/*.ts`), ...globSync('scripts/build/elf/*.ts')].sort()) {
    hash.update(file).update('\0').update(readFileSync(file));
  }
  return hash.digest('hex');
}

export async function buildGuestAgent(force: boolean): Promise<void> {
  const digest = digestOfInputs();
  const current = existsSync(OUTPUT) && existsSync(DIGEST) && readFileSync(DIGEST, 'utf8') === digest;
  if (current && !force) return;
  const module: Uint8Array[] = [];
  const { error, stderr } = await asc.main([`${FOLDER}/index.ts`, '--outFile', 'agent.wasm', ...OPTIONS], {
    writeFile: (_name, contents) => {
      module.push(typeof contents === 'string' ? new TextEncoder().encode(contents) : contents);
    },
  });
  const messages = stderr.toString();
  if (messages) process.stderr.write(messages);
  if (error) throw error;
  mkdirSync('dist', { recursive: true });
  writeFileSync(OUTPUT, writeElf(compileWasm(readWasm(module[0]!), LAYOUT), LAYOUT), { mode: 0o755 });
  writeFileSync(DIGEST, digest);
}
