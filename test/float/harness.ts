/**
 * What the floating-point tests share: the module compiled by itself, the oracle program, seeded operands. The oracle
 * is the host's processor through a small C program that is built with gcc at test time.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Signature } from '../../src/cpu/runtime/signatures.ts';
import { floatExports } from '../../src/cpu/runtime/signatures-float.ts';
import { SIMD_UNMASKED, Vcpu } from '../../src/cpu/vcpu/layout.ts';
import * as w from '../../src/cpu/wasm/code.ts';
import { Code } from '../../src/cpu/wasm/code.ts';
import { ModuleBuilder } from '../../src/cpu/wasm/module.ts';

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
  /** The SSE functions by address: see sseAdapter. */
  readonly sse: Record<string, (imm: number) => number>;
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
      '--disableWarning',
      '112',
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
  const adapter = new WebAssembly.Instance(new WebAssembly.Module(sseAdapter()), {
    env: { memory },
    float: instance.exports,
  });
  return {
    sse: adapter.exports as unknown as Record<string, (imm: number) => number>,
    exports: instance.exports as unknown as Record<string, Export>,
    view: new DataView(memory.buffer),
    u8: new Uint8Array(memory.buffer),
  };
}

/**
 * JavaScript cannot call functions of vectors. For each function of SSE, one that takes its operands from Place.a, b and
 * c, leaves the result in Place.dst, and returns vcpu.simdFault.
 */
function sseAdapter(): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(16);
  const { cpu, a, b, c, dst } = Place;
  const wanted = Object.entries<Signature>(floatExports).filter(([name]) => isSseFunction(name));
  const callees = wanted.map(([name, { params, result }]) => ({
    name,
    callee: module.importFunction('float', name, params, result ?? undefined),
  }));
  for (const { name, callee } of callees) {
    const code = new Code(['i32']);
    const operands = callee.params.slice(1).map((type, i) => {
      if (type === 'i32' && takesImmediate(name) && i === callee.params.length - 2) return code.parameter(0);
      const at = w.i32([a, b, c][i]!);
      return type === 'v128' ? w.loadV128(at) : w.load(type as 'i32' | 'i64', type === 'i64' ? 8 : 4, at);
    });
    const value = code.call(callee, w.i32(cpu), ...operands);
    code.store(value.type === 'i32' ? 4 : value.type === 'i64' ? 8 : 16, w.i32(dst), value);
    code.return(w.truth(w.and(w.load('i32', 4, w.i32(cpu), Vcpu.offsets.simdFault), w.i32(SIMD_UNMASKED))));
    code.unreachable();
    const adapted = module.declare(['i32'], 'i32');
    module.define(adapted, code);
    module.export(name, adapted);
  }
  return module.build() as Uint8Array<ArrayBuffer>;
}
const isSseFunction = (name: string): boolean =>
  /^(add|sub|mul|div|min|max|sqrt|addsub|dp|fma|rcp|rsqrt|u?comi|cmp|cvt|round)/.test(name) &&
  /([sp][sd]|2si\d\d|2(dq|pi|ps|pd|ph|sd|ss)|32ss|64s[sd])$/.test(name);
const takesImmediate = (name: string): boolean => /^(dp|fma|cmp|round|cvtps2ph)/.test(name);

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
