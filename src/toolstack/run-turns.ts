/**
 * The run loops of a host's guests share one thread: who runs guest code next is the credit scheduler's business (hypervisor/credit.ts).
 * Between two turns the host's event loop has its own.
 */
import { CreditAccount, CreditQueue, LONE_TURN_NS, type Share, TURN_NS } from '../hypervisor/credit.ts';
import type { Clock, Pacer, Platform } from '../platform/platform.ts';

/** A run loop's part in it. */
export interface RunTurn {
  /** Wait for the turn. @param isWoken there was nothing to run before */
  next(isWoken: boolean): Promise<void>;
  /** Go on in this turn, or would that be too long for others? */
  mayGoOn(): boolean;
  /** Nothing to run, or the loop has ended. */
  rest(): void;
}

/** A guest's share of a processor, wherever it has it. */
export interface GuestShare {
  share: Share;
  /** Processor time that it has used, in nanoseconds. */
  readonly usedNs: number;
  /** It is this thread's. */
  readonly isHere: boolean;
  /** The guest is gone. */
  leave(): void;
}

/** For a loop that shares its thread with no other, or not with real time. */
export const loneTurn = (pacer: Pacer): RunTurn => ({
  next: isWoken => (isWoken ? Promise.resolve() : pacer.breathe()),
  mayGoOn: () => true,
  rest() {},
});

export class RunTurns {
  readonly #clock: Clock;
  readonly #pacer: Pacer;
  readonly #queue: CreditQueue;
  readonly #grants = new Map<CreditAccount, () => void>();
  #running: CreditAccount | undefined;
  #grantedNs = 0;
  /** What the thread had worked then. */
  #workedNs = 0;
  readonly #threadTimeNs: () => number;
  /** Somebody is about to choose who runs next. */
  #isChoosing = false;

  constructor({ clock, pacer, newPacer, threadTimeNs }: Platform) {
    this.#clock = clock;
    this.#threadTimeNs = threadTimeNs ?? (() => clock.monotonicNs());
    this.#pacer = newPacer?.() ?? pacer;
    this.#queue = new CreditQueue(clock.monotonicNs());
  }

  /** Guests that have a share. */
  get count(): number {
    return this.#queue.count;
  }

  join(share: Share): ScheduledTurn {
    const account = new CreditAccount(share);
    this.#queue.join(account);
    return new ScheduledTurn(this, account);
  }
  leave(account: CreditAccount): void {
    this.rest(account);
    this.#queue.leave(account);
  }

  next(account: CreditAccount, isWoken: boolean): Promise<void> {
    this.#close(account);
    this.#queue.request(account, isWoken);
    if (isWoken && this.#running === undefined && !this.#isChoosing) {
      // Nobody is in its way, and the event loop has just had its turn.
      const first = this.#queue.next(this.#clock.monotonicNs());
      if (first === account) {
        this.#grant(account);
        return Promise.resolve();
      }
      if (first) this.#queue.request(first, false);
    }
    return new Promise(resolve => {
      this.#grants.set(account, resolve);
      this.choose();
    });
  }

  rest(account: CreditAccount): void {
    this.#close(account);
    this.#queue.withdraw(account);
    this.choose();
  }

  mayGoOn(): boolean {
    const most = this.#queue.nrWaiting > 0 ? TURN_NS : LONE_TURN_NS;
    return this.#clock.monotonicNs() - this.#grantedNs < most;
  }

  /** Somebody's share has changed: who was parked may run. */
  choose(): void {
    this.#pacer.wake();
    if (!this.#isChoosing && this.#running === undefined && this.#queue.nrWaiting > 0)
      void this.#chooseNext();
  }

  async #chooseNext(): Promise<void> {
    this.#isChoosing = true;
    try {
      await this.#pacer.breathe();
      while (this.#queue.nrWaiting > 0) {
        const account = this.#queue.next(this.#clock.monotonicNs());
        if (account) {
          const grant = this.#grants.get(account);
          this.#grants.delete(account);
          this.#grant(account);
          grant?.();
          return;
        }
        // All are parked.
        await this.#pacer.idle(this.#queue.periodEndNs);
      }
    } finally {
      this.#isChoosing = false;
    }
  }

  #grant(account: CreditAccount): void {
    this.#running = account;
    this.#grantedNs = this.#clock.monotonicNs();
    this.#workedNs = this.#threadTimeNs();
  }

  #close(account: CreditAccount): void {
    if (this.#running !== account) return;
    this.#running = undefined;
    this.#queue.charge(account, this.#threadTimeNs() - this.#workedNs);
  }
}

/** The turn of one guest, whichever machine it has at the moment. */
export class ScheduledTurn implements RunTurn, GuestShare {
  readonly #turns: RunTurns;
  readonly #account: CreditAccount;
  readonly isHere = true;

  constructor(turns: RunTurns, account: CreditAccount) {
    this.#turns = turns;
    this.#account = account;
  }

  get share(): Share {
    return this.#account.share;
  }
  set share(share: Share) {
    this.#account.share = share;
    this.#turns.choose();
  }
  get usedNs(): number {
    return this.#account.usedNs;
  }
  next(isWoken: boolean): Promise<void> {
    return this.#turns.next(this.#account, isWoken);
  }
  mayGoOn(): boolean {
    return this.#turns.mayGoOn();
  }
  rest(): void {
    this.#turns.rest(this.#account);
  }
  leave(): void {
    this.#turns.leave(this.#account);
  }
}
