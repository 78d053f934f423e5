/** Runs one workload on all engines in turn, again and again, and checks that all computed the same. */
import type { Engine, Rounds } from './engines.ts';
import type { Metric } from './result.ts';
import { summarize } from './statistics.ts';
import type { Workload } from './workload-list.ts';

export interface Engines {
  readonly domus: Engine;
  readonly qemu?: Engine;
  readonly native: Engine;
}

export interface MeasureOptions {
  readonly runs: number;
  readonly rounds: number;
  readonly scale: number;
  readonly say: (text: string) => void;
}

/** Rounds after the warm-up: V8 compiles the interpreter again, and better, while the first ones run. */
const steady = <T>(rounds: readonly T[]): readonly T[] => rounds.slice(rounds.length >> 1);
const median = (values: readonly number[]): number => summarize(values).median;

export async function measureWorkload(
  group: 'loops' | 'suite',
  workload: Workload,
  engines: Engines,
  { runs, rounds, scale, say }: MeasureOptions,
): Promise<Metric[]> {
  const count = Math.max(1, Math.round(workload.count * scale));
  const results = new Map<string, Rounds[]>();
  let expected: string | undefined;
  for (let i = 1; i <= runs; i++) {
    for (const [name, engine] of Object.entries(engines) as [string, Engine][]) {
      say(`${workload.name}: ${name}, run ${i} of ${runs}`);
      const result = await engine(`${workload.name} ${count} ${rounds}`);
      expected ??= result.check;
      if (result.check !== expected) {
        throw new Error(`${workload.name}: ${name} computed ${result.check}, the others ${expected}`);
      }
      results.set(name, [...(results.get(name) ?? []), result]);
    }
  }
  const metrics: Metric[] = [];
  const prefix = `${group}/${workload.name}`;
  for (const [engine, list] of results) {
    const ms = list.map(result => median(steady(result.roundMs)));
    metrics.push({ name: `${prefix}/${engine}/ms`, unit: 'ms', better: 'lower', summary: summarize(ms) });
    if (group === 'suite') {
      const rate = summarize(ms.map(value => (count * 1000) / value));
      metrics.push({ name: `${prefix}/${engine}/rate`, unit: '1/s', better: 'higher', summary: rate });
    }
    if (engine !== 'domus') continue;
    const first = summarize(list.map(result => result.roundMs[0]!));
    metrics.push({ name: `${prefix}/domus/first-ms`, unit: 'ms', better: 'lower', summary: first });
    if (workload.isRateMeaningless) continue;
    const mips = list.map((result, i) => median(steady(result.retired!)) / ms[i]! / 1000);
    metrics.push({ name: `${prefix}/domus/mips`, unit: 'M/s', better: 'higher', summary: summarize(mips) });
  }
  return metrics;
}
