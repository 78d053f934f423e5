/** The result file (docs/benchmarks.md has its schema): what was measured on which machine, for later runs to compare with. */
import { execFileSync } from 'node:child_process';
import { cpus, release, type } from 'node:os';

/** Elapsed time, or the processor time of the engine (of native programs always the former). */
export type Clock = 'wall' | 'cpu';

export const FORMAT = 'domus-bench-2';

export interface Measurement {
  readonly suite: string;
  readonly program: string;
  /** A rival's name: interpreter, translator, qemu, native, ... */
  readonly engine: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  /** In the order in which they were taken. */
  readonly samples: readonly number[];
  readonly check?: string;
  /** Of one run, where the engine counts them. */
  readonly instructions?: number;
}

/** In place of a suite, program or engine: every one of them. */
export const ALL = 'all';

/** Something that was not measured, and why. */
export interface Problem {
  readonly suite: string;
  readonly program: string;
  readonly engine: string;
  readonly why: string;
  /** It should have worked: the run ends with an error. */
  readonly isFailure: boolean;
}

export interface Result {
  readonly format: typeof FORMAT;
  readonly date: string;
  readonly commit: string;
  readonly host: {
    readonly processor: string;
    readonly count: number;
    readonly system: string;
    readonly node: string;
    readonly v8: string;
    readonly qemu: string;
    readonly gcc: string;
  };
  /** The part of the full work that was done: times compare only when these are alike. */
  readonly scale: number;
  readonly repeat: number;
  readonly clock: Clock;
  readonly measurements: readonly Measurement[];
  readonly problems: readonly Problem[];
}

function firstLine(command: string, ...args: string[]): string {
  try {
    const text = execFileSync(command, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 10_000,
    });
    return text.split('\n')[0]!.trim();
  } catch {
    return 'none';
  }
}

export function describeHost(): Pick<Result, 'format' | 'date' | 'commit' | 'host'> {
  return {
    format: FORMAT,
    date: new Date().toISOString(),
    commit: firstLine('git', '-C', import.meta.dirname, 'describe', '--always', '--dirty'),
    host: {
      processor: cpus()[0]?.model ?? 'unknown',
      count: cpus().length,
      system: `${type()} ${release()}`,
      node: process.version,
      v8: process.versions.v8,
      qemu: firstLine('qemu-system-x86_64', '--version'),
      gcc: firstLine('gcc', '--version'),
    },
  };
}

export function parseResult(text: string): Result {
  const value = JSON.parse(text) as Partial<Result>;
  if (value.format !== FORMAT || !Array.isArray(value.measurements)) {
    throw new Error(`not a result file of this benchmark (format ${FORMAT})`);
  }
  return value as Result;
}
