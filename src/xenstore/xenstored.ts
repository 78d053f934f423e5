/**
 * The xenstore service: the store, the domains connected to it, and clients in this process.
 *
 *     const xenstored = createXenstored();
 *     const connection = xenstored.introduceDomain({ domid, memory, ringAddress, notify });
 *     connection.onEvent();                       // whenever the domain raises its event channel
 *     const xs = xenstored.client();              // the control domain's own access
 *     xenstored.pump();                           // runs watch callbacks, or give `wake`
 */
import type { MachineAddress } from '../base/brand.ts';
import { invariant } from '../base/errors.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { createClient, type XenstoreClient } from './client.ts';
import { Connection, type ConnectionEnvironment, type XenstoreTransfer } from './connection.ts';
import type { Faults } from './faults.ts';
import { TaskQueue } from './queue.ts';
import { DEFAULT_QUOTAS, type Quotas } from './quota.ts';
import type { DomainControl } from './request.ts';
import type { RingAttachment } from './ring.ts';
import { type DomainSnapshot, encodeSnapshot, snapshotIn } from './snapshot.ts';
import { INTRODUCE_DOMAIN, RELEASE_DOMAIN, Store } from './store.ts';
import { Transaction } from './transaction.ts';
import { XenstoreError } from './wire.ts';

export interface XenstoredOptions {
  readonly quotas?: Partial<Quotas>;
  /** Told when there is work for `pump()`. Without it the owner calls `pump()` by itself. */
  readonly wake?: () => void;
  readonly faults?: Faults<XenstoreTransfer>;
  /** Finds the ring of a domain that a privileged guest introduces by message; without it INTRODUCE is refused. */
  readonly attach?: (domid: number, gfn: number, port: number) => RingAttachment | undefined;
}

export interface IntroduceOptions {
  readonly domid: number;
  readonly memory: MachineMemory;
  readonly ringAddress: MachineAddress;
  /** Raise the domain's xenstore event channel. */
  notify(): void;
}

interface Domain {
  readonly connection: Connection;
  /** It was reported by `@releaseDomain`, and is not again until RESUME. */
  shutdown: boolean;
}

export class Xenstored {
  readonly store: Store;
  readonly #domains = new Map<number, Domain>();
  readonly #queue: TaskQueue;
  readonly #environment: ConnectionEnvironment;

  constructor(options: XenstoredOptions = {}) {
    this.store = new Store({ ...DEFAULT_QUOTAS, ...options.quotas });
    this.#queue = new TaskQueue(options.wake);
    const domains: DomainControl = {
      introduce: (domid, gfn, port) => {
        const attachment = options.attach?.(domid, gfn, port);
        if (!attachment) throw new XenstoreError('EINVAL');
        this.#introduce(domid, attachment);
      },
      release: domid => {
        if (domid === 0) throw new XenstoreError('EINVAL');
        this.#find(domid);
        this.releaseDomain(domid);
      },
      resume: domid => {
        if (domid === 0) throw new XenstoreError('EINVAL');
        this.#find(domid).shutdown = false;
      },
      setTarget: (domid, target) => {
        this.#find(target);
        this.#find(domid).connection.session.target = target;
      },
      isIntroduced: domid => this.isIntroduced(domid),
    };
    this.#environment = {
      store: this.store,
      domains,
      defer: task => this.#queue.defer(task),
      faults: options.faults,
    };
  }

  /** @throws XenstoreError ENOENT */
  #find(domid: number): Domain {
    const domain = this.#domains.get(domid);
    if (!domain) throw new XenstoreError('ENOENT');
    return domain;
  }

  #introduce(domid: number, attachment: RingAttachment): Connection {
    const known = this.#domains.get(domid);
    if (known) {
      known.connection.reset(attachment);
      return known.connection;
    }
    const connection = new Connection(this.#environment, domid, attachment);
    this.#domains.set(domid, { connection, shutdown: false });
    connection.announce();
    if (domid !== 0) this.store.fireSpecial(INTRODUCE_DOMAIN);
    return connection;
  }

  /**
   * Serve the domain over its ring from now on. Again for a known domain: its ring starts empty, perhaps elsewhere,
   * and its watches and transactions are gone.
   */
  introduceDomain({ domid, memory, ringAddress, notify }: IntroduceOptions): Connection {
    return this.#introduce(domid, { memory, ringAddress, notify });
  }

  /** The domain is gone: so are its connection, the nodes it owns and the permissions it was given. */
  releaseDomain(domid: number): void {
    const domain = this.#domains.get(domid);
    if (!domain) return;
    domain.connection.close();
    this.#domains.delete(domid);
    for (const session of this.store.sessions) if (session.target === domid) session.target = undefined;
    this.store.forgetDomain(domid);
    this.store.fireSpecial(RELEASE_DOMAIN);
  }

  /** The domain has shut down or crashed but still exists: `@releaseDomain` fires once. */
  domainShutdown(domid: number): void {
    const domain = this.#domains.get(domid);
    if (!domain || domain.shutdown) return;
    domain.shutdown = true;
    this.store.fireSpecial(RELEASE_DOMAIN);
  }

  /** The domain runs again after a shutdown (a suspend that was cancelled): its next shutdown counts anew. */
  resumeDomain(domid: number): void {
    const domain = this.#domains.get(domid);
    if (domain) domain.shutdown = false;
  }

  /** Let `domid` act with the rights of `target` too (a device model for its guest). @throws XenstoreError ENOENT */
  setTarget(domid: number, target: number): void {
    this.#environment.domains.setTarget(domid, target);
  }

  isIntroduced(domid: number): boolean {
    return this.#domains.has(domid);
  }

  connection(domid: number): Connection | undefined {
    return this.#domains.get(domid)?.connection;
  }

  /** Access from this process with the rights of `domid`, by default those of the control domain. */
  client(domid = 0): XenstoreClient {
    return createClient(this.store, domid, task => this.#queue.defer(task));
  }

  /** Run waiting watch callbacks and retries, and what they cause. */
  pump(): void {
    this.#queue.pump();
  }

  get hasWork(): boolean {
    return !this.#queue.isEmpty;
  }

  /** The tree and the connected domains; `restore` takes it. */
  save(): Uint8Array {
    const domains = [...this.#domains.values()].map(({ connection, shutdown }): DomainSnapshot => {
      const { domid, target, watches, transactions } = connection.session;
      const buffers = connection.saveBuffers();
      return { domid, target, shutdown, watches, transactionIds: [...transactions.keys()], buffers };
    });
    return encodeSnapshot({ top: this.store.top, generation: this.store.generation, domains });
  }

  /**
   * Take the place of a saved xenstore, before any domain is introduced here. `attach` says where the rings are now,
   * with their saved content; a domain that it does not know is not connected. No special watch fires. The bytes are not changed afterwards.
   * @throws DomusError E_XENSTORE_STATE
   */
  restore(bytes: Uint8Array, attach: (domid: number) => RingAttachment | undefined): void {
    invariant(this.#domains.size === 0, 'xenstore is restored over connected domains');
    const { top, generation, domains } = snapshotIn(bytes);
    this.store.replaceTree(top, generation);
    for (const { domid, target, shutdown, watches, transactionIds, buffers } of domains) {
      const attachment = attach(domid);
      if (!attachment || this.#domains.has(domid)) continue;
      const connection = new Connection(this.#environment, domid, attachment);
      const { session } = connection;
      session.target = target;
      session.watches = [...watches];
      for (const id of transactionIds) {
        const transaction = new Transaction(top, this.store.quotas.transactionNodes);
        transaction.failure = 'EAGAIN';
        session.transactions.set(id, transaction);
      }
      connection.restoreBuffers(buffers);
      this.#domains.set(domid, { connection, shutdown });
    }
  }
}

export const createXenstored = (options?: XenstoredOptions): Xenstored => new Xenstored(options);
