/**
 * Parallel work: the same two programs at once in a guest with one vCPU and in a guest with two. What is compared is each engine
 * with itself: 2.00 is perfect.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { compileProcesses, hasProgram } from './compiler.ts';
import { kernelFile, writeInitramfs } from './guest-image.ts';
import type { BenchOptions } from './options.ts';
import { PROGRAMS } from './program-list.ts';
import type { Measurement } from './result.ts';
import { isUsual, prepareNative, type Rival } from './rivals.ts';
import { median } from './statistics.ts';
import { type Outcome, runTournament, type Task } from './tournament.ts';

export const SMP_SUITE = 'smp';
/** Programs that share nothing, and two that meet in the kernel. */
export const SMP_PROGRAMS: readonly string[] = ['sieve', 'matmul-double', 'page-fault', 'context-switch'];
const VCPUS = [1, 2];

/** Both at once; the check value covers both. Their own marks are kept from the host. */
const both = (program: string, count: number): string =>
  [
    'echo @begin',
    `{ $BENCH/${program} ${count} >/tmp/1 & $BENCH/${program} ${count} >/tmp/2; wait; }`,
    'echo @end',
    'echo @check $(grep -h check /tmp/1 /tmp/2 | cut -c 8-)',
  ].join('; ');

export async function measureSmp(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
  say: (text: string) => void,
): Promise<Outcome> {
  const programs = PROGRAMS.filter(
    ({ name }) => SMP_PROGRAMS.includes(name) && (options.programs?.includes(name) ?? true),
  );
  if (programs.length === 0) return { measurements: [], problems: [] };
  if (!hasProgram('gcc')) throw new Error('the programs need gcc');
  const nativeFolder = join(folder, 'smp');
  mkdirSync(nativeFolder);
  await compileProcesses(programs, nativeFolder);
  await prepareNative(nativeFolder);
  const files = programs.map(({ name }) => join(nativeFolder, name));
  const boot = {
    kernel: await kernelFile(folder, options.kernel),
    initramfs: await writeInitramfs(join(folder, 'smp-initramfs'), files),
    nativeFolder,
  };
  // The host has the processors that it has.
  const guests = rivals.filter(rival => isUsual(rival) && rival.kind !== 'native');
  const problems: Outcome['problems'][number][] = [];
  const times = new Map<string, readonly number[]>();
  for (const vcpus of VCPUS) {
    const tasks = programs.map(
      ({ name, count }): Task => ({
        suite: SMP_SUITE,
        program: `${name}, ${vcpus} vCPU${vcpus > 1 ? 's' : ''}`,
        command: both(name, Math.max(1, Math.round(count * options.scale))),
      }),
    );
    const outcome = await runTournament(tasks, {
      ...options,
      // Two processors that work at once take as much processor time as one after the other.
      clock: 'wall',
      boot,
      rivals: guests,
      options: { ...options, vcpus },
      say,
    });
    problems.push(...outcome.problems);
    for (const { program, engine, samples } of outcome.measurements)
      times.set(`${program}/${engine}`, samples);
  }
  // One measurement for each program: how many times faster two vCPUs are.
  const measurements = programs.flatMap(({ name }) =>
    guests.flatMap(({ name: engine }): Measurement[] => {
      const one = times.get(`${name}, 1 vCPU/${engine}`);
      const two = times.get(`${name}, 2 vCPUs/${engine}`);
      if (!one || !two) return [];
      const samples = two.map(ms => median(one) / ms);
      return [{ suite: SMP_SUITE, program: name, engine, unit: 'times', better: 'higher', samples }];
    }),
  );
  return { measurements, problems };
}
