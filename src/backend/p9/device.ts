/**
 * A shared folder of a domain (9pfs): the backend half.
 *
 * The domain's kernel reads how many rings of what size there may be, writes its own and goes to Initialised; the backend maps them,
 * binds the event channels and goes to Connected. Either half may close, and a kernel may come back: it finds the folder as new. What
 * the domain writes is checked: nonsense ends in state Closing with the reason under `error/`.
 */
import { flexRingBytes, Xen9pfsDataIntf } from '../../abi/xen/p9.ts';
import { domid as domainId, gref, type MachineAddress, port } from '../../base/brand.ts';
import type { XenstoreClient } from '../../xenstore/client.ts';
import { BackendHalf } from '../half.ts';
import type { BackendHost } from '../host.ts';
import { XenbusState } from '../xenbus.ts';
import { KIND, MAX_RING_ORDER, type RingKeys, readRingKeys, writeFolderDeviceKeys } from './keys.ts';
import { ByteRing } from './ring.ts';
import { type FolderCounters, type FolderRing, FolderServer, type FolderServerOptions } from './server.ts';
import { MESSAGE_BYTES_MIN } from './session.ts';

export interface FolderDeviceOptions extends FolderServerOptions {
  /** A client of the backend's domain. */
  readonly xs: XenstoreClient;
  readonly host: BackendHost;
  readonly devid: number;
  readonly backendDomid?: number;
  /** What the domain mounts it by. */
  readonly tag: string;
  /** Rings have 2^order pages at most. */
  readonly maxRingOrder?: number;
  /** The device is gone, after `remove`, and its folder closed. */
  readonly onRemoved?: (() => void) | undefined;
}

interface Link {
  /** The keys as text, to see whether they have changed. */
  readonly key: string;
  readonly server: FolderServer;
  disconnect(): void;
}

export class FolderDevice {
  readonly counters: FolderCounters = { requests: 0, notifications: 0, deepest: 0 };
  readonly #options: FolderDeviceOptions;
  readonly #half: BackendHalf;
  #link: Link | undefined;
  /** Settles when no request of a former link is under way. */
  #idle: Promise<unknown> = Promise.resolve();

  /** Writes the device's keys and waits for the domain. */
  constructor(options: FolderDeviceOptions) {
    const { xs, domid, devid, backendDomid = 0, tag, folder, maxRingOrder = MAX_RING_ORDER } = options;
    this.#options = options;
    const device = this;
    this.#half = new BackendHalf({ kind: KIND, domid, devid, backendDomid }, options, {
      get isConnected() {
        return device.#link !== undefined;
      },
      connect: state => this.#connect(state),
      disconnect: () => this.#disconnect(),
      removed: () =>
        void this.#idle.then(() => {
          folder.close();
          options.onRemoved?.();
        }),
    });
    writeFolderDeviceKeys(xs, { domid, devid, backendDomid, tag, maxRingOrder });
    this.#half.start();
  }

  /** The backend's `XenbusState`. */
  get state(): number {
    return this.#half.state;
  }
  /** Fids that the domain holds. */
  get nrFids(): number {
    return this.#link?.server.nrFids ?? 0;
  }

  #connect(frontendState: number): void {
    const { domid, faults } = this.#options;
    if (this.#link && frontendState === XenbusState.connected) return;
    const keys = readRingKeys(name => this.#half.read(name));
    if (typeof keys === 'string') {
      this.#half.fail(keys);
      return;
    }
    const key = JSON.stringify(keys);
    if (this.#link?.key === key) return;
    this.#disconnect();
    if (!this.#half.mayConnect(faults?.onTransfer('9pfs-connect', domid, 0) ?? 'none')) return;
    const undo: (() => void)[] = [];
    const disconnect = () => {
      for (const step of undo.reverse()) step();
    };
    const rings: FolderRing[] = [];
    for (const each of keys) {
      const opened = this.#openRing(each, undo);
      if (typeof opened === 'string') {
        disconnect();
        this.#half.fail(opened);
        return;
      }
      rings.push(opened);
    }
    const server = new FolderServer(this.#options, rings, this.counters);
    this.#link = { key, server, disconnect };
    this.#half.switch(XenbusState.connected);
    for (const ring of rings) this.#serve(ring);
  }

  #openRing(keys: RingKeys, undo: (() => void)[]): FolderRing | string {
    const { host, domid, maxRingOrder = MAX_RING_ORDER } = this.#options;
    const owner = domainId(domid);
    const map = (number: number): MachineAddress | undefined => {
      const address = host.mapGrant(owner, gref(number));
      if (address !== undefined) undo.push(() => host.unmapGrant(owner, gref(number), address));
      return address;
    };
    const counters = map(keys.ref);
    if (counters === undefined) return `cannot map grant ${keys.ref}`;
    const order = Xen9pfsDataIntf.at(host.memory.view, counters).ring_order;
    if (order > maxRingOrder || flexRingBytes(order) < MESSAGE_BYTES_MIN)
      return 'the order of a ring is impossible';
    const pages: MachineAddress[] = [];
    for (let i = 0; i < 2 ** order; i++) {
      const ref = host.memory.view.getUint32(counters + Xen9pfsDataIntf.size + 4 * i, true);
      const page = map(ref);
      if (page === undefined) return `cannot map grant ${ref}`;
      pages.push(page);
    }
    const channel = host.bindInterdomain(owner, port(keys.port), () => this.#serve(ring));
    if (!channel) return `cannot bind event channel ${keys.port}`;
    undo.push(() => channel.close());
    const ring: FolderRing = {
      ring: new ByteRing(host.memory, counters, pages),
      notify: () => channel.notify(),
    };
    return ring;
  }

  #serve(ring: FolderRing): void {
    // An event may come before all rings are open: they are served when they are.
    const link = this.#link;
    if (link && !link.server.serve(ring) && this.#link === link)
      this.#half.fail('the counters of a ring are impossible');
  }

  #disconnect(): void {
    const link = this.#link;
    this.#link = undefined;
    if (!link) return;
    this.#idle = Promise.all([this.#idle, link.server.close()]);
    link.disconnect();
  }

  /** See BackendHalf.remove. */
  remove(force = false): void {
    this.#half.remove(force);
  }
}
