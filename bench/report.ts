/** Tables for people: engines side by side, and this run beside an earlier one. */
import type { Metric, Result } from './result.ts';
import { figure, geometricMean, type Summary } from './statistics.ts';
import { table } from './table.ts';

type Lookup = (name: string) => Summary | undefined;

const lookupIn = (metrics: readonly Metric[]): Lookup => {
  const byName = new Map(metrics.map(metric => [metric.name, metric.summary]));
  return name => byName.get(name);
};
const cell = (value: number | undefined) => (value === undefined ? '-' : figure(value));
const ratio = (a: Summary | undefined, b: Summary | undefined) => (a && b ? a.median / b.median : undefined);
const times = (value: number | undefined) => (value === undefined ? '-' : `${figure(value)}x`);

/** Names of the second part of `group/...` metrics, in their order. */
const namesIn = (metrics: readonly Metric[], group: string): string[] => [
  ...new Set(metrics.filter(m => m.name.startsWith(`${group}/`)).map(m => m.name.split('/')[1]!)),
];

export function report(result: Result): string {
  const { metrics, host, skipped } = result;
  const of = lookupIn(metrics);
  const parts = [
    `${host.processor} x ${host.count}, ${host.system}, Node ${host.node}, ${host.qemu}, ${host.gcc}`,
    `commit ${result.commit}, ${result.date}, ${result.runs} interleaved run(s), medians`,
  ];
  const loops = namesIn(metrics, 'loops');
  if (loops.length > 0) {
    const rows = loops.map(name => {
      const ms = (engine: string) => of(`loops/${name}/${engine}/ms`);
      const rate = of(`loops/${name}/domus/mips`);
      return [
        name,
        rate ? figure(rate.median) : 'n/a',
        rate ? `${figure(rate.min)}..${figure(rate.max)}` : '',
        cell(of(`loops/${name}/domus/first-ms`)?.median),
        cell(ms('domus')?.median),
        cell(ms('qemu')?.median),
        cell(ms('native')?.median),
        times(ratio(ms('domus'), ms('qemu'))),
        times(ratio(ms('domus'), ms('native'))),
      ];
    });
    const rates = loops.flatMap(name => of(`loops/${name}/domus/mips`)?.median ?? []);
    const toQemu = loops.flatMap(
      name => ratio(of(`loops/${name}/domus/ms`), of(`loops/${name}/qemu/ms`)) ?? [],
    );
    const mean = rates.length > 0 ? figure(geometricMean(rates)) : '-';
    const meanToQemu = toQemu.length > 0 ? times(geometricMean(toQemu)) : '-';
    rows.push(['geometric mean', mean, '', '', '', '', '', meanToQemu, '']);
    const heads = [
      'loop',
      'M instr/s',
      'min..max',
      'first ms',
      'Domus ms',
      'QEMU ms',
      'native ms',
      'to QEMU',
      'to native',
    ];
    parts.push(
      '',
      'Loops: time of a round (smaller is better); "to" = how many times longer Domus takes',
      '',
      table(heads, rows),
    );
  }
  const suites = namesIn(metrics, 'suite');
  if (suites.length > 0) {
    const rows = suites.map(name => {
      const rate = (engine: string) => of(`suite/${name}/${engine}/rate`);
      return [
        name,
        cell(rate('domus')?.median),
        cell(rate('qemu')?.median),
        cell(rate('native')?.median),
        cell(of(`suite/${name}/domus/mips`)?.median),
        times(ratio(rate('domus'), rate('qemu'))),
        times(ratio(rate('domus'), rate('native'))),
      ];
    });
    const heads = ['suite', 'Domus', 'QEMU', 'native', 'M instr/s', 'of QEMU', 'of native'];
    parts.push('', 'Suites: iterations a second (greater is better)', '', table(heads, rows));
  }
  const boots = namesIn(metrics, 'boot');
  if (boots.length > 0) {
    const rows = boots.map(name => {
      const wall = of(`boot/${name}/wall/ms`);
      return [
        name,
        cell(wall?.median),
        `${cell(wall?.min)}..${cell(wall?.max)}`,
        cell(of(`boot/${name}/peak/mib`)?.median),
      ];
    });
    parts.push(
      '',
      'Boot of a kernel to a command and back to the shell',
      '',
      table(['boot', 'ms', 'min..max', 'peak MiB'], rows),
    );
  }
  if (skipped.length > 0) parts.push('', ...skipped.map(text => `skipped: ${text}`));
  return `${parts.join('\n')}\n`;
}

/** A difference counts when it is larger than the spread of both runs: the intervals min..max do not overlap. */
export function comparison(result: Result, earlier: Result): string {
  if (earlier.scale !== result.scale || earlier.rounds !== result.rounds) {
    return `Not compared with ${earlier.commit}: it did other work (--quick, --rounds)\n`;
  }
  const before = lookupIn(earlier.metrics);
  const rows = result.metrics.flatMap(({ name, unit, better, summary }) => {
    const old = before(name);
    if (!old) return [];
    const change = summary.median / old.median - 1;
    const apart = summary.min > old.max || summary.max < old.min;
    const verdict = !apart ? 'noise' : change > 0 === (better === 'higher') ? 'better' : 'worse';
    const percent = `${change >= 0 ? '+' : ''}${(change * 100).toFixed(1)} %`;
    return [[name, unit, figure(old.median), figure(summary.median), percent, verdict]];
  });
  const title = `Compared with ${earlier.commit} of ${earlier.date}`;
  const other = earlier.host.processor !== result.host.processor ? ' (ANOTHER PROCESSOR)' : '';
  return `${title}${other}\n\n${table(['metric', 'unit', 'before', 'now', 'change', 'verdict'], rows)}\n`;
}
