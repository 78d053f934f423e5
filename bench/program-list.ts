/**
 * The programs that run as processes of a guest, by suite. A program is `programs/SUITE/SOURCE.c`; what it does is the first
 * comment of that file. Counts are units of work that take QEMU TCG about 0.7 s on the machine of docs/benchmarks.md.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Program {
  readonly suite: string;
  readonly name: string;
  readonly count: number;
  /** File name without `.c` where it is not the program's name; with a folder where that is not the suite's. */
  readonly source?: string;
  /** For the preprocessor. */
  readonly defines?: readonly string[];
  /** Is linked with the loops in assembler. */
  readonly isLoop?: boolean;
  /** Where the source's first comment does not say it. */
  readonly about?: string;
  /** Other people's sources, by full path, compiled with these further flags and without warnings. */
  readonly foreign?: { readonly files: readonly string[]; readonly flags: readonly string[] };
}

export interface Suite {
  readonly name: string;
  readonly title: string;
  /** Of gcc. Loops over arrays become packed SSE instructions with -O3. */
  readonly optimize: '-O2' | '-O3';
  /** More for gcc. */
  readonly flags?: readonly string[];
  /** Needs Linux below it: such a program cannot run bare. */
  readonly isLinux: boolean;
  /** A flag of /proc/cpuinfo that the guest's processor must have. */
  readonly needs?: string;
}

export const SUITES: readonly Suite[] = [
  { name: 'integer', title: 'Integer', optimize: '-O2', isLinux: false },
  { name: 'float', title: 'Floating point', optimize: '-O3', isLinux: false },
  {
    name: 'avx',
    title: 'AVX2, FMA and BMI2',
    optimize: '-O3',
    flags: ['-march=x86-64-v3', '-ffp-contract=fast'],
    isLinux: true,
    needs: 'avx2',
  },
  { name: 'x87', title: 'Floating point, 80 bits (x87)', optimize: '-O2', isLinux: false },
  { name: 'memory', title: 'Memory', optimize: '-O3', isLinux: false },
  { name: 'branch', title: 'Branches and calls', optimize: '-O2', isLinux: false },
  { name: 'system', title: 'System', optimize: '-O2', isLinux: true },
  { name: 'loops', title: 'Loops of one kind of instruction', optimize: '-O2', isLinux: false },
  { name: 'page', title: 'Code and data in one page', optimize: '-O2', isLinux: true },
];

const suite = (name: string, programs: readonly Omit<Program, 'suite'>[]): Program[] =>
  programs.map(program => ({ suite: name, ...program }));

const loop = (name: string, count: number, about: string): Omit<Program, 'suite'> => ({
  name: name.replace('_', '-'),
  count,
  about,
  source: 'loop',
  defines: [`LOOP=loop_${name}`],
  isLoop: true,
});

export const PROGRAMS: readonly Program[] = [
  ...suite('integer', [
    { name: 'bignum', count: 130_000 },
    { name: 'bytecode', count: 10_000 },
    { name: 'crc32', count: 2_200 },
    { name: 'dijkstra', count: 2_500 },
    { name: 'fourfold', count: 12_000 },
    { name: 'hash-table', count: 2_000 },
    { name: 'json', count: 4_200 },
    { name: 'lz', count: 1_100 },
    { name: 'queens', count: 18_000 },
    { name: 'quicksort', count: 900 },
    { name: 'sha256', count: 4_800 },
    { name: 'sieve', count: 1_300 },
    { name: 'strings', count: 20_000 },
  ]),
  ...suite('float', [
    { name: 'convert', count: 22_000 },
    { name: 'daxpy', count: 18_000 },
    { name: 'fft', count: 1_500 },
    { name: 'mandelbrot', count: 280 },
    { name: 'matmul-double', count: 31 },
    { name: 'matmul-single', count: 12 },
    { name: 'n-body', count: 400_000 },
    { name: 'newton', count: 1_800_000 },
    { name: 'spectral', count: 2_700 },
  ]),
  ...suite('avx', [
    { name: 'avx-bignum', source: 'integer/bignum', count: 130_000 },
    { name: 'avx-convert', source: 'float/convert', count: 22_000 },
    { name: 'avx-daxpy', source: 'float/daxpy', count: 18_000 },
    { name: 'avx-fft', source: 'float/fft', count: 1_500 },
    { name: 'avx-matmul-double', source: 'float/matmul-double', count: 31 },
    { name: 'avx-matmul-single', source: 'float/matmul-single', count: 12 },
    { name: 'avx-sha256', source: 'integer/sha256', count: 4_800 },
  ]),
  ...suite('x87', [
    { name: 'dot-product', count: 24_000 },
    { name: 'polynomial', count: 720_000 },
  ]),
  ...suite('memory', [
    { name: 'chase-16k', source: 'chase', defines: ['BYTES=0x4000'], count: 180_000 },
    { name: 'chase-512k', source: 'chase', defines: ['BYTES=0x80000'], count: 95_000 },
    { name: 'chase-16m', source: 'chase', defines: ['BYTES=0x1000000'], count: 1_500 },
    { name: 'columns', count: 300 },
    { name: 'random-update', count: 4_000 },
    { name: 'stream', count: 12 },
    { name: 'string-instructions', count: 5_000 },
  ]),
  ...suite('branch', [
    { name: 'deep-recursion', count: 180_000 },
    { name: 'fibonacci', count: 17_000 },
    { name: 'longjmp', count: 2_200_000 },
    { name: 'state-machine', count: 27_000 },
    { name: 'unpredictable', count: 49_000 },
    { name: 'virtual-calls', count: 96_000 },
  ]),
  ...suite('system', [
    { name: 'context-switch', count: 11_000 },
    { name: 'exec', count: 630 },
    { name: 'files', count: 11_000 },
    { name: 'fork', count: 2_000 },
    { name: 'mprotect', count: 46_000 },
    { name: 'null-syscall', count: 1_700_000 },
    { name: 'page-fault', count: 290 },
    { name: 'pipe', count: 5_400 },
    { name: 'signal', count: 110_000 },
  ]),
  ...suite('loops', [
    loop('alu', 62_000_000, 'register arithmetic'),
    loop('branch', 32_000_000, 'unpredictable branches'),
    loop('call', 15_000_000, 'calls and returns'),
    loop('chase', 8_000_000, 'dependent loads over 1 MiB'),
    loop('memory', 14_000_000, 'loads and stores of all sizes within 4 KiB'),
    loop('mixed', 170_000, '4,000 different instructions in a row, which no predictor knows by heart'),
    loop('muldiv', 29_000_000, '64-bit multiply and divide'),
    loop('sse_double', 2_300_000, 'SSE double'),
    loop('sse_int', 6_000_000, 'SSE integer'),
    loop('string', 53_000, 'string instructions, 4 KiB each'),
  ]),
  ...suite('page', [
    { name: 'apart', source: 'counters', defines: ['SHARED=0'], count: 8_000 },
    { name: 'shared', source: 'counters', defines: ['SHARED=1'], count: 8_000 },
    { name: 'jit', count: 8_000 },
  ]),
];

/** How much longer `page/shared` takes than `page/apart`, each engine against itself. */
export const PAGE_COST_SUITE = 'page-cost';

/** Reached by --coremark DIR only: its sources are the user's. */
export const COREMARK_SUITE: Suite = {
  name: 'coremark',
  title: 'CoreMark',
  optimize: '-O2',
  isLinux: false,
};

export function sourceOf({ suite, source = '', name }: Program): string {
  const path = source.includes('/') ? source : `${suite}/${source || name}`;
  return fileURLToPath(new URL(`./programs/${path}.c`, import.meta.url));
}

export function aboutProgram(program: Program): string {
  if (program.about !== undefined) return program.about;
  const text = /^\/\*([\s\S]*?)\*\//.exec(readFileSync(sourceOf(program), 'utf8'))?.[1] ?? '';
  return text.replace(/\s*\n\s*\*?\s*/g, ' ').trim();
}
