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
import { XenstoreError } from '../../xenstore/wire.ts';
import {
  backendPath,
  errorPath,
  frontendPath,
  parseState,
  parseUnsigned,
  XenbusState,
} from '../console/xenbus.ts';
import type { BlockHost } from './host.ts';
import {
  type BlockDeviceKeys,
  KIND,
  RING_ORDER_MAX,
  removeBlockDeviceKeys,
  writeBlockDeviceKeys,
  writeDiskFacts,
} from './keys.ts';
import { BlockRing } from './ring.ts';
import { type BlockCounters, type BlockQueue, BlockServer, type BlockServerOptions } from './server.ts';
import { vdevName } from './vdev.ts';

export const MAX_QUEUES_DEFAULT = 4;

export interface BlockDeviceOptions extends Omit<BlockServerOptions, 'host'> {
  /** A client of the backend's domain. */
  readonly xs: XenstoreClient;
  readonly host: BlockHost;
  /** See vdev.ts. */
  readonly devid: number;
  /** Told to tools. */
  readonly name?: string | undefined;
  readonly backendDomid?: number;
  /** Queues that the domain may ask for. */
  readonly maxQueues?: number | undefined;
  /** Pages that the domain copies through and never takes back. Off: copying is dearer for a guest than granting. */
  readonly hasPersistentGrants?: boolean | undefined;
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
  readonly #front: string;
  readonly #back: string;
  readonly #server: BlockServer;
  readonly #unwatch: () => void;
  #link: Link | undefined;
  #state: number = XenbusState.initialising;
  #removing = false;
  #removed = false;

  /** Writes the device's keys and waits for the domain. */
  constructor(options: BlockDeviceOptions) {
    const { xs, domid, devid, backendDomid = 0, disk } = options;
    this.#options = options;
    this.#server = new BlockServer(options);
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
    this.#front = frontendPath(domid, KIND, devid);
    this.#back = backendPath(backendDomid, KIND, domid, devid);
    writeBlockDeviceKeys(xs, this.#keys);
    this.#switch(XenbusState.initWait);
    this.#unwatch = xs.watch(`${this.#front}/state`, () => this.#frontendChanged());
  }

  /** The backend's `XenbusState`. */
  get state(): number {
    return this.#state;
  }
  get disk(): Disk {
    return this.#options.disk;
  }
  get counters(): BlockCounters {
    return this.#server.counters;
  }
  /** See BlockServer.pending. */
  get pending(): Promise<unknown> | undefined {
    return this.#server.pending;
  }

  #switch(state: number): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.xs.write(`${this.#back}/state`, state);
  }

  /** A key of the domain's. It may have taken it away, or the right to read it. */
  #read(key: string): string | undefined {
    try {
      return this.#options.xs.read(`${this.#front}/${key}`);
    } catch (error) {
      if (error instanceof XenstoreError) return undefined;
      throw error;
    }
  }

  #frontendChanged(): void {
    if (this.#removed) return;
    switch (parseState(this.#read('state'))) {
      case XenbusState.initialising:
        // A kernel that starts anew; before the first one this changes nothing.
        this.#disconnect();
        if (!this.#removing) this.#switch(XenbusState.initWait);
        return;
      case XenbusState.initialised:
      case XenbusState.connected:
        if (!this.#removing) this.#connect();
        return;
      case XenbusState.closing:
        this.#disconnect();
        this.#switch(XenbusState.closing);
        return;
      case XenbusState.closed:
      case XenbusState.unknown:
        this.#disconnect();
        this.#switch(XenbusState.closed);
        if (this.#removing) this.#finish();
        return;
      default:
        return;
    }
  }

  /** The queues that the domain describes, or why they cannot be used. */
  #readQueues(): QueueKeys[] | string {
    const protocol = this.#read('protocol') ?? 'x86_64-abi';
    if (protocol !== 'x86_64-abi') return `the protocol ${protocol.slice(0, 40)} is not spoken here`;
    const countText = this.#read('multi-queue-num-queues');
    const count = countText === undefined ? 1 : parseUnsigned(countText);
    if (count === undefined || count < 1 || count > this.#keys.maxQueues)
      return 'the number of queues is impossible';
    const orderText = this.#read('ring-page-order');
    const order = orderText === undefined ? 0 : parseUnsigned(orderText);
    if (order === undefined || order > RING_ORDER_MAX) return 'the ring-page-order is impossible';
    const queues: QueueKeys[] = [];
    for (let i = 0; i < count; i++) {
      const prefix = count === 1 ? '' : `queue-${i}/`;
      const names =
        orderText === undefined
          ? [`${prefix}ring-ref`]
          : Array.from({ length: 2 ** order }, (_, page) => `${prefix}ring-ref${page}`);
      const refs = names.map(name => parseUnsigned(this.#read(name)));
      const channel = parseUnsigned(this.#read(`${prefix}event-channel`));
      if (channel === undefined || refs.some(ref => ref === undefined)) {
        return 'ring-ref and event-channel are not both numbers';
      }
      queues.push({ refs: refs as number[], port: channel });
    }
    return queues;
  }

  #connect(): void {
    const { domid, faults } = this.#options;
    if (this.#link && parseState(this.#read('state')) === XenbusState.connected) return;
    const queues = this.#readQueues();
    if (typeof queues === 'string') {
      this.#fail(queues);
      return;
    }
    const key = JSON.stringify(queues);
    if (this.#link?.key === key) return;
    this.#disconnect();
    const fault = faults?.onTransfer('block-connect', domid, 0) ?? 'none';
    if (fault === 'lose') return;
    if (fault === 'fail') {
      this.#fail('injected fault');
      return;
    }
    if (fault === 'delay') {
      this.#options.defer(() => this.#frontendChanged());
      return;
    }
    const undo: (() => void)[] = [];
    const disconnect = () => {
      for (const step of undo.reverse()) step();
    };
    const opened: BlockQueue[] = [];
    for (const queue of queues) {
      const found = this.#openQueue(queue, undo);
      if (typeof found === 'string') {
        disconnect();
        this.#fail(found);
        return;
      }
      opened.push(found);
    }
    this.#link = { key, disconnect };
    const { xs, backendDomid = 0, disk } = this.#options;
    writeDiskFacts(xs, this.#back, domid, backendDomid, disk);
    this.#switch(XenbusState.connected);
    for (const queue of opened) this.#server.serve(queue);
  }

  #openQueue(keys: QueueKeys, undo: (() => void)[]): BlockQueue | string {
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
    const ring = new BlockRing(host.memory, pages);
    const channel = host.bindInterdomain(owner, port(keys.port), () => this.#onEvent(queue));
    if (!channel) return `cannot bind event channel ${keys.port}`;
    undo.push(() => channel.close());
    const queue: BlockQueue = { ring, notify: () => channel.notify(), isClosed: false };
    this.#server.add(queue);
    undo.push(() => this.#server.remove(queue));
    return queue;
  }

  #onEvent(queue: BlockQueue): void {
    this.#server.serve(queue);
    if (queue.ring.isBroken && !queue.isClosed) this.#fail('a ring with more requests than it has room for');
  }

  #fail(reason: string): void {
    const { xs, domid, devid, backendDomid = 0 } = this.#options;
    this.#disconnect();
    xs.write(errorPath(backendDomid, KIND, domid, devid), reason);
    this.#switch(XenbusState.closing);
  }

  #disconnect(): void {
    const link = this.#link;
    this.#link = undefined;
    link?.disconnect();
  }

  /** The disk has another size by now: tell the domain, whose kernel looks again when it sees the state written. */
  resized(): void {
    if (this.#state !== XenbusState.connected) return;
    const { xs, domid, backendDomid = 0, disk } = this.#options;
    writeDiskFacts(xs, this.#back, domid, backendDomid, disk);
    xs.write(`${this.#back}/state`, this.#state);
  }

  /** Take the device away: ask the domain to close it, or (`force`) without asking, as when the domain is gone. */
  remove(force = false): void {
    if (this.#removed) return;
    this.#removing = true;
    if (force) {
      this.#finish();
      return;
    }
    this.#options.xs.write(`${this.#back}/online`, 0);
    const state = parseState(this.#read('state'));
    const neverUsed = state === XenbusState.initialising && !this.#link;
    if (neverUsed || state === XenbusState.closed || state === XenbusState.unknown) this.#finish();
    else this.#switch(XenbusState.closing);
  }

  #finish(): void {
    this.#removed = true;
    this.#unwatch();
    this.#disconnect();
    this.#server.close();
    this.#state = XenbusState.closed;
    removeBlockDeviceKeys(this.#options.xs, this.#keys);
    this.#options.onRemoved?.();
  }
}

export const createBlockDevice = (options: BlockDeviceOptions): BlockDevice => new BlockDevice(options);
