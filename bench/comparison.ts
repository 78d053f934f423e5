/** Two results side by side: what became faster or slower, and how sure that is. */
import { lookupIn } from './report.ts';
import type { Result } from './result.ts';
import { chanceOfNoChange, figure, geometricMean, median } from './statistics.ts';
import type { Table } from './table.ts';

/** Three samples against three cannot say more than 0.1. */
const SURE = 0.1;

/** @throws Error when the two did not do the same work */
export function comparisonTable(result: Result, earlier: Result): Table {
  if (earlier.scale !== result.scale) throw new Error(`${earlier.commit} did other work (--quick, --scale)`);
  if (earlier.clock !== result.clock) throw new Error(`${earlier.commit} has other times (--clock)`);
  const before = lookupIn(earlier.measurements);
  const speedUps = new Map<string, number[]>();
  const rows = result.measurements.flatMap(({ suite, program, engine, unit, better, samples }) => {
    const old = before(suite, program, engine);
    if (!old) return [];
    const ratio = median(old.samples) / median(samples);
    const speedUp = better === 'lower' ? ratio : 1 / ratio;
    speedUps.set(engine, [...(speedUps.get(engine) ?? []), speedUp]);
    const chance = chanceOfNoChange(old.samples, samples);
    const verdict = chance > SURE ? 'noise' : speedUp > 1 ? 'faster' : 'slower';
    return [
      [
        `${suite}/${program}`,
        engine,
        unit,
        figure(median(old.samples)),
        figure(median(samples)),
        speedUp.toFixed(2),
        chance.toFixed(2),
        verdict,
      ],
    ];
  });
  const means = [...speedUps].map(([engine, values]) => [
    'geometric mean',
    engine,
    '',
    '',
    '',
    geometricMean(values).toFixed(2),
    '',
    '',
  ]);
  const other = earlier.host.processor === result.host.processor ? '' : ' (ANOTHER PROCESSOR)';
  return {
    title: `Compared with ${earlier.commit} of ${earlier.date}${other}; p: chance of such a difference without a change`,
    headings: ['program', 'engine', 'unit', 'before', 'now', 'times faster', 'p', 'verdict'],
    rows: [...rows, ...means],
  };
}
