/**
 * The credit scheduler's accounts (as Xen's credit1): who of several that share one processor runs next. It knows no clock and no thread:
 * times are given, in nanoseconds.
 *
 * Every 30 ms what was used is handed out again as credit, by weight, to those that ran or waited. Whoever has credit (UNDER) goes before
 * those that have none (OVER); in each class they take turns. One that wakes and is UNDER goes first once (BOOST). A cap is an allowance for
 * each period: who has used it up waits for the next (parked), even if nobody else wants to run.
 */

export const PERIOD_NS = 30_000_000;
/** A turn with others waiting, and with none. Other events are looked at after it. */
export const TURN_NS = 2_000_000;
export const LONE_TURN_NS = 10_000_000;
/** Credit and debt that are kept, in periods: who slept long shall not have the processor alone for long, nor lose it. */
const CREDIT_PERIODS_MAX = 1;
const DEBT_PERIODS_MAX = 10;

export interface Share {
  /** 1 to 65535; 256 is the usual one. */
  readonly weight: number;
  /** Percent of the processor; 0: no cap. */
  readonly cap: number;
}

export class CreditAccount {
  #share: Share;
  creditNs = 0;
  /** What it may still use in this period, where it is capped. */
  allowanceNs: number;
  usedNs = 0;
  /** In this period. */
  recentNs = 0;
  isBoosted = false;
  isWaiting = false;

  constructor(share: Share) {
    this.#share = share;
    this.allowanceNs = allowance(share, PERIOD_NS);
  }

  get share(): Share {
    return this.#share;
  }
  set share(share: Share) {
    this.#share = share;
    // A new cap begins with what it allows.
    this.allowanceNs = allowance(share, PERIOD_NS);
  }
  get isParked(): boolean {
    return this.share.cap > 0 && this.allowanceNs <= 0;
  }
}

const allowance = ({ cap }: Share, elapsedNs: number): number => (cap / 100) * elapsedNs;

export class CreditQueue {
  /** Those that want to run, longest waiting first. */
  readonly #waiting: CreditAccount[] = [];
  readonly #accounts = new Set<CreditAccount>();
  #periodStartNs: number;

  constructor(nowNs: number) {
    this.#periodStartNs = nowNs;
  }

  /** Those that have joined. */
  get count(): number {
    return this.#accounts.size;
  }
  get nrWaiting(): number {
    return this.#waiting.length;
  }
  get periodEndNs(): number {
    return this.#periodStartNs + PERIOD_NS;
  }

  join(account: CreditAccount): void {
    this.#accounts.add(account);
  }
  leave(account: CreditAccount): void {
    this.withdraw(account);
    this.#accounts.delete(account);
  }

  /** It wants to run. @param isWoken it had nothing to do before */
  request(account: CreditAccount, isWoken: boolean): void {
    if (account.isWaiting) return;
    account.isWaiting = true;
    account.isBoosted = isWoken && account.creditNs >= 0;
    this.#waiting.push(account);
  }
  /** It does not any more. */
  withdraw(account: CreditAccount): void {
    if (!account.isWaiting) return;
    account.isWaiting = false;
    this.#waiting.splice(this.#waiting.indexOf(account), 1);
  }

  /** Take who runs next; undefined when nobody waits, or all that do are parked. */
  next(nowNs: number): CreditAccount | undefined {
    this.#settle(nowNs);
    let best: CreditAccount | undefined;
    let bestClass = 3;
    for (const account of this.#waiting) {
      if (account.isParked) continue;
      const itsClass = account.isBoosted ? 0 : account.creditNs >= 0 ? 1 : 2;
      if (itsClass >= bestClass) continue;
      best = account;
      bestClass = itsClass;
    }
    if (best) {
      this.withdraw(best);
      best.isBoosted = false;
    }
    return best;
  }

  /** It has run. */
  charge(account: CreditAccount, ns: number): void {
    account.creditNs -= ns;
    account.usedNs += ns;
    account.recentNs += ns;
    if (account.share.cap > 0) account.allowanceNs -= ns;
  }

  /** Hand out what was used, when a period has passed. */
  #settle(nowNs: number): void {
    const elapsedNs = nowNs - this.#periodStartNs;
    if (elapsedNs < PERIOD_NS) return;
    this.#periodStartNs = nowNs;
    const active = [...this.#accounts].filter(({ recentNs, isWaiting }) => recentNs > 0 || isWaiting);
    this.#handOut(active, elapsedNs);
    for (const account of this.#accounts) {
      account.recentNs = 0;
      const { share } = account;
      if (share.cap === 0) continue;
      // What is left of a period is lost with it; a debt is not.
      const most = allowance(share, PERIOD_NS);
      account.allowanceNs = Math.min(most, account.allowanceNs + allowance(share, elapsedNs));
    }
  }

  /** By weight, but to nobody more than its cap lets it use: others have the rest. */
  #handOut(active: readonly CreditAccount[], elapsedNs: number): void {
    let leftNs = active.reduce((sum, { recentNs }) => sum + recentNs, 0);
    let open = [...active];
    while (open.length > 0) {
      const weights = open.reduce((sum, { share }) => sum + share.weight, 0);
      const fairNs = ({ share }: CreditAccount) => (leftNs * share.weight) / weights;
      const isBound = (account: CreditAccount) =>
        account.share.cap > 0 && fairNs(account) > allowance(account.share, elapsedNs);
      const bound = open.filter(isBound);
      // Nobody is in the way of anybody, or nobody is left who could take what the caps leave.
      const settled = bound.length === 0 || bound.length === open.length ? open : bound;
      const given = settled.map(account =>
        isBound(account) ? allowance(account.share, elapsedNs) : fairNs(account),
      );
      for (const [i, account] of settled.entries()) {
        account.creditNs = Math.min(
          CREDIT_PERIODS_MAX * PERIOD_NS,
          Math.max(-DEBT_PERIODS_MAX * PERIOD_NS, account.creditNs + given[i]!),
        );
        leftNs -= given[i]!;
      }
      open = open.filter(account => !settled.includes(account));
    }
  }
}
