/**
 * What the floating-point tests share: the module compiled by itself, the oracle program, seeded operands. The oracle
 * is the host's processor through a small C program that is built with gcc at test time.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Vcpu } from '../../src/cpu/vcpu/layout.ts';

export const FULL = process.env.DOMUS_TEST_FULL === '1';
const ROOT = join(import.meta.dirname, '../..');

/** Why the tests cannot run here, or undefined. */
export function missingTools(): string | undefined {
  if (process.arch !== 'x64') return `the oracle is an x86-64 processor, this is ${process.arch}`;
  if (spawnSync('gcc', ['--version']).status !== 0) return 'gcc is missing (install: apt install gcc)';
  return undefined;
}

/** Where the tests put things in the module's memory; below it is the module's static data. */
export const Place = {
  cpu: 0x2_0000,
  a: 0x3_0000,
  b: 0x3_0010,
  c: 0x3_0020,
  dst: 0x3_0040,
  image: 0x3_0100,
  out: 0x3_0200,
  memory: 0x3_0300,
} as const;

export type Export = (...operands: (number | bigint)[]) => number | bigint | undefined;
export interface FloatModule {
  readonly exports: Record<string, Export>;
  readonly view: DataView;
  readonly u8: Uint8Array;
}

/** A temporary directory that is removed when the process ends. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'domus-float-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Compile float/index.ts alone, with layout constants of its own, and instantiate it. */
export function buildFloatModule(directory: string): FloatModule {
  const source = join(ROOT, 'src/cpu/runtime/assembly/float');
  const copy = join(directory, 'assembly');
  mkdirSync(join(copy, 'generated'), { recursive: true });
  execFileSync('cp', ['-r', source, copy]);
  const constants = Object.entries(Vcpu.offsets).map(
    ([name, offset]) => `export const VCPU_${name}: usize = ${offset};`,
  );
  writeFileSync(join(copy, 'generated/layout.ts'), constants.join('\n'));
  const output = join(directory, 'float.wasm');
  execFileSync(process.execPath, [
    join(ROOT, 'node_modules/assemblyscript/bin/asc.js'),
    join(copy, 'float/index.ts'),
    ...[
      '--runtime',
      'stub',
      '-O3',
      '--noAssert',
      '--importMemory',
      '--sharedMemory',
      '--memoryBase',
      '65536',
    ],
    ...[
      '--initialMemory',
      '16',
      '--maximumMemory',
      '16',
      '--enable',
      'threads,simd,bulk-memory',
      '-o',
      output,
    ],
  ]);
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true });
  const module = new WebAssembly.Module(readFileSync(output));
  const instance = new WebAssembly.Instance(module, {
    env: {
      memory,
      abort: () => {
        throw new Error('abort in the module');
      },
    },
  });
  return {
    exports: instance.exports as unknown as Record<string, Export>,
    view: new DataView(memory.buffer),
    u8: new Uint8Array(memory.buffer),
  };
}

export function buildOracle(directory: string, name: string): string {
  const output = join(directory, name);
  execFileSync('gcc', ['-O0', '-w', '-o', output, join(ROOT, `test/float/${name}.c`)]);
  return output;
}

export function runOracle(program: string, input: Uint8Array): DataView<ArrayBuffer> {
  const run = spawnSync(program, { input, maxBuffer: 1 << 30 });
  if (run.status !== 0)
    throw new Error(`oracle ${program}: ${run.signal ?? run.status} ${run.stderr.toString()}`);
  return new DataView(new Uint8Array(run.stdout).buffer);
}

/** xorshift32: the same operands in every run. */
export function generator(seed: number): () => number {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
