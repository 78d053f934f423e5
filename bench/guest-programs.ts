/** Compiles the benchmark guest (a PVH kernel) and its native twin with gcc, anew for every run. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mixedLoop } from './mixed-loop.ts';

export interface GuestPrograms {
  /** ELF file with a PVH entry. */
  readonly guest: string;
  readonly native: string;
}

export const source = (name: string) => fileURLToPath(new URL(`./guest/${name}`, import.meta.url));
export const COMMON = [
  '-O2',
  '-std=gnu11',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-march=x86-64',
  '-fno-pie',
  '-no-pie',
];
/** Freestanding code at a fixed address below 2 GiB. */
export const FREESTANDING = [
  '-ffreestanding',
  '-nostdlib',
  '-static',
  '-mno-red-zone',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fcf-protection=none',
  '-Wl,--build-id=none',
];

export function run(command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 60_000 });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer };
    throw new Error(stderr?.length ? `${command}: ${stderr.toString().trim()}` : message);
  }
}

export function hasProgram(name: string): boolean {
  try {
    execFileSync(name, ['--version'], { stdio: 'ignore', timeout: 10_000 });
    return true;
  } catch {
    return false;
  }
}

export function inScratchFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'domus-bench-'));
  return use(folder).finally(() => rmSync(folder, { recursive: true, force: true }));
}

export function linkGuest(folder: string, name: string, args: readonly string[]): string {
  const output = join(folder, name);
  run('gcc', [
    ...COMMON,
    ...FREESTANDING,
    '-T',
    source('guest.ld'),
    '-o',
    output,
    source('start.S'),
    ...args,
  ]);
  return output;
}

export function buildGuestPrograms(folder: string): GuestPrograms {
  const mixed = join(folder, 'mixed.S');
  writeFileSync(mixed, mixedLoop());
  // One set of objects for both: the very same instructions run everywhere.
  const objects = ['loops.S', 'fourfold.c', 'workloads.c'].map(name => {
    const object = join(folder, `${name}.o`);
    run('gcc', [...COMMON, ...FREESTANDING, '-c', '-o', object, source(name)]);
    return object;
  });
  const native = join(folder, 'native');
  run('gcc', [...COMMON, '-o', native, source('native.c'), ...objects, mixed]);
  return { guest: linkGuest(folder, 'guest.elf', [source('guest.c'), ...objects, mixed]), native };
}
