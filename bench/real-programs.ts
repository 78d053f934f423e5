/** Programs of Debian's packages at work in the guest (programs/real/run.sh), and as the same files on the host. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CpioEntry, readCpio } from '../src/image/archive/cpio.ts';
import { kernelFile, writeInitramfs } from './guest-image.ts';
import type { BenchOptions } from './options.ts';
import { obtainPackages } from './packages.ts';
import { ALL, type Problem } from './result.ts';
import { isUsual, type Rival } from './rivals.ts';
import { type Outcome, runTournament } from './tournament.ts';

export const REAL_SUITE = 'real';
export const REAL_PACKAGES = [
  'gzip',
  'xz-utils',
  'zstd',
  'openssl',
  'python3-minimal',
  'perl-base',
  'sqlite3',
  'cpp',
];

export interface RealProgram {
  readonly name: string;
  readonly about: string;
  /** Bytes, rows or rounds: about 0.7 s on QEMU. */
  readonly count: number;
}

export const REAL_PROGRAMS: readonly RealProgram[] = [
  { name: 'gzip', about: 'gzip -6 of words', count: 3_500_000 },
  { name: 'gunzip', about: 'gzip -d, twice', count: 12_000_000 },
  { name: 'xz', about: 'xz -1 of words', count: 1_200_000 },
  { name: 'unxz', about: 'xz -d', count: 6_000_000 },
  { name: 'zstd', about: 'zstd -3 of words', count: 9_000_000 },
  { name: 'unzstd', about: 'zstd -d', count: 32_000_000 },
  {
    name: 'openssl-sha256',
    about: 'openssl dgst -sha256 (scalar and SSE2 code only)',
    count: 40_000_000,
  },
  { name: 'openssl-aes', about: 'openssl enc -aes-128-ctr (scalar and SSE2 code only)', count: 22_000_000 },
  { name: 'python', about: 'python3: objects, dictionaries, lists, strings, integers', count: 18 },
  { name: 'perl', about: 'perl: words, patterns, substitutions', count: 10 },
  { name: 'sqlite', about: 'sqlite3: inserts, indexes, joins, groups, in memory', count: 11_000 },
  { name: 'gcc', about: "gcc's cc1 -O1 of a small file", count: 2 },
];

/** The file system takes 90 MiB of it, twice while it is unpacked. */
const MEMORY_MIB = 512;
const TEXT_BYTES = 4_000_000;
const source = (name: string) =>
  readFileSync(fileURLToPath(new URL(`./programs/real/${name}`, import.meta.url)));

/** Lines of words drawn with a fixed seed: frequent ones, rare ones, numbers. */
export function words(sizeBytes: number): Uint8Array {
  const common =
    'the of and a to in he was that it his her with as had for she not at but be on they have him'.split(' ');
  const rare = 'house horse bread wine guest window stone river candle morning letter garden bridge'.split(
    ' ',
  );
  const out = new Uint8Array(sizeBytes);
  const encoder = new TextEncoder();
  let state = 12345;
  const draw = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let at = 0;
  for (let column = 0; at < sizeBytes; ) {
    const kind = draw(16);
    const word =
      kind < 9
        ? common[draw(common.length)]!
        : kind < 14
          ? rare[draw(rare.length)]! + (draw(3) === 0 ? 's' : '')
          : String(draw(100_000));
    column += word.length + 1;
    const end = column > 70 ? '\n' : draw(12) === 0 ? ', ' : ' ';
    if (column > 70) column = 0;
    at += encoder.encodeInto(word + end, out.subarray(at)).written || sizeBytes;
  }
  return out;
}

/** What the programs read, as files of a guest. */
export function realFiles(): CpioEntry[] {
  const file = (name: string, data: Uint8Array): CpioEntry => ({
    type: 'file',
    name: `bench/${name}`,
    mode: 0o755,
    data,
  });
  return [
    ...['run.sh', 'work.py', 'work.pl', 'work.sql', 'unit.c'].map(name => file(name, source(name))),
    file('text', words(TEXT_BYTES)),
  ];
}

/**
 * The guest's file system as a folder of the host, for running the same programs natively below it. Devices become empty
 * files: /dev/null is all that is asked for.
 */
export function unpackRoot(initramfs: Uint8Array, folder: string): void {
  for (const entry of readCpio(initramfs)) {
    if (entry.name.split('/').includes('..')) throw new Error(`a package has a file ${entry.name}`);
    const path = join(folder, entry.name);
    if (entry.type === 'directory') {
      mkdirSync(path, { recursive: true });
      continue;
    }
    mkdirSync(dirname(path), { recursive: true });
    // Later entries replace earlier ones: a program its applet of busybox.
    rmSync(path, { force: true });
    if (entry.type === 'symlink') symlinkSync(entry.target, path);
    else
      writeFileSync(path, entry.type === 'file' ? entry.data : '', {
        mode: entry.type === 'file' ? entry.mode : 0o666,
      });
  }
}

const everything = { suite: REAL_SUITE, program: ALL, isFailure: false };

export async function measureReal(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
  say: (text: string) => void,
): Promise<Outcome> {
  const programs = REAL_PROGRAMS.filter(({ name }) => options.programs?.includes(name) ?? true);
  if (programs.length === 0) return { measurements: [], problems: [] };
  let packages: readonly CpioEntry[];
  try {
    packages = await obtainPackages(REAL_PACKAGES, say);
  } catch (error) {
    const why = (error as Error).message;
    return { measurements: [], problems: [{ ...everything, engine: ALL, why }] };
  }
  const initramfs = await writeInitramfs(join(folder, 'real-initramfs'), [], [...packages, ...realFiles()]);
  const nativeFolder = join(folder, 'root');
  const problems: Problem[] = [];
  const able = rivals.filter(rival => {
    if (rival.kind !== 'native') return isUsual(rival);
    unpackRoot(readFileSync(initramfs), nativeFolder);
    const why = cannotChangeRoot(nativeFolder);
    if (why !== undefined) problems.push({ ...everything, engine: rival.name, why });
    return why === undefined;
  });
  const tasks = programs.map(({ name, count }) => ({
    suite: REAL_SUITE,
    program: name,
    command: `sh $BENCH/run.sh ${name} ${Math.max(1, Math.round(count * options.scale))}`,
  }));
  const boot = { kernel: await kernelFile(folder, options.kernel), initramfs, nativeFolder, isRoot: true };
  const machine = { ...options, memoryMib: Math.max(options.memoryMib, MEMORY_MIB), vcpus: 1 };
  const outcome = await runTournament(tasks, { ...options, boot, rivals: able, options: machine, say });
  return { ...outcome, problems: [...problems, ...outcome.problems] };
}

/** Why this user may not run programs below another root; undefined when it works. */
function cannotChangeRoot(folder: string): string | undefined {
  try {
    execFileSync('unshare', ['-r', '-R', folder, '/bin/busybox', 'true'], { stdio: 'pipe', timeout: 10_000 });
    return undefined;
  } catch (error) {
    return `cannot run below a root of its own: ${(error as Error).message.split('\n').at(-1)}`;
  }
}
