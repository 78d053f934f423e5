/** Medians, ratios and what counts as a difference: the machine is shared, so single figures mean little. */

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly samples: number;
}

export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new Error('no values to summarize');
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)!, samples: sorted.length };
}

export const median = (values: readonly number[]): number => summarize(values).median;

export const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

/** In how many ways `a` and `b` values can be lined up so that exactly `u` pairs are in the wrong order. */
function arrangements(a: number, b: number, u: number, known: Map<string, number>): number {
  if (u < 0) return 0;
  if (a === 0 || b === 0) return u === 0 ? 1 : 0;
  const key = `${a},${b},${u}`;
  let count = known.get(key);
  if (count === undefined) {
    count = arrangements(a - 1, b, u - b, known) + arrangements(a, b - 1, u, known);
    known.set(key, count);
  }
  return count;
}

/**
 * How probable it is, if nothing has changed, that two sets of samples differ as much in rank as these do (two-sided exact
 * Mann-Whitney test). Three against three can reach 0.1, four against four 0.03.
 */
export function chanceOfNoChange(before: readonly number[], now: readonly number[]): number {
  let u = 0;
  for (const a of before) for (const b of now) u += a > b ? 1 : a === b ? 0.5 : 0;
  const [a, b] = [before.length, now.length];
  const extreme = Math.floor(Math.min(u, a * b - u));
  const known = new Map<string, number>();
  let below = 0;
  let all = 0;
  for (let i = 0; i <= a * b; i++) {
    const ways = arrangements(a, b, i, known);
    all += ways;
    if (i <= extreme) below += ways;
  }
  return Math.min(1, (2 * below) / all);
}

/** Three significant digits, thousands apart. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
