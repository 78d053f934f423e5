/**
 * `npm run bench`: Domus, QEMU TCG and native side by side in one run. Progress goes to stderr, tables to stdout,
 * everything into the result file. docs/benchmarks.md says what the figures mean.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { measureBoots } from './boot.ts';
import { comparisonTable } from './comparison.ts';
import { compileKernels, compileProcesses, hasProgram } from './compiler.ts';
import { coremarkProgram } from './coremark.ts';
import { writeDocuments } from './documents.ts';
import { killEngines } from './engine-process.ts';
import { kernelFile, writeInitramfs } from './guest-image.ts';
import { type BenchOptions, HELP, parseOptions } from './options.ts';
import { aboutProgram, PROGRAMS, SUITES } from './program-list.ts';
import { describeRun, problemLines, reportTables } from './report.ts';
import { describeHost, type Measurement, type Problem, parseResult, type Result } from './result.ts';
import { prepareNative, type Rival } from './rivals.ts';
import { scratchFolder } from './scratch.ts';
import { textTable } from './table.ts';
import { type Outcome, runTournament } from './tournament.ts';

const say = (text: string) => process.stderr.write(`bench: ${text}\n`);

/** The suites of small C programs: one guest for each engine runs all of them. */
async function measurePrograms(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
): Promise<Outcome> {
  const programs = PROGRAMS.filter(
    ({ suite, name }) =>
      options.suites.includes(suite) && (options.programs === undefined || options.programs.includes(name)),
  ).filter(({ suite }) => !options.isBare || !SUITES.find(({ name }) => name === suite)!.isLinux);
  if (options.coremark !== undefined) programs.push(coremarkProgram(options.coremark));
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
    ...(options.isBare && { bareFolder: join(folder, 'bare') }),
  };
  if (boot.bareFolder !== undefined) {
    mkdirSync(boot.bareFolder);
    await compileKernels(programs, boot.bareFolder);
  }
  const tasks = programs.map(({ suite, name, count }) => ({
    suite,
    program: name,
    command: `$BENCH/${name} ${Math.max(1, Math.round(count * options.scale))}`,
  }));
  return runTournament(tasks, { ...options, boot, rivals, options: { ...options, vcpus: 1 }, say });
}

async function measure(options: BenchOptions): Promise<Result> {
  const measurements: Measurement[] = [];
  const problems: Problem[] = [];
  const rivals = options.rivals.filter(rival => {
    const why = rival.missing();
    if (why !== undefined) {
      problems.push({ suite: 'all', program: 'all', engine: rival.name, why, isFailure: false });
    }
    return why === undefined;
  });
  const folder = scratchFolder();
  const add = (outcome: Outcome) => {
    measurements.push(...outcome.measurements);
    problems.push(...outcome.problems);
  };
  add(await measurePrograms(folder, rivals, options));
  const isWanted = options.suites.includes('boot') && options.programs === undefined && !options.isBare;
  if (isWanted) add(await measureBoots(folder, rivals, options, say));
  return { ...describeHost(), scale: options.scale, repeat: options.repeat, measurements, problems };
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options.isHelp) {
    process.stdout.write(HELP);
    return 0;
  }
  if (options.isListing) {
    for (const each of PROGRAMS) {
      process.stdout.write(`${`${each.suite}/${each.name}`.padEnd(28)} ${aboutProgram(each)}\n`);
    }
    return 0;
  }
  const read = (file: string) => parseResult(readFileSync(file, 'utf8'));
  const earlier = options.compare === undefined ? undefined : read(options.compare);
  const result = options.report === undefined ? await measure(options) : read(options.report);
  if (options.report === undefined) writeFileSync(options.json, `${JSON.stringify(result, null, 1)}\n`);

  const tables = reportTables(result).map(textTable);
  if (earlier) tables.push(textTable(comparisonTable(result, earlier)));
  process.stdout.write(`${[describeRun(result), ...tables, ...problemLines(result)].join('\n\n')}\n`);
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
