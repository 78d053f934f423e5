/** The result file: what was measured on which machine, in a form that later runs compare with. */
import { execFileSync } from 'node:child_process';
import { cpus, release, type } from 'node:os';
import type { Summary } from './statistics.ts';

export const FORMAT = 'domus-bench-1';

export interface Metric {
  /** `group/name/engine/what`, for instance loops/alu/domus/mips. */
  readonly name: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  readonly summary: Summary;
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
  readonly runs: number;
  /** Rounds in a run, and the part of the full work that was done: times compare only when these are alike. */
  readonly rounds: number;
  readonly scale: number;
  readonly metrics: readonly Metric[];
  /** What was left out, and why. */
  readonly skipped: readonly string[];
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
  if (value.format !== FORMAT || !Array.isArray(value.metrics)) {
    throw new Error(`not a result file of this benchmark (format ${FORMAT})`);
  }
  return value as Result;
}
