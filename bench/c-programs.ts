/** The suites of C programs: compiled, put into one guest for each engine, and run. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { compileKernels, compileKernels32, compileProcesses, hasProgram } from './compiler.ts';
import { coremarkProgram } from './coremark.ts';
import { kernelFile, writeInitramfs } from './guest-image.ts';
import { EXIT_CANNOT } from './lines.ts';
import type { BenchOptions } from './options.ts';
import { COREMARK_SUITE, PAGE_COST_SUITE, PROGRAMS, SUITES } from './program-list.ts';
import type { Measurement } from './result.ts';
import { prepareNative, QEMU_MAX, type Rival } from './rivals.ts';
import { median } from './statistics.ts';
import { type Outcome, runTournament } from './tournament.ts';

const isLinux = (name: string) => SUITES.some(suite => suite.name === name && suite.isLinux);

export async function measurePrograms(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
  say: (text: string) => void,
): Promise<Outcome> {
  const programs = PROGRAMS.filter(
    ({ suite, name }) =>
      options.suites.includes(suite) && (options.programs === undefined || options.programs.includes(name)),
  ).filter(({ suite }) => !options.isBare || !isLinux(suite));
  if (options.coremark !== undefined && options.programs?.includes(COREMARK_SUITE.name) !== false)
    programs.push(coremarkProgram(options.coremark));
  if (programs.length === 0) return { measurements: [], problems: [] };
  if (!hasProgram('gcc')) throw new Error('the programs need gcc');
  say(`compiling ${programs.length} programs`);
  const nativeFolder = join(folder, 'programs');
  mkdirSync(nativeFolder);
  await compileProcesses(programs, nativeFolder);
  await prepareNative(nativeFolder);
  const boot = {
    kernel: await kernelFile(folder, options.kernel),
    initramfs: await writeInitramfs(
      join(folder, 'initramfs'),
      programs.map(({ name }) => join(nativeFolder, name)),
    ),
    nativeFolder,
    ...(rivals.some(({ kind }) => kind === 'v86') && { bare32Folder: join(folder, 'bare32') }),
    ...(options.isBare && { bareFolder: join(folder, 'bare') }),
  };
  if (boot.bareFolder !== undefined) {
    mkdirSync(boot.bareFolder);
    await compileKernels(programs, boot.bareFolder);
  }
  const cannot32 = new Map<string, string>();
  for (const { suite, name } of programs)
    if (isLinux(suite)) cannot32.set(name, 'v86 has no x86-64 Linux below it');
  if (boot.bare32Folder !== undefined) {
    mkdirSync(boot.bare32Folder);
    const candidates = programs.filter(({ name }) => !cannot32.has(name));
    for (const [name, why] of await compileKernels32(candidates, boot.bare32Folder)) cannot32.set(name, why);
  }
  const tasks = programs.map(({ suite, name, count }) => ({
    suite,
    program: name,
    command: `${precondition(suite)}$BENCH/${name} ${Math.max(1, Math.round(count * options.scale))}`,
    impossible: (rival: Rival) => (rival.kind === 'v86' ? cannot32.get(name) : undefined),
    // CoreMark takes the interpreter more than a minute each time.
    isFor: (rival: Rival) =>
      (rival.name !== QEMU_MAX || needOf(suite) !== undefined) &&
      (suite !== COREMARK_SUITE.name || rival.name !== 'interpreter'),
  }));
  const outcome = await runTournament(tasks, {
    ...options,
    boot,
    rivals,
    options: { ...options, vcpus: 1 },
    say,
  });
  return { ...outcome, measurements: [...outcome.measurements, ...pageCosts(outcome.measurements)] };
}

const needOf = (name: string) => SUITES.find(suite => suite.name === name)?.needs;

/** Ends at once where the processor lacks what the programs of a suite need. */
function precondition(suite: string): string {
  const need = needOf(suite);
  if (need === undefined) return '';
  return `grep -qw ${need} /proc/cpuinfo || { echo its processor has no ${need}; exit ${EXIT_CANNOT}; }; `;
}

function pageCosts(measurements: readonly Measurement[]): Measurement[] {
  const page = measurements.filter(({ suite }) => suite === 'page');
  return page.flatMap(({ program, engine, samples }): Measurement[] => {
    const apart = page.find(each => each.engine === engine && each.program === 'apart');
    if (program !== 'shared' || !apart) return [];
    const base = median(apart.samples);
    const costs = samples.map(ms => ms / base);
    return [{ suite: PAGE_COST_SUITE, program, engine, unit: 'times', better: 'lower', samples: costs }];
  });
}
