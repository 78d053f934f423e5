/**
 * What a guest should have, as its facts come in: what it needs and a reserve, more while it takes memory quickly, and more while
 * memory is short although it seems to have some: then it is the page cache that is too small.
 */
import type { FactsSource, MemoryFacts } from './facts.ts';

const MIB = 2 ** 20;
/** What a guest has beyond its need: a quarter of it, or this. */
const RESERVE_MIN = 48 * MIB;
const RESERVE_PART = 4;
/** A guest that takes memory gets what it will have taken in so long, but not more than it has now. */
const AHEAD_S = 1;
const FILLED_S = 60;
/** Short of memory: this part of its pages is wanted again within a second, or programs wait for this part of the time. */
const REFAULT_PART = 1 / 512;
const REFAULTS_MIN = 64;
const WAIT_PART = 0.05;
/** A kernel whose page cache has all that there is leaves less than this free. */
const FREE_PART = 1 / 16;
const FREE_MIN = 16 * MIB;
/** A guest that was short gets a part of what it has, and keeps it for so long; each time that it was not enough, for twice as long. */
const RELIEF_PART = 4;
const RELIEF_MIN = 32 * MIB;
const HOLD_NS = 30e9;
const HOLD_MAX_NS = 16 * 60e9;
/** Facts that are older say nothing. */
const FACTS_AGE_NS = 60e9;

/** A balloon driver counts a few pages in another way than the hypervisor. */
const AT_REST = MIB;

/** What the domain has and is asked to have. */
export interface Balloon {
  readonly actualBytes: number;
  readonly targetBytes: number;
}

interface Observation {
  readonly facts: MemoryFacts;
  readonly atNs: number;
}

export class MemoryNeed {
  #last: Observation | undefined;
  /** What the domain has and the facts do not count. */
  #uncountedBytes: number | undefined;
  #bytesPerSecond = 0;
  #relief: { readonly bytes: number; readonly untilNs: number } | undefined;
  #holdNs = HOLD_NS;

  get source(): FactsSource | undefined {
    return this.#last?.facts.source;
  }
  /** In terms of what the domain has. */
  get neededBytes(): number | undefined {
    return this.#last && this.#last.facts.usedBytes + (this.#uncountedBytes ?? 0);
  }

  observe(facts: MemoryFacts, { actualBytes, targetBytes }: Balloon, nowNs: number): void {
    // While the balloon is on its way what the guest has is another amount than when it counted.
    if (this.#uncountedBytes === undefined || Math.abs(actualBytes - targetBytes) < AT_REST)
      this.#uncountedBytes = Math.max(0, actualBytes - facts.totalBytes);
    const last = this.#last;
    this.#last = { facts, atNs: nowNs };
    if (!last || nowNs <= last.atNs) return;
    const seconds = (nowNs - last.atNs) / 1e9;
    this.#bytesPerSecond = Math.max(0, (facts.heldBytes - last.facts.heldBytes) / seconds);
    if (isShort(last.facts, facts, actualBytes, seconds)) this.#relieve(actualBytes, nowNs);
  }

  #relieve(domainBytes: number, nowNs: number): void {
    const before = this.#relief;
    const isAgain = before !== undefined && nowNs >= before.untilNs;
    // Soon after what it was given had been taken away again: it does need it.
    if (isAgain && nowNs < before.untilNs + this.#holdNs)
      this.#holdNs = Math.min(2 * this.#holdNs, HOLD_MAX_NS);
    else if (isAgain) this.#holdNs = HOLD_NS;
    const bytes = domainBytes + Math.max(RELIEF_MIN, domainBytes / RELIEF_PART);
    const isLess = before !== undefined && !isAgain && before.bytes > bytes;
    this.#relief = { bytes: isLess ? before.bytes : bytes, untilNs: nowNs + this.#holdNs };
  }

  /** What it should have; undefined when not enough is known. @param targetBytes what it is asked to have now */
  wish(targetBytes: number, nowNs: number): number | undefined {
    if (!this.#last || nowNs - this.#last.atNs > FACTS_AGE_NS) return undefined;
    const { usedBytes, heldBytes, totalBytes } = this.#last.facts;
    const uncounted = this.#uncountedBytes ?? 0;
    const ahead = Math.min(heldBytes, AHEAD_S * this.#bytesPerSecond);
    // It goes on with pages that it has never had, and will soon have had all: what it does not look at it may still need.
    const isFilling = this.#bytesPerSecond * FILLED_S > totalBytes - heldBytes;
    const least = withReserve(uncounted + (isFilling ? heldBytes : usedBytes)) + ahead;
    const most = withReserve(uncounted + heldBytes) + ahead;
    const relief = this.#relief && nowNs < this.#relief.untilNs ? this.#relief.bytes : 0;
    // Between the two nobody knows: it keeps what it has.
    return Math.max(relief, Math.min(Math.max(targetBytes, least), most));
  }
}

const withReserve = (bytes: number): number => bytes + Math.max(RESERVE_MIN, bytes / RESERVE_PART);

function isShort(before: MemoryFacts, now: MemoryFacts, domainBytes: number, seconds: number): boolean {
  const [then, strain] = [before.strain, now.strain];
  if (!then || !strain) return false;
  const refaultsMax = Math.max(REFAULTS_MIN, (domainBytes / 4096) * REFAULT_PART);
  // What was dropped earlier is wanted again also where there is room for it by now.
  const isFull = strain.freeBytes < Math.max(FREE_MIN, domainBytes * FREE_PART);
  return (
    strain.kills > then.kills ||
    (isFull && (strain.refaults - then.refaults) / seconds > refaultsMax) ||
    (strain.waitedUs - then.waitedUs) / 1e6 / seconds > WAIT_PART
  );
}
