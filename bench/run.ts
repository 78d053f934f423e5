/**
 * `npm run bench`: Domus, QEMU TCG and native side by side in one run. Progress goes to stderr, tables to stdout,
 * everything into the result file. docs/benchmarks.md says what the figures mean.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { measureBoots } from './boot.ts';
import { measurePrograms } from './c-programs.ts';
import { comparisonTable } from './comparison.ts';
import { writeDocuments } from './documents.ts';
import { killEngines } from './engine-process.ts';
import { DISK_PROGRAMS, DISK_SUITE, measureDisks } from './fio.ts';
import { measureNetworks, NETWORK_PROGRAMS, NETWORK_SUITE } from './iperf.ts';
import { type BenchOptions, HELP, parseOptions } from './options.ts';
import { plot, plotRows } from './plot.ts';
import { aboutProgram, PROGRAMS } from './program-list.ts';
import { measureQueues, QUEUES_PROGRAMS, QUEUES_SUITE } from './queues.ts';
import { measureReal, REAL_PROGRAMS, REAL_SUITE } from './real-programs.ts';
import { describeRun, problemLines, suiteTables, summaryTable } from './report.ts';
import { ALL, describeHost, type Measurement, type Problem, parseResult, type Result } from './result.ts';
import { measureSaves, SAVES_SUITE } from './saves.ts';
import { scratchFolder } from './scratch.ts';
import { measureSmp, SMP_SUITE } from './smp.ts';
import { textTable } from './table.ts';
import type { Outcome } from './tournament.ts';

const say = (text: string) => process.stderr.write(`bench: ${text}\n`);

async function measure(options: BenchOptions): Promise<Result> {
  const measurements: Measurement[] = [];
  const problems: Problem[] = [];
  const rivals = options.rivals.filter(rival => {
    const why = rival.missing();
    if (why !== undefined) {
      problems.push({ suite: ALL, program: ALL, engine: rival.name, why, isFailure: false });
    }
    return why === undefined;
  });
  const folder = scratchFolder();
  const add = (outcome: Outcome) => {
    measurements.push(...outcome.measurements);
    problems.push(...outcome.problems);
  };
  add(await measurePrograms(folder, rivals, options, say));
  if (options.suites.includes(REAL_SUITE) && !options.isBare)
    add(await measureReal(folder, rivals, options, say));
  if (options.suites.includes(DISK_SUITE) && !options.isBare)
    add(await measureDisks(folder, rivals, options, say));
  if (options.suites.includes(NETWORK_SUITE) && !options.isBare)
    add(await measureNetworks(folder, rivals, options, say));
  if (options.suites.includes(QUEUES_SUITE) && !options.isBare)
    add(await measureQueues(folder, rivals, options, say));
  if (options.suites.includes(SMP_SUITE) && !options.isBare)
    add(await measureSmp(folder, rivals, options, say));
  if (options.suites.includes(SAVES_SUITE) && !options.isBare)
    add(await measureSaves(folder, rivals, options, say));
  const isWanted = options.suites.includes('boot') && options.programs === undefined && !options.isBare;
  if (isWanted) add(await measureBoots(folder, rivals, options, say));
  return {
    ...describeHost(),
    scale: options.scale,
    repeat: options.repeat,
    clock: options.clock,
    measurements,
    problems,
  };
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options.isHelp) {
    process.stdout.write(HELP);
    return 0;
  }
  if (options.isListing) {
    const line = (suite: string, name: string, about: string) =>
      process.stdout.write(`${`${suite}/${name}`.padEnd(28)} ${about}\n`);
    for (const each of PROGRAMS) line(each.suite, each.name, aboutProgram(each));
    for (const { name, about } of REAL_PROGRAMS) line(REAL_SUITE, name, about);
    for (const { name, about } of DISK_PROGRAMS) line(DISK_SUITE, name, about);
    for (const { name, about } of NETWORK_PROGRAMS) line(NETWORK_SUITE, name, about);
    for (const { name, about } of QUEUES_PROGRAMS) line(QUEUES_SUITE, name, about);
    return 0;
  }
  const read = (file: string) => parseResult(readFileSync(file, 'utf8'));
  const earlier = options.compare === undefined ? undefined : read(options.compare);
  const result = options.report === undefined ? await measure(options) : read(options.report);
  if (options.report === undefined) writeFileSync(options.json, `${JSON.stringify(result, null, 1)}\n`);

  const tables = [...suiteTables(result), summaryTable(result)].map(textTable);
  if (earlier) tables.push(textTable(comparisonTable(result, earlier)));
  process.stdout.write(`${[describeRun(result), ...tables, ...problemLines(result)].join('\n\n')}\n`);
  if (options.plot !== undefined) writeFileSync(options.plot, plot(plotRows(result), describeRun(result)));
  if (options.isWriting) writeDocuments(result);
  if (options.report === undefined) say(`result in ${options.json}`);
  return result.problems.some(({ isFailure }) => isFailure) ? 1 : 0;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    killEngines();
    say(`ended by ${signal}`);
    process.exit(130);
  });
}
try {
  process.exitCode = await main();
} catch (error) {
  say((error as Error).message);
  process.exitCode = 1;
} finally {
  killEngines();
}
