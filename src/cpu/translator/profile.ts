/**
 * Which way control goes from a block, by what regions have counted that have it. Counts of different regions began at different
 * times, so only those of one and the same region are compared.
 */

/** How often a place was executed, by region. */
export type Counts = ReadonlyMap<number, number>;

/** Of control that may go another way than those that were counted, at least so much does. */
const UNCOUNTED = 1 / 16;

/** A place that may come next: what was counted there, and how likely it is beside others of which nothing was. */
export interface Candidate {
  readonly counts: Counts | undefined;
  readonly odds: number;
}

/** For each place that may come behind a block, which share of the block's executions goes there: 0 to 1. */
export function sharesOf(from: Counts | undefined, to: readonly Candidate[]): number[] {
  const shares = to.map(({ counts }) => shareOf(from, counts));
  const unknown = to.filter((_, i) => shares[i] === undefined);
  const counted = shares.reduce((total: number, share) => total + (share ?? 0), 0);
  const rest = Math.max(1 - counted, unknown.length === to.length ? 0 : UNCOUNTED);
  const odds = unknown.reduce((total, candidate) => total + candidate.odds, 0);
  return to.map((candidate, i) => shares[i] ?? (rest * candidate.odds) / odds);
}

/** By the region that has seen most of it; undefined when none has both. */
function shareOf(from: Counts | undefined, to: Counts | undefined): number | undefined {
  let most = 0;
  let share: number | undefined;
  for (const [region, count] of from ?? []) {
    const reached = to?.get(region);
    if (reached === undefined || count <= most) continue;
    most = count;
    share = Math.min(1, reached / count);
  }
  return share;
}

/** What is known of a place that is always executed after another one. */
export const together = (before: Counts | undefined, own: Counts | undefined): Counts | undefined =>
  before && own ? new Map([...before, ...own]) : (own ?? before);
