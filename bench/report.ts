/** Turns a result into tables. A ratio is another's time by ours: above 1 means that Domus is faster. */

import { DISK_PROGRAMS, DISK_SUITE } from './fio.ts';
import { COREMARK_SUITE, PAGE_COST_SUITE, PROGRAMS, SUITES } from './program-list.ts';
import { QUEUES_SUITE } from './queues.ts';
import { REAL_PROGRAMS, REAL_SUITE } from './real-programs.ts';
import { ALL, type Measurement, type Problem, type Result } from './result.ts';
import { SAVES_SIZE_SUITE, SAVES_SUITE } from './saves.ts';
import { SMP_SUITE } from './smp.ts';
import { figure, geometricMean, median } from './statistics.ts';
import type { Table } from './table.ts';

const OTHERS: Readonly<Record<string, string>> = {
  qemu: 'QEMU TCG',
  'qemu-max': 'QEMU -cpu max',
  'qemu-pvh': 'QEMU, PVH entry',
  'qemu-microvm': 'QEMU microvm',
  v86: 'v86',
  native: 'native',
};
const IN_SUMMARY = ['qemu', 'qemu-max', 'v86', 'native'];
export const isDomus = (engine: string) => OTHERS[engine] === undefined;
export const label = (engine: string) => OTHERS[engine] ?? engine;
const unique = <T>(values: readonly T[]): T[] => [...new Set(values)];

const TITLES = new Map([
  ...[...SUITES, COREMARK_SUITE].map(({ name, title }) => [name, title] as const),
  [REAL_SUITE, "Programs of Debian's packages"],
  [PAGE_COST_SUITE, "Cost of data in the code's page"],
  [SMP_SUITE, 'Two programs at once: 2 vCPUs against 1'],
  [QUEUES_SUITE, 'Four connections with 2 vCPUs: 4 queues against 1'],
  [DISK_SUITE, 'Disks: fio on blkfront, against QEMU on virtio-blk'],
  [SAVES_SUITE, 'A guest that is saved and gone on with'],
  [SAVES_SIZE_SUITE, 'What is saved of it'],
  ['boot', 'Boot to a command'],
  ['boot-memory', 'Memory of a boot'],
]);
export const suiteTitle = (name: string): string => TITLES.get(name) ?? name;

/** Engines of a suite in the order in which tables show them: ours first. */
export function enginesOf({ measurements, problems }: Result, suite: string): string[] {
  const here = [...measurements, ...problems].filter(each => each.suite === suite);
  const all = unique(here.map(({ engine }) => engine)).filter(engine => engine !== ALL);
  return [...all.filter(isDomus), ...Object.keys(OTHERS).filter(name => all.includes(name))];
}

export type Lookup = (suite: string, program: string, engine: string) => Measurement | undefined;

export function lookupIn(measurements: readonly Measurement[]): Lookup {
  const key = (...words: string[]) => words.join('/');
  const byKey = new Map(measurements.map(each => [key(each.suite, each.program, each.engine), each]));
  return (...words) => byKey.get(key(...words));
}

/** How many times faster `ours` is than `theirs`. */
export function speedUp(ours: Measurement | undefined, theirs: Measurement | undefined): number | undefined {
  if (!ours || !theirs) return undefined;
  const ratio = median(theirs.samples) / median(ours.samples);
  // Too short to be seen: says nothing.
  if (!(ratio > 0 && Number.isFinite(ratio))) return undefined;
  return ours.better === 'lower' ? ratio : 1 / ratio;
}

export interface SuiteRatio {
  readonly suite: string;
  readonly engine: string;
  readonly against: string;
  /** Geometric mean over the programs that both ran. */
  readonly mean: number;
  readonly programs: number;
}

/** Geometric means of each of our engines against each of the others, by suite. */
export function suiteRatios(result: Result): SuiteRatio[] {
  const of = lookupIn(result.measurements);
  return unique(result.measurements.map(({ suite }) => suite)).flatMap(suite => {
    const programs = programsOf(result, suite);
    const engines = enginesOf(result, suite);
    return engines.filter(isDomus).flatMap(engine =>
      engines
        .filter(other => !isDomus(other))
        .flatMap(against => {
          const ratios = programs.flatMap(
            name => speedUp(of(suite, name, engine), of(suite, name, against)) ?? [],
          );
          return ratios.length === 0
            ? []
            : [{ suite, engine, against, mean: geometricMean(ratios), programs: ratios.length }];
        }),
    );
  });
}

export function programsOf({ measurements, problems }: Result, suite: string): string[] {
  const here = [...measurements, ...problems].filter(each => each.suite === suite);
  const others = new Map<string, readonly { name: string }[]>([
    [REAL_SUITE, REAL_PROGRAMS],
    [DISK_SUITE, DISK_PROGRAMS],
  ]);
  const list = others.get(suite) ?? PROGRAMS.filter(each => each.suite === suite);
  const place = (name: string) => list.findIndex(each => each.name === name);
  return unique(here.map(each => each.program).filter(program => program !== ALL)).sort(
    (a, b) => place(a) - place(b),
  );
}

const times = (value: number | undefined): string =>
  value === undefined || !Number.isFinite(value) ? '-' : value < 0.1 ? value.toFixed(3) : value.toFixed(2);

const rateOf = (measurement: Measurement | undefined): string =>
  measurement?.instructions === undefined
    ? '-'
    : figure(measurement.instructions / median(measurement.samples) / 1000);

/** One suite: times, and ratios to the others. */
export function suiteTable(result: Result, suite: string): Table {
  const of = lookupIn(result.measurements);
  const engines = enginesOf(result, suite);
  const ours = engines.filter(isDomus);
  const programs = programsOf(result, suite);
  const pairs = ours.flatMap(engine =>
    engines.filter(name => !isDomus(name)).map(name => [engine, name] as const),
  );
  const unit = result.measurements.find(each => each.suite === suite)?.unit ?? '';
  // With --bare the vCPU's own count of instructions is there too.
  const counting = ours.filter(name => programs.some(program => of(suite, program, name)?.instructions));
  const failure = (program: string, engine: string) =>
    result.problems.find(each => each.suite === suite && each.program === program && each.engine === engine);
  const rows = programs.map(program => [
    program,
    ...engines.map(engine => {
      const found = of(suite, program, engine);
      if (found) return figure(median(found.samples));
      const problem = failure(program, engine);
      return problem ? (problem.isFailure ? 'failed' : 'cannot') : '-';
    }),
    ...pairs.map(([engine, other]) => times(speedUp(of(suite, program, engine), of(suite, program, other)))),
    ...counting.map(engine => rateOf(of(suite, program, engine))),
  ]);
  const ratios = suiteRatios(result).filter(each => each.suite === suite);
  if (rows.length > 1 && ratios.length > 0) {
    const means = pairs.map(([engine, other]) =>
      times(ratios.find(each => each.engine === engine && each.against === other)?.mean),
    );
    rows.push(['geometric mean', ...engines.map(() => ''), ...means]);
  }
  const single = ours.length === 1;
  return {
    title: `${suiteTitle(suite)} (${unit}; ratios above 1: Domus is faster)`,
    headings: [
      'program',
      ...engines.map(label),
      ...pairs.map(([engine, other]) => `${single ? '' : `${engine} `}to ${label(other)}`),
      ...counting.map(engine => `${single ? '' : `${engine} `}M instr/s`),
    ],
    rows,
  };
}

/** The whole in a few lines: geometric means by suite. */
export function summaryTable(result: Result): Table {
  const ratios = suiteRatios(result).filter(({ against }) => IN_SUMMARY.includes(against));
  const columns = unique(ratios.map(({ engine, against }) => `${engine}\n${against}`)).map(
    text => text.split('\n') as [string, string],
  );
  const rows = unique(ratios.map(({ suite }) => suite)).map(suite => [
    suiteTitle(suite),
    String(programsOf(result, suite).length),
    ...columns.map(([engine, against]) =>
      times(
        ratios.find(each => each.suite === suite && each.engine === engine && each.against === against)?.mean,
      ),
    ),
  ]);
  return {
    title: 'Geometric means (above 1: Domus is faster)',
    headings: ['suite', 'programs', ...columns.map(([engine, other]) => `${engine} to ${label(other)}`)],
    rows,
  };
}

export function describeRun(result: Result): string {
  const { host } = result;
  const tooShort = result.scale < 1 ? ' (too short for good figures)' : '';
  const part = result.scale === 1 ? '' : `, ${result.scale} times the work${tooShort}`;
  const clock = result.clock === 'cpu' ? ', processor time of the engine (native: elapsed time)' : '';
  return (
    `${host.processor}, ${host.count} processors; ${host.system}; Node ${host.node.slice(1)}; ${host.qemu}; ` +
    `commit ${result.commit}; median of ${result.repeat}${part}${clock}`
  );
}

/** A table for every suite, in the order in which they were measured. */
export const suiteTables = (result: Result): Table[] =>
  unique([...result.measurements, ...result.problems].map(({ suite }) => suite))
    .filter(suite => programsOf(result, suite).length > 0)
    .map(suite => suiteTable(result, suite));

/** What was not measured, one line for each reason. */
export function problemLines(result: Result): string[] {
  const byReason = new Map<string, Problem[]>();
  for (const problem of result.problems) {
    const { engine, why, isFailure } = problem;
    const reason = `${isFailure ? 'FAILED' : 'left out'} on ${engine === ALL ? 'all engines' : label(engine)}: ${why}`;
    byReason.set(reason, [...(byReason.get(reason) ?? []), problem]);
  }
  return [...byReason].map(([reason, problems]) => `${reason} (${whereabouts(result, problems).join(', ')})`);
}

/** Names of programs, or of a suite where it is all of its programs. */
function whereabouts(result: Result, problems: readonly Problem[]): string[] {
  return unique(problems.map(({ suite }) => suite)).flatMap(suite => {
    const programs = problems.filter(each => each.suite === suite).map(({ program }) => program);
    if (suite === ALL) return ['everything'];
    const isWhole = programs.includes(ALL) || programs.length === programsOf(result, suite).length;
    return isWhole ? [suite] : programs.map(program => `${suite}/${program}`);
  });
}
