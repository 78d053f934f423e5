/**
 * One user of the store: a domain behind its ring, or a part of the control domain in this process. A session owns its
 * watches and its open transactions.
 */
import type { Subject } from './permissions.ts';
import type { Transaction } from './transaction.ts';

export interface Watch {
  /** Canonical. */
  readonly path: string;
  readonly token: string;
  /** Length of what is cut off the paths of events: the domain's own path if the watch was set by a relative one. */
  readonly prefixLength: number;
}

/** Takes a watch event for `session` towards its owner. Must not call back into the store. */
export type EventSink = (path: string, token: string) => void;

export class Session implements Subject {
  readonly domid: number;
  /** The domain that this one acts for (SET_TARGET). */
  target: number | undefined = undefined;
  /** In the order they were set, which is the order in which they fire. */
  watches: Watch[] = [];
  readonly transactions = new Map<number, Transaction>();
  #nextTransactionId = 1;
  readonly deliver: EventSink;

  constructor(domid: number, deliver: EventSink) {
    this.domid = domid;
    this.deliver = deliver;
  }

  /** An identifier that no open transaction of this session has; never 0. */
  allocateTransactionId(): number {
    let id: number;
    do {
      id = this.#nextTransactionId;
      this.#nextTransactionId = id === 0xffff_ffff ? 1 : id + 1;
    } while (this.transactions.has(id));
    return id;
  }

  /** RESET_WATCHES, a new guest kernel, a broken ring: forget all watches and transactions. */
  reset(): void {
    this.watches = [];
    this.transactions.clear();
  }
}
