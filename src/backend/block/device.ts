/**
 * A block device of a domain (vbd): the backend half, over a disk.
 *
 * The domain's kernel reads what the device can do, writes its rings and event channels and goes to Initialised; the backend maps the
 * rings, binds the channels, says how large the disk is and goes to Connected. Either half may close, and a kernel may
 * come back. What the domain writes is checked: nonsense ends in state Closing with the reason under `error/`.
 */
import { domid as domainId, gref, type MachineAddress, port } from '../../base/brand.ts';
import type { Disk } from '../../disk/disk.ts';
import type { XenstoreClient } from '../../xenstore/client.ts';
import { BackendHalf } from '../half.ts';
import type { CopyingHost } from '../host.ts';
import { parseUnsigned, XenbusState } from '../xenbus.ts';
import { type BlockDeviceKeys, KIND, RING_ORDER_MAX, writeBlockDeviceKeys, writeDiskFacts } from './keys.ts';
import { OpenRequests } from './open-requests.ts';
import { BlockRing } from './ring.ts';
import { type BlockCounters, type BlockQueue, BlockServer, type BlockServerOptions } from './server.ts';
import { vdevName } from './vdev.ts';

export const MAX_QUEUES_DEFAULT = 4;
/** A kernel has this time to take an interrupt and make requests of what it held back. */
const DRAIN_QUIET_MS = 100;
/** A kernel that goes on for longer has no claim to answers. */
const DRAIN_ROUNDS_MAX = 100;

export interface BlockDeviceOptions extends Omit<BlockServerOptions, 'host'> {
  /** A client of the backend's domain. */
  readonly xs: XenstoreClient;
  readonly host: CopyingHost;
  /** See vdev.ts. */
  readonly devid: number;
  /** The domain was restored, and has the device's keys already. */
  readonly isRestored?: boolean | undefined;
  /** Told to tools. */
  readonly name?: string | undefined;
  readonly backendDomid?: number;
  /** Queues that the domain may ask for. */
  readonly maxQueues?: number | undefined;
  /** Pages that the domain copies through and never takes back. Off: copying is dearer for a guest than granting. */
  readonly hasPersistentGrants?: boolean | undefined;
  /** What an earlier backend of the device has left open, and this one will if it dies. */
  readonly open?: OpenRequests | undefined;
  /**
   * The backend has failed by its own fault, and is abandoned: its requests wait for another one with the same `open`. Without it
   * such an error is thrown at whoever runs the backend.
   */
  readonly onDied?: ((error: unknown) => void) | undefined;
  /** The device is gone, after `remove`. */
  readonly onRemoved?: (() => void) | undefined;
}

/** What the domain says about one of its queues. */
interface QueueKeys {
  readonly refs: readonly number[];
  readonly port: number;
}

interface Link {
  /** The keys as text, to see whether they have changed. */
  readonly key: string;
  disconnect(): void;
}

export class BlockDevice {
  readonly #options: BlockDeviceOptions;
  readonly #keys: BlockDeviceKeys;
  readonly #server: BlockServer;
  readonly #half: BackendHalf;
  #link: Link | undefined;
  readonly #open: OpenRequests;
  #isAbandoned = false;

  /** Writes the device's keys and waits for the domain. */
  constructor(options: BlockDeviceOptions) {
    const { xs, domid, devid, backendDomid = 0, disk } = options;
    this.#options = options;
    this.#open = options.open ?? new OpenRequests();
    this.#server = new BlockServer({
      ...options,
      defer: task => options.defer(() => this.#guarded(task)),
    });
    this.#keys = {
      domid,
      devid,
      backendDomid,
      name: options.name ?? vdevName(0),
      sizeBytes: disk.sizeBytes,
      isReadOnly: disk.isReadOnly,
      canDiscard: disk.canDiscard,
      discardUnitBytes: disk.discardUnitBytes,
      maxQueues: options.maxQueues ?? MAX_QUEUES_DEFAULT,
      hasPersistentGrants: options.hasPersistentGrants === true,
    };
    const device = this;
    this.#half = new BackendHalf({ kind: KIND, domid, devid, backendDomid }, options, {
      get isConnected() {
        return device.#link !== undefined;
      },
      connect: state => this.#connect(state),
      lastAnswers: () => this.#lastAnswers(),
      drain: () => this.#drain(),
      disconnect: () => this.#disconnect(),
      removed: () => {
        this.#server.close();
        options.onRemoved?.();
      },
    });
    if (options.isRestored) {
      this.#half.resume();
      return;
    }
    writeBlockDeviceKeys(xs, this.#keys);
    this.#half.start();
  }

  /** The backend's `XenbusState`. */
  get state(): number {
    return this.#half.state;
  }
  get disk(): Disk {
    return this.#options.disk;
  }
  get counters(): BlockCounters {
    return this.#server.counters;
  }
  /** Requests on their way to the disk, or open under a backend that has died. */
  get running(): number {
    return this.#isAbandoned ? this.#open.size : this.#server.running;
  }
  /** See BlockServer.pending. */
  get pending(): Promise<unknown> | undefined {
    return this.#server.pending;
  }

  /** The queues that the domain describes, or why they cannot be used. */
  #readQueues(): QueueKeys[] | string {
    const protocol = this.#half.read('protocol') ?? 'x86_64-abi';
    if (protocol !== 'x86_64-abi') return `the protocol ${protocol.slice(0, 40)} is not spoken here`;
    const countText = this.#half.read('multi-queue-num-queues');
    const count = countText === undefined ? 1 : parseUnsigned(countText);
    if (count === undefined || count < 1 || count > this.#keys.maxQueues)
      return 'the number of queues is impossible';
    const orderText = this.#half.read('ring-page-order');
    const order = orderText === undefined ? 0 : parseUnsigned(orderText);
    if (order === undefined || order > RING_ORDER_MAX) return 'the ring-page-order is impossible';
    const queues: QueueKeys[] = [];
    for (let i = 0; i < count; i++) {
      const prefix = count === 1 ? '' : `queue-${i}/`;
      const names =
        orderText === undefined
          ? [`${prefix}ring-ref`]
          : Array.from({ length: 2 ** order }, (_, page) => `${prefix}ring-ref${page}`);
      const refs = names.map(name => parseUnsigned(this.#half.read(name)));
      const channel = parseUnsigned(this.#half.read(`${prefix}event-channel`));
      if (channel === undefined || refs.some(ref => ref === undefined)) {
        return 'ring-ref and event-channel are not both numbers';
      }
      queues.push({ refs: refs as number[], port: channel });
    }
    return queues;
  }

  #connect(frontendState: number): void {
    const { domid, faults } = this.#options;
    if (this.#link && frontendState === XenbusState.connected) return;
    const queues = this.#readQueues();
    if (typeof queues === 'string') {
      this.#half.fail(queues);
      return;
    }
    const key = JSON.stringify(queues);
    if (this.#link?.key === key) return;
    if (this.#link) this.#disconnect();
    if (!this.#half.mayConnect(faults?.onTransfer('block-connect', domid, 0) ?? 'none')) return;
    const undo: (() => void)[] = [];
    const disconnect = () => {
      for (const step of undo.reverse()) step();
    };
    this.#open.connected(key);
    const opened: BlockQueue[] = [];
    for (const [index, queue] of queues.entries()) {
      const found = this.#openQueue(index, queue, undo);
      if (typeof found === 'string') {
        disconnect();
        this.#half.fail(found);
        return;
      }
      opened.push(found);
    }
    this.#link = { key, disconnect };
    const { xs, backendDomid = 0, disk } = this.#options;
    // A restored domain has read them.
    if (this.#half.state !== XenbusState.connected)
      writeDiskFacts(xs, this.#half.path, domid, backendDomid, disk);
    this.#half.switch(XenbusState.connected);
    this.#guarded(() => {
      for (const queue of opened) this.#server.serve(queue);
    });
  }

  /** Do a part of the backend's work: an error that it throws is our own, not the disk's or the domain's. */
  #guarded(work: () => void): void {
    if (this.#isAbandoned) return;
    try {
      work();
    } catch (error) {
      const { onDied } = this.#options;
      if (!onDied) throw error;
      this.#open.died(this.#server.culprit);
      this.abandon();
      onDied(error);
    }
  }

  #openQueue(index: number, keys: QueueKeys, undo: (() => void)[]): BlockQueue | string {
    const { host, domid } = this.#options;
    const owner = domainId(domid);
    const pages: MachineAddress[] = [];
    for (const number of keys.refs) {
      const ref = gref(number);
      const address = host.mapGrant(owner, ref);
      if (address === undefined) return `cannot map grant ${number}`;
      undo.push(() => host.unmapGrant(owner, ref, address));
      pages.push(address);
    }
    const ring = new BlockRing(host.memory, pages, this.#open.ring(index));
    const onEvent = () => this.#guarded(() => this.#onEvent(queue));
    const channel = host.bindInterdomain(owner, port(keys.port), onEvent);
    if (!channel) return `cannot bind event channel ${keys.port}`;
    undo.push(() => channel.close());
    const queue: BlockQueue = { ring, notify: () => channel.notify(), isClosed: false };
    this.#server.add(queue);
    undo.push(() => this.#server.remove(queue));
    return queue;
  }

  #lastAnswers(): Promise<void> | undefined {
    let answers: Promise<void> | undefined;
    this.#guarded(() => {
      answers = this.#server.lastAnswers();
    });
    // Of a backend that died over it the domain waits for its successor's answers.
    return this.#isAbandoned ? new Promise(() => {}) : answers;
  }

  /**
   * Linux's blkfront stops its queues when it closes, and starts them again at its next interrupt. What is in them by then comes
   * after state Closed, or never, and who waits for it waits for ever: so the driver has an interrupt until nothing comes of it.
   */
  async #drain(): Promise<void> {
    for (let round = 0; round < DRAIN_ROUNDS_MAX; round++) {
      const before = this.counters.requests;
      await this.#lastAnswers();
      this.#server.wakeDomain();
      await new Promise<void>(resolve => this.#options.timers.after(DRAIN_QUIET_MS, resolve));
      if (this.counters.requests === before) return;
    }
  }

  #onEvent(queue: BlockQueue): void {
    this.#server.serve(queue);
    if (queue.ring.isBroken && !queue.isClosed)
      this.#half.fail('a ring with more requests than it has room for');
  }

  #disconnect(): void {
    const link = this.#link;
    this.#link = undefined;
    link?.disconnect();
    if (!this.#isAbandoned) this.#open.clear();
  }

  /** The disk has another size by now: tell the domain, whose kernel looks again when it sees the state written. */
  resized(): void {
    if (this.#half.state !== XenbusState.connected) return;
    const { xs, domid, backendDomid = 0, disk } = this.#options;
    writeDiskFacts(xs, this.#half.path, domid, backendDomid, disk);
    this.#half.announce();
  }

  /** Take no more requests. Those that are on their way are answered: `running` says when. */
  hold(): void {
    this.#server.hold();
  }

  /** The domain's requests wait for another backend (`isRestored`, the same `open`): those that are open, and those in the rings. */
  abandon(): void {
    if (this.#isAbandoned) return;
    this.#isAbandoned = true;
    this.#half.abandon();
    this.#server.close();
  }

  /** See BackendHalf.remove. */
  remove(force = false): void {
    this.#half.remove(force);
  }
}

export const createBlockDevice = (options: BlockDeviceOptions): BlockDevice => new BlockDevice(options);
