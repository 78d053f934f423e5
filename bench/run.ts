/**
 * `npm run bench`: Domus, QEMU TCG and native side by side in one run. Progress goes to stderr, tables to stdout,
 * everything into the result file. docs/benchmarks.md says what the figures mean.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measureBoots } from './boot.ts';
import { buildCoremark } from './coremark.ts';
import { domusEngine, nativeEngine, QEMU, qemuEngine } from './engines.ts';
import { buildGuestPrograms, hasProgram, inScratchFolder } from './guest-programs.ts';
import { type Engines, measureWorkload } from './measure.ts';
import { comparison, report } from './report.ts';
import { describeHost, type Metric, parseResult, type Result } from './result.ts';
import { FOURFOLD, LOOPS } from './workload-list.ts';

const DEFAULT_RESULT = fileURLToPath(new URL('./result.json', import.meta.url));

const HELP = `Usage: node bench/run.ts [options]

Measures Domus beside QEMU TCG and the host's processor.

  --only NAME[,NAME]   loops, fourfold, coremark, boot, or one loop: ${LOOPS.map(loop => loop.name).join(', ')}
  --runs N             how often each engine runs each workload, in turn (default 3)
  --rounds N           timed rounds in one run; the first half warms up (default 6)
  --quick              an eighth of the work, one run: does it work at all? Its figures say little
  --coremark DIR       also build and run the CoreMark sources in DIR
  --kernel FILE        kernel for the boots (default: what 'domus run' takes)
  --append TEXT        more for the kernel's command line in the boots, on Domus and QEMU
  --cold               also boot with an empty cache (fetches packages)
  --json FILE          where the result goes (default bench/result.json)
  --compare FILE       compare with an earlier result
  --node-option FLAG   pass a V8 or Node option to the processes that run Domus (may be repeated)
  --help
`;

const say = (text: string) => process.stderr.write(`bench: ${text}\n`);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      runs: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '6' },
      quick: { type: 'boolean', default: false },
      coremark: { type: 'string' },
      kernel: { type: 'string' },
      append: { type: 'string', default: '' },
      cold: { type: 'boolean', default: false },
      json: { type: 'string', default: DEFAULT_RESULT },
      compare: { type: 'string' },
      'node-option': { type: 'string', multiple: true, default: [] },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const runs = values.quick ? 1 : wholeNumber('--runs', values.runs);
  const rounds = wholeNumber('--rounds', values.rounds);
  const earlier =
    values.compare === undefined ? undefined : parseResult(readFileSync(values.compare, 'utf8'));
  const only = values.only?.split(',');
  const known = ['loops', 'fourfold', 'coremark', 'boot', ...LOOPS.map(loop => loop.name)];
  const unknown = only?.find(name => !known.includes(name));
  if (unknown !== undefined) throw new Error(`--only: there is no ${unknown}; there are ${known.join(', ')}`);
  const wants = (...names: string[]) => only === undefined || names.some(name => only.includes(name));

  const metrics: Metric[] = [];
  const skipped: string[] = [];
  const hasQemu = hasProgram(QEMU);
  if (!hasQemu) skipped.push(`QEMU columns: there is no ${QEMU} (Debian package qemu-system-x86)`);
  const loops = LOOPS.filter(loop => wants('loops', loop.name));
  const needsGcc = loops.length > 0 || wants('fourfold') || values.coremark !== undefined;
  const hasGcc = hasProgram('gcc');
  if (needsGcc && !hasGcc) skipped.push('loops and suites: there is no gcc');

  const measure = { runs, rounds, scale: values.quick ? 1 / 8 : 1, say };
  await inScratchFolder(async folder => {
    if (needsGcc && hasGcc) {
      const enginesFor = (guest: string, native: string): Engines => ({
        domus: domusEngine(guest, values['node-option']),
        ...(hasQemu && { qemu: qemuEngine(guest) }),
        native: nativeEngine(native),
      });
      say('compiling the guests');
      const programs = buildGuestPrograms(folder);
      const engines = enginesFor(programs.guest, programs.native);
      for (const loop of loops) metrics.push(...(await measureWorkload('loops', loop, engines, measure)));
      if (wants('fourfold')) metrics.push(...(await measureWorkload('suite', FOURFOLD, engines, measure)));
      if (values.coremark !== undefined && wants('coremark')) {
        const built = buildCoremark(folder, values.coremark);
        const both = enginesFor(built.guest, built.native);
        metrics.push(...(await measureWorkload('suite', built.workload, both, { ...measure, rounds: 2 })));
      }
    }
    if (wants('boot')) {
      const options = {
        folder,
        runs,
        hasQemu,
        hasGcc,
        kernel: values.kernel,
        append: values.append,
        cold: values.cold,
        say,
      };
      const boots = await measureBoots({ ...options, nodeOptions: values['node-option'] });
      metrics.push(...boots.metrics);
      skipped.push(...boots.skipped);
    }
  });

  const result: Result = { ...describeHost(), runs, rounds, scale: measure.scale, metrics, skipped };
  writeFileSync(values.json, `${JSON.stringify(result, null, 1)}\n`);
  process.stdout.write(report(result));
  if (earlier) process.stdout.write(`\n${comparison(result, earlier)}`);
  say(`result in ${values.json}`);
  return 0;
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`${option}: ${text} is not a whole number from 1 up`);
  return value;
}

try {
  process.exitCode = await main();
} catch (error) {
  say((error as Error).message);
  process.exitCode = 1;
}
