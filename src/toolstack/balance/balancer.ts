/**
 * Moves memory between the guests of a host by need: asks those that take part how they are, and sets the targets of their balloons.
 * plan.ts says who is to have how much, need.ts what each should have.
 */
import { DomusError } from '../../base/errors.ts';
import type { Clock, Timers } from '../../platform/platform.ts';
import { formatSize } from '../config.ts';
import type { FactsSource, MemoryFacts } from './facts.ts';
import { MemoryNeed } from './need.ts';
import { type PlannedGuest, targetsOf } from './plan.ts';

/** A guest as the balancer sees it. */
export interface BalancedGuest {
  readonly balloon: {
    readonly actualBytes: number;
    readonly targetBytes: number;
    /** The most that it can be asked to have. */
    readonly maxBytes: number;
    /** It executes nothing, so it can neither give nor take. */
    readonly isPaused: boolean;
  };
  /** It has ended, and nothing can be asked of it. */
  readonly hasStopped: boolean;
  /** Memory of the host that it has used so far. */
  readonly touchedBytes: number;
  /** Executed so far: a guest that does nothing takes nothing. */
  instructions(): number;
  /** Undefined when nobody can tell. */
  memoryFacts(): Promise<MemoryFacts | undefined>;
  /** Set its target; `why` is for people. */
  balance(targetBytes: number, why: string): void;
}

/** What the host's memory guard knows. */
export interface HostMemory {
  /** What the host can still give above its reserve; below zero when that is touched. */
  readonly spareBytes: number;
}

export interface BalanceRange {
  /** Never less. */
  readonly minBytes: number;
  /** As long as nobody needs it more. */
  readonly usualBytes: number;
}

/** What is shown of a guest that takes part. */
export interface BalanceFacts extends BalanceRange {
  /** What it needs, as far as that is known, and who said so. */
  readonly neededBytes?: number;
  readonly source?: FactsSource;
}

export interface BalanceStatus {
  /** For all guests that take part; undefined where it is what they usually have, together. */
  readonly fixedBudgetBytes: number | undefined;
  readonly budgetBytes: number;
  /** What they have of it, or are asked to have if that is more. */
  readonly boundBytes: number;
}

/** Between two looks at what the guests have executed. */
const LOOK_MS = 100;
const EASE_NS = 2e9;
/** A guest that has not answered by then is late. */
const LATE_NS = 2e9;
const HOST_LOOK_NS = 500e6;
/** A guest takes no more memory than this in a second, and executes no less than that for a page: what it has left lasts so long. */
const BYTES_PER_SECOND_MAX = 256 * 2 ** 20;
const INSTRUCTIONS_PER_PAGE = 600;
const PAGE = 4096;
/** It is asked again when a part of that is over, and now and then in any case. */
const ASK_PART = 4;
const ASK_NS_MAX = 10e9;
/** Counting pages takes a millisecond or two, and what is idle changes slowly. */
const PAGES_NS = 2e9;
/** Told as an event when the target has changed by so much since the last one. */
const TOLD_PART = 8;
const TOLD_MIN = 16 * 2 ** 20;

interface Member {
  range: BalanceRange;
  readonly need: MemoryNeed;
  isAsked: boolean;
  askedNs: number;
  askedAt: number;
  /** Left until it would have nothing. */
  leftBytes: number;
  toldBytes: number;
}

export class MemoryBalancer {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #host: HostMemory;
  readonly #members = new Map<BalancedGuest, Member>();
  #fixedBudget: number | undefined;
  #easedNs = 0;
  #hostBytes = 0;
  #hostNs = Number.NEGATIVE_INFINITY;
  #cancel: (() => void) | undefined;

  constructor({ clock, timers }: { readonly clock: Clock; readonly timers: Timers }, host: HostMemory) {
    this.#clock = clock;
    this.#timers = timers;
    this.#host = host;
  }

  get status(): BalanceStatus {
    const bounds = this.#running.map(([{ balloon }]) => Math.max(balloon.targetBytes, balloon.actualBytes));
    return {
      fixedBudgetBytes: this.#fixedBudget,
      budgetBytes: this.#budget,
      boundBytes: bounds.reduce((total, bytes) => total + bytes, 0),
    };
  }

  factsOf(guest: BalancedGuest): BalanceFacts | undefined {
    const member = this.#members.get(guest);
    if (!member) return undefined;
    const { neededBytes, source } = member.need;
    return { ...member.range, ...(neededBytes !== undefined && { neededBytes }), ...(source && { source }) };
  }

  get #budget(): number {
    if (this.#fixedBudget !== undefined) return this.#fixedBudget;
    return this.#running.reduce((total, [, { range }]) => total + range.usualBytes, 0);
  }

  get #running(): readonly (readonly [BalancedGuest, Member])[] {
    return [...this.#members].filter(([{ hasStopped }]) => !hasStopped);
  }

  /** Let a guest take part, or change its range. @throws DomusError E_MEMORY_RANGE */
  join(guest: BalancedGuest, range: BalanceRange): void {
    const { minBytes, usualBytes } = range;
    const { maxBytes } = guest.balloon;
    if (minBytes > usualBytes || usualBytes > maxBytes) {
      throw new DomusError(
        'E_MEMORY_RANGE',
        `a guest cannot have ${formatSize(minBytes)} at least, ${formatSize(usualBytes)} usually and ${formatSize(maxBytes)} at most`,
        'choose a least amount that is not more than what it has (mem-set), nor that more than mem-max',
      );
    }
    const others = this.#running.filter(([other]) => other !== guest).map(([, member]) => member.range);
    this.#checkBudget(this.#fixedBudget, [...others, range]);
    const member = this.#members.get(guest);
    if (member) member.range = range;
    else this.#members.set(guest, this.#newMember(guest, range));
    this.#cancel ??= this.#timers.every(LOOK_MS, () => this.#look());
  }

  #newMember(guest: BalancedGuest, range: BalanceRange): Member {
    return {
      range,
      need: new MemoryNeed(),
      isAsked: false,
      askedNs: Number.NEGATIVE_INFINITY,
      askedAt: Number.NEGATIVE_INFINITY,
      leftBytes: 0,
      toldBytes: guest.balloon.targetBytes,
    };
  }

  /** It keeps what it has. */
  leave(guest: BalancedGuest): void {
    this.#members.delete(guest);
    if (this.#members.size > 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** Undefined: what the guests usually have, together. @throws DomusError E_MEMORY_BUDGET */
  setBudget(bytes: number | undefined): void {
    this.#checkBudget(
      bytes,
      this.#running.map(([, { range }]) => range),
    );
    this.#fixedBudget = bytes;
  }

  /** @throws DomusError E_MEMORY_BUDGET */
  #checkBudget(bytes: number | undefined, ranges: readonly BalanceRange[]): void {
    if (bytes === undefined) return;
    const least = ranges.reduce((total, { minBytes }) => total + minBytes, 0);
    if (Number.isSafeInteger(bytes) && bytes > 0 && bytes >= least) return;
    throw new DomusError(
      'E_MEMORY_BUDGET',
      `${formatSize(bytes)} are not enough for guests that are to have ${formatSize(least)} at least`,
      'choose a larger budget, or smaller least amounts',
    );
  }

  #look(): void {
    const nowNs = this.#clock.monotonicNs();
    for (const [guest, member] of this.#running)
      if (!member.isAsked && isDue(guest, member, nowNs)) void this.#ask(guest, member, nowNs);
    this.#balance();
  }

  async #ask(guest: BalancedGuest, member: Member, nowNs: number): Promise<void> {
    member.isAsked = true;
    member.askedNs = nowNs;
    member.askedAt = guest.instructions();
    try {
      const facts = await guest.memoryFacts();
      // It may have left meanwhile.
      if (!facts || this.#members.get(guest) !== member) return;
      member.leftBytes = Math.max(0, facts.totalBytes - facts.usedBytes);
      member.need.observe(facts, guest.balloon, this.#clock.monotonicNs());
      this.#balance();
    } catch {
      // A guest that ends while it is asked.
    } finally {
      member.isAsked = false;
    }
  }

  #balance(): void {
    const nowNs = this.#clock.monotonicNs();
    if (nowNs - this.#hostNs >= HOST_LOOK_NS) {
      this.#hostBytes = this.#host.spareBytes;
      this.#hostNs = nowNs;
    }
    const eases = nowNs - this.#easedNs >= EASE_NS;
    if (eases) this.#easedNs = nowNs;
    const members = this.#running;
    const planned = members.map(([guest, member]) => plannedGuest(guest, member, nowNs));
    const targets = targetsOf(planned, { bytes: this.#budget, hostBytes: this.#hostBytes }, eases);
    for (const [i, [guest, member]] of members.entries()) {
      const [before, target] = [planned[i]!, targets[i]!];
      if (target !== before.targetBytes) this.#set(guest, member, target, before);
    }
  }

  #set(guest: BalancedGuest, member: Member, target: number, before: PlannedGuest): void {
    const isTold = Math.abs(target - member.toldBytes) >= Math.max(TOLD_MIN, member.toldBytes / TOLD_PART);
    if (isTold) member.toldBytes = target;
    guest.balance(target, isTold ? reasonOf(target, before) : '');
  }
}

/** Of a change, for people. */
function reasonOf(target: number, { wishBytes = 0, targetBytes, usualBytes }: PlannedGuest): string {
  if (target > targetBytes) return wishBytes > targetBytes ? 'it needs more' : 'nobody needs it more';
  return targetBytes > usualBytes ? 'it needs no more' : 'others need it more';
}

function isDue(guest: BalancedGuest, member: Member, nowNs: number): boolean {
  const { askedNs, askedAt, leftBytes, need } = member;
  if (guest.balloon.isPaused || (need.source === 'pages' && nowNs - askedNs < PAGES_NS)) return false;
  const executed = guest.instructions() - askedAt;
  if (executed === 0) return false;
  const waitedNs = nowNs - askedNs;
  const lastsNs = (leftBytes / BYTES_PER_SECOND_MAX) * 1e9;
  const lasts = (leftBytes / PAGE) * INSTRUCTIONS_PER_PAGE;
  return waitedNs >= ASK_NS_MAX || (waitedNs >= lastsNs / ASK_PART && executed >= lasts / ASK_PART);
}

function plannedGuest(guest: BalancedGuest, member: Member, nowNs: number): PlannedGuest {
  const { actualBytes, targetBytes, maxBytes, isPaused } = guest.balloon;
  const { minBytes, usualBytes } = member.range;
  const wish = isPaused ? undefined : member.need.wish(targetBytes, nowNs);
  // Who does not answer may have changed: nothing is taken from it.
  const isLate = member.isAsked && nowNs - member.askedNs > LATE_NS;
  return {
    ...{ minBytes, maxBytes, targetBytes, actualBytes },
    usualBytes: Math.min(usualBytes, maxBytes),
    touchedBytes: guest.touchedBytes,
    wishBytes: isLate && wish !== undefined ? Math.max(wish, targetBytes) : wish,
  };
}
