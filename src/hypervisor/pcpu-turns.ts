/**
 * A pCPU that many machines share: whose turn it is, by the credit scheduler's accounts, and how long it may sleep when it is nobody's. It knows
 * no thread, and time is given to it.
 */
import { CreditAccount, CreditQueue, LONE_TURN_NS, type Share, TURN_NS } from './credit.ts';

/** A machine's part in it. */
export interface Turns {
  readonly account: CreditAccount;
  /** When its next timer is due, where it does not wait for its turn. */
  dueNs: number;
}

export class PcpuTurns<T extends { readonly turns: Turns }> {
  readonly #queue: CreditQueue;
  readonly #machines = new Map<CreditAccount, T>();

  constructor(nowNs: number) {
    this.#queue = new CreditQueue(nowNs);
  }

  static turnsOf(share: Share): Turns {
    return { account: new CreditAccount(share), dueNs: 0 };
  }

  join(machine: T): void {
    this.#machines.set(machine.turns.account, machine);
    this.#queue.join(machine.turns.account);
  }
  leave({ turns: { account } }: T): void {
    this.#machines.delete(account);
    this.#queue.leave(account);
  }
  get machines(): Iterable<T> {
    return this.#machines.values();
  }

  /** The machine has something to execute. */
  wake({ turns }: T): void {
    turns.dueNs = Number.POSITIVE_INFINITY;
    this.#queue.request(turns.account, true);
  }
  /** Those whose timers are due have something to execute. Then: whose turn is it? */
  next(nowNs: number): T | undefined {
    for (const machine of this.#machines.values()) if (machine.turns.dueNs <= nowNs) this.wake(machine);
    const account = this.#queue.next(nowNs);
    return account && this.#machines.get(account);
  }
  /** So long a turn may be at this moment. */
  get turnNs(): number {
    return this.#queue.nrWaiting > 0 ? TURN_NS : LONE_TURN_NS;
  }
  /** It has had its turn, and used so much. @param dueNs when it wants the next one; 0: as soon as can be */
  ended({ turns }: T, usedNs: number, dueNs: number): void {
    this.#queue.charge(turns.account, usedNs);
    if (dueNs === 0) this.#queue.request(turns.account, false);
    else turns.dueNs = dueNs;
  }
  /** When something is due, if nobody is woken before. */
  get dueNs(): number {
    let dueNs = this.#queue.nrWaiting > 0 ? this.#queue.periodEndNs : Number.POSITIVE_INFINITY;
    for (const { turns } of this.#machines.values()) dueNs = Math.min(dueNs, turns.dueNs);
    return dueNs;
  }
}
