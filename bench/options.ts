/** The command line of the benchmark. */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { DISK_PROGRAMS, DISK_SUITE } from './fio.ts';
import { NETWORK_PROGRAMS, NETWORK_SUITE } from './iperf.ts';
import { COREMARK_SUITE, PROGRAMS, SUITES } from './program-list.ts';
import { QUEUES_PROGRAMS, QUEUES_SUITE } from './queues.ts';
import { REAL_PROGRAMS, REAL_SUITE } from './real-programs.ts';
import type { Clock } from './result.ts';
import { RIVALS, type Rival } from './rivals.ts';
import { SAVES_SUITE } from './saves.ts';
import { SMP_SUITE } from './smp.ts';

const DEFAULT_RESULT = fileURLToPath(new URL('./result.json', import.meta.url));
/** Suites that are not lists of small C programs. */
const OTHER_SUITES = [REAL_SUITE, SMP_SUITE, DISK_SUITE, NETWORK_SUITE, QUEUES_SUITE, SAVES_SUITE, 'boot'];
const QUICK_SCALE = 1 / 8;

export const HELP = `Usage: npm run bench -- [options]

Measures Domus beside QEMU's translator and the host's own processor. Tables go to standard output, progress to
standard error. docs/benchmarks.md says what is measured and how.

  --suite NAME[,NAME]    ${[...SUITES.map(suite => suite.name), ...OTHER_SUITES].join(', ')}
  --program NAME[,NAME]  only these programs (--list shows them)
  --engine NAME[,NAME]   only these: ${RIVALS.map(rival => rival.name).join(', ')}
  --bare                 programs as kernels of their own, without Linux: starts at once, counts instructions
  --cold                 boots with an empty cache too (fetches packages)
  --coremark DIR         also build and run the CoreMark sources in DIR
  --repeat N             how often each engine runs each program, in turn (default 3)
  --scale X              do X times the work (default 1)
  --clock wall|cpu       cpu: processor time of the engine, for a machine that others use too
  --quick                an eighth of the work, once: does it work at all? Its figures say little
  --list                 the programs and what they do
  --json FILE            where the result goes (default bench/result.json)
  --compare FILE         compare with an earlier result
  --report FILE          measure nothing, show an earlier result (and --write or --compare it)
  --plot FILE            draw it as an SVG picture
  --write                put tables and picture into README.md and docs/
  --kernel FILE          kernel of the guests (default: what 'domus run' takes)
  --append TEXT          more for the kernel's command line, on Domus and QEMU
  --memory MIB           memory of the guests (default 512)
  --qemu-machine NAME    QEMU's -M (default pc)
  --qemu-cpu NAME        QEMU's -cpu (default: QEMU's own)
  --node-option FLAG     pass a V8 or Node option to the processes that run Domus (may be repeated)
  --timeout SECONDS      for one run of one program (default 120)
  --help
`;

export interface BenchOptions {
  readonly suites: readonly string[];
  readonly programs: readonly string[] | undefined;
  readonly rivals: readonly Rival[];
  readonly isBare: boolean;
  readonly isCold: boolean;
  readonly coremark: string | undefined;
  readonly repeat: number;
  readonly scale: number;
  readonly clock: Clock;
  readonly json: string;
  readonly compare: string | undefined;
  readonly report: string | undefined;
  readonly plot: string | undefined;
  readonly isWriting: boolean;
  readonly isListing: boolean;
  readonly isHelp: boolean;
  readonly kernel: string | undefined;
  readonly append: string;
  readonly memoryMib: number;
  readonly qemuMachine: string;
  readonly qemuCpu: string | undefined;
  readonly nodeOptions: readonly string[];
  readonly timeoutMs: number;
}

/** @throws Error with one line for the user */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      suite: { type: 'string' },
      program: { type: 'string' },
      engine: { type: 'string' },
      bare: { type: 'boolean', default: false },
      cold: { type: 'boolean', default: false },
      coremark: { type: 'string' },
      repeat: { type: 'string' },
      scale: { type: 'string' },
      clock: { type: 'string', default: 'wall' },
      quick: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      json: { type: 'string', default: DEFAULT_RESULT },
      compare: { type: 'string' },
      report: { type: 'string' },
      plot: { type: 'string' },
      write: { type: 'boolean', default: false },
      kernel: { type: 'string' },
      append: { type: 'string', default: '' },
      memory: { type: 'string', default: '512' },
      'qemu-machine': { type: 'string', default: 'pc' },
      'qemu-cpu': { type: 'string' },
      'node-option': { type: 'string', multiple: true, default: [] },
      timeout: { type: 'string', default: '120' },
      help: { type: 'boolean', default: false },
    },
  });
  const suites = [...SUITES.map(suite => suite.name), ...OTHER_SUITES];
  const programs = chosen('--program', values.program, [
    ...[...PROGRAMS, ...REAL_PROGRAMS, ...DISK_PROGRAMS, ...NETWORK_PROGRAMS, ...QUEUES_PROGRAMS].map(
      program => program.name,
    ),
    ...(values.coremark === undefined ? [] : [COREMARK_SUITE.name]),
  ]);
  const engines = chosen(
    '--engine',
    values.engine,
    RIVALS.map(rival => rival.name),
  );
  return {
    suites:
      chosen('--suite', values.suite, suites) ??
      (programs === undefined
        ? suites
        : suites.filter(name => ![SMP_SUITE, SAVES_SUITE, 'boot'].includes(name))),
    programs,
    rivals: RIVALS.filter(rival => engines === undefined || engines.includes(rival.name)),
    isBare: values.bare,
    isCold: values.cold,
    coremark: values.coremark,
    repeat: wholeNumber('--repeat', values.repeat ?? (values.quick ? '1' : '3')),
    scale: positive('--scale', values.scale ?? (values.quick ? String(QUICK_SCALE) : '1')),
    clock: chosen('--clock', values.clock, ['wall', 'cpu'])![0] as Clock,
    json: values.json,
    compare: values.compare,
    report: values.report,
    plot: values.plot,
    isWriting: values.write,
    isListing: values.list,
    isHelp: values.help,
    kernel: values.kernel,
    append: values.append,
    memoryMib: wholeNumber('--memory', values.memory),
    qemuMachine: values['qemu-machine'],
    qemuCpu: values['qemu-cpu'],
    nodeOptions: values['node-option'],
    timeoutMs: positive('--timeout', values.timeout) * 1000,
  };
}

function chosen(option: string, text: string | undefined, known: readonly string[]): string[] | undefined {
  const names = text?.split(',');
  const unknown = names?.find(name => !known.includes(name));
  if (unknown !== undefined)
    throw new Error(`${option}: there is no ${unknown}; there are ${known.join(', ')}`);
  return names;
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`${option}: ${text} is not a whole number from 1 up`);
  return value;
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new Error(`${option}: ${text} is not a number above 0`);
  return value;
}
