/**
 * Who is to have how much of a budget: pure arithmetic, without time.
 *
 * A guest has its usual amount as long as all can have theirs. One that needs more gets it from what is left of the budget, or from those
 * that need less than they have, down to their need and never below their least. When that is not enough for all, what each needs up to
 * its usual amount goes first, and what is left is divided by how much is wanted.
 */
import { PAGE_SIZE } from '../../base/brand.ts';

const MIB = 2 ** 20;
/** Smaller changes are left undone: each is work for a balloon driver. */
export const CHANGE_MIN = 4 * MIB;
/** Memory that nobody waits for is taken away in steps, of this part of what is to go. */
const STEP_PART = 4;
const STEP_MIN = 8 * MIB;
/** Needs go up and down a little: less than this part of what a guest has is left to it. */
const EXCESS_PART = 16;

export interface PlannedGuest {
  /** minBytes <= usualBytes <= maxBytes. */
  readonly minBytes: number;
  readonly usualBytes: number;
  readonly maxBytes: number;
  /** What it is asked to have, and what it has. */
  readonly targetBytes: number;
  readonly actualBytes: number;
  /** Memory of the host that it has used so far: this much it can have without the host giving any. */
  readonly touchedBytes: number;
  /** What it should have; undefined when that is not known, or when it cannot give or take: it keeps what it has. */
  readonly wishBytes: number | undefined;
}

export interface Budget {
  /** For all of them together. */
  readonly bytes: number;
  /** What the host can still give to them, above its reserve. */
  readonly hostBytes: number;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const clamp = (least: number, value: number, most: number): number => Math.min(Math.max(least, value), most);
const wholePages = (bytes: number): number => Math.floor(bytes / PAGE_SIZE) * PAGE_SIZE;
const plus = (amounts: readonly number[], more: readonly number[]): readonly number[] =>
  amounts.map((amount, i) => amount + more[i]!);

/** Memory that is bound: a guest that was asked for less has what it has until its balloon driver has done it. */
const bound = ({ targetBytes, actualBytes }: PlannedGuest): number => Math.max(targetBytes, actualBytes);
/** What the host would have to give for it. */
const fromHost = (bytes: number, { touchedBytes }: PlannedGuest): number => Math.max(0, bytes - touchedBytes);

/**
 * As far from `from` to `to` as `fits` holds, each by the same part of its way, in whole pages; what fits stays fitting on the way back.
 */
function between(
  from: readonly number[],
  to: readonly number[],
  fits: (amounts: readonly number[]) => boolean,
): readonly number[] {
  if (fits(to)) return to;
  const at = (part: number) => from.map((amount, i) => wholePages(amount + part * (to[i]! - amount)));
  let [low, high] = [0, 1];
  for (let i = 0; i < 30; i++) {
    const middle = (low + high) / 2;
    if (fits(at(middle))) low = middle;
    else high = middle;
  }
  return at(low);
}

/** What each guest should have when all have done what they are asked for. */
export function goalsOf(guests: readonly PlannedGuest[], budget: Budget): readonly number[] {
  const wishes = guests.map(guest =>
    guest.wishBytes === undefined
      ? undefined
      : clamp(guest.minBytes, wholePages(guest.wishBytes), guest.maxBytes),
  );
  // One whose balloon has not begun has more than its target for a while: nobody else has to give for that.
  let goals: readonly number[] = guests.map(({ minBytes, targetBytes }, i) =>
    wishes[i] === undefined ? targetBytes : minBytes,
  );
  const fits = (amounts: readonly number[]): boolean =>
    sum(amounts) <= budget.bytes &&
    sum(amounts.map((amount, i) => fromHost(amount, guests[i]!))) <= budget.hostBytes;
  const rounds: readonly ((wish: number, guest: PlannedGuest) => number)[] = [
    (wish, { usualBytes }) => Math.min(wish, usualBytes),
    wish => wish,
    (wish, { usualBytes }) => Math.max(wish, usualBytes),
  ];
  for (const wanted of rounds) {
    const from = goals;
    const to = guests.map((guest, i) => {
      const wish = wishes[i];
      return wish === undefined ? from[i]! : Math.max(from[i]!, wanted(wish, guest));
    });
    goals = between(from, to, fits);
  }
  return goals;
}

/**
 * What to ask each guest for now, on the way to its goal.
 * @param eases whether it is time to take a little from guests that have more than they are to have, though nobody waits for it
 */
export function targetsOf(
  guests: readonly PlannedGuest[],
  budget: Budget,
  eases: boolean,
): readonly number[] {
  const goals = goalsOf(guests, budget);
  /** On the way up to its wish, and from there. */
  const raises = guests.map(({ targetBytes, wishBytes = 0, usualBytes }, i) => {
    const goal = goals[i]!;
    const isSmall = goal - targetBytes < CHANGE_MIN && goal !== usualBytes;
    const rest = isSmall ? 0 : Math.max(0, goal - targetBytes);
    const needed = Math.min(rest, Math.max(0, wholePages(wishBytes) - targetBytes));
    return { needed, usual: rest - needed };
  });
  const needed = raises.map(raise => raise.needed);
  const spare = budget.bytes - sum(guests.map(bound));
  const hostNeeds = (amounts: readonly number[]): number =>
    sum(guests.map((guest, i) => fromHost(Math.max(amounts[i]!, guest.actualBytes), guest)));
  const targets = guests.map(({ targetBytes }) => targetBytes);
  const promised = plus(targets, needed);
  const isTooMuch =
    sum(promised) > budget.bytes ||
    sum(guests.map((guest, i) => fromHost(promised[i]!, guest))) > budget.hostBytes;
  const isWanted = isTooMuch || (sum(needed) > 0 && sum(needed) > spare);
  const lowered = guests.map(({ targetBytes, usualBytes }, i) => {
    const excess = targetBytes - goals[i]!;
    if (excess < CHANGE_MIN && (excess <= 0 || goals[i] !== usualBytes)) return targetBytes;
    if (isWanted) return goals[i]!;
    const isWorthIt = goals[i] === usualBytes || excess >= targetBytes / EXCESS_PART;
    if (!eases || !isWorthIt) return targetBytes;
    return wholePages(targetBytes - clamp(STEP_MIN, excess / STEP_PART, excess));
  });
  // What was promised before the host ran short is not taken back here: only nothing more is promised.
  const hostMost = Math.max(budget.hostBytes, hostNeeds(lowered));
  const fits = (amounts: readonly number[]) =>
    sum(amounts) - sum(lowered) <= spare && hostNeeds(amounts) <= hostMost;
  const withNeeded = between(lowered, plus(lowered, needed), fits);
  const usual = raises.map(raise => raise.usual);
  const given = between(withNeeded, plus(withNeeded, usual), fits);
  return lowered.map((before, i) => {
    const target = given[i]!;
    return target - before < CHANGE_MIN && target !== goals[i] ? before : target;
  });
}
