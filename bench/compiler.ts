/** Compiles the programs of program-list.ts with gcc, anew for every run of the benchmark, several at a time. */
import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { mixedLoop } from './mixed-loop.ts';
import { COREMARK_SUITE, type Program, SUITES, sourceOf } from './program-list.ts';

const source = (name: string) => fileURLToPath(new URL(`./programs/${name}`, import.meta.url));
const SUPPORT = source('support/');

/** The same for all: what is compared is engines. Any x86-64 has these instructions; sums are not reordered. */
const FLAGS = [
  '-std=gnu11',
  '-march=x86-64',
  '-ffreestanding',
  '-nostdlib',
  '-static',
  '-fno-pie',
  '-no-pie',
  '-fno-stack-protector',
  '-fcf-protection=none',
  '-fno-asynchronous-unwind-tables',
  // Loops of ours must not become calls of memset and memcpy.
  '-fno-tree-loop-distribute-patterns',
  '-ffp-contract=off',
  '-Wl,--build-id=none,-z,noexecstack',
  '-I',
  SUPPORT,
];
const WARNINGS = ['-Wall', '-Wextra', '-Werror'];

/** Everything of a program but what starts it. */
function programWords(program: Program, output: string): string[] {
  const { optimize, flags = [] } = [...SUITES, COREMARK_SUITE].find(suite => suite.name === program.suite)!;
  const words = [optimize, ...FLAGS, ...flags, ...(program.defines ?? []).map(define => `-D${define}`)];
  words.push(...(program.foreign ? ['-w', ...program.foreign.flags, ...program.foreign.files] : WARNINGS));
  if (program.isLoop) {
    const mixed = `${output}.S`;
    writeFileSync(mixed, mixedLoop());
    words.push(source('loops/loops.S'), mixed);
  }
  return [
    ...words,
    sourceOf(program),
    ...['run.c', 'memory.c'].map(name => join(SUPPORT, name)),
    '-o',
    output,
  ];
}

async function gcc(words: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)('gcc', words, { timeout: 60_000 });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error(`gcc: ${stderr?.trim() || message}`);
  }
}

async function inParallel<T>(items: readonly T[], task: (item: T) => Promise<void>): Promise<void> {
  const rest = [...items];
  const worker = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) await task(next);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

/** The programs as static Linux executables `folder/NAME`. */
export const compileProcesses = (programs: readonly Program[], folder: string): Promise<void> =>
  inParallel(programs, program =>
    gcc([...programWords(program, join(folder, program.name)), join(SUPPORT, 'process.c')]),
  );

const linkerScript = ['-T', join(SUPPORT, 'bare.ld')];

/** The programs as kernels `folder/NAME` with a PVH entry, at 1 MiB, without a system below them. */
export const compileKernels = (programs: readonly Program[], folder: string): Promise<void> =>
  inParallel(programs, program => {
    const start = ['bare-start.S', 'bare.c'].map(name => join(SUPPORT, name));
    const words = [...programWords(program, join(folder, program.name)), '-DPORT=0xe9', '-mno-red-zone'];
    return gcc([...words, ...linkerScript, ...start]);
  });

/**
 * The programs as 32-bit Multiboot kernels `folder/NAME`, with SSE2 for floating point, so that results are the same bits. Gives
 * the reasons of those that cannot be.
 */
export async function compileKernels32(
  programs: readonly Program[],
  folder: string,
): Promise<ReadonlyMap<string, string>> {
  const reasons = new Map<string, string>();
  const start = ['bare32-start.S', 'bare.c', 'divide32.c'].map(name => join(SUPPORT, name));
  await inParallel(programs, async program => {
    const words = programWords(program, join(folder, program.name)).filter(word => word !== '-march=x86-64');
    // v86 is three times slower at CoreMark when -O2 finds something to vectorize there: it gets its best.
    const vectors = words.includes('-O3') ? [] : ['-fno-tree-vectorize'];
    const target = ['-m32', '-march=pentium4', '-mfpmath=sse', ...vectors, '-DPORT=0x3f8'];
    if (program.isLoop) reasons.set(program.name, 'written in 64-bit assembler');
    else {
      await gcc([...words, ...target, ...linkerScript, ...start]).catch((error: Error) => {
        const reason = /error: (.*)/.exec(error.message)?.[1] ?? error.message;
        reasons.set(program.name, `does not compile for 32 bits: ${reason}`);
      });
    }
  });
  return reasons;
}

export function hasProgram(name: string): boolean {
  try {
    execFileSync(name, ['--version'], { stdio: 'ignore', timeout: 10_000 });
    return true;
  } catch {
    return false;
  }
}
