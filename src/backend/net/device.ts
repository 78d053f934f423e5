/**
 * A network device of a domain (vif): the backend half, and one end of a cable.
 *
 * The domain's kernel writes its rings and event channels and goes to Connected; the backend maps the rings, binds the
 * channels and goes to Connected too. Frames that the domain sends go out at the cable, frames that arrive there go
 * into its receive rings, cut and completed if it asks for that. Either half may close, and a kernel may come back.
 * What the domain writes is checked: nonsense ends in state Closing with the reason under `error/`.
 */
import * as netif from '../../abi/xen/netif.ts';
import { domid as domainId, gref, type MachineAddress, PAGE_SIZE, port } from '../../base/brand.ts';
import { BlockPool } from '../../net/block-pool.ts';
import { FRAME_BYTES_MAX, type Frame, type Station, segments, withChecksum } from '../../net/frame.ts';
import type { MacAddress } from '../../net/packet/address.ts';
import { EtherType, etherType } from '../../net/packet/ethernet.ts';
import type { XenstoreClient } from '../../xenstore/client.ts';
import type { Defer, Faults } from '../../xenstore/faults.ts';
import { BackendHalf } from '../half.ts';
import type { CopyingHost } from '../host.ts';
import { BackRing } from '../ring.ts';
import { XenbusState } from '../xenbus.ts';
import { FlowQueues } from './flow-queues.ts';
import { type FrontendKeys, KIND, type QueueKeys, readFrontendKeys, writeNetDeviceKeys } from './keys.ts';
import { ReceiveSide } from './receive.ts';
import { serveTransmit } from './transmit.ts';

export type NetTransfer = 'net-transmit' | 'net-receive' | 'net-connect';

export interface NetDeviceOptions {
  /** A client of the backend's domain. */
  readonly xs: XenstoreClient;
  readonly host: CopyingHost;
  readonly defer: Defer;
  readonly domid: number;
  readonly devid: number;
  readonly backendDomid?: number;
  /** The domain was restored, and has the device's keys already. */
  readonly isRestored?: boolean;
  readonly mac: MacAddress;
  readonly mtu: number;
  /** Queues that the domain may ask for. */
  readonly maxQueues?: number;
  /** Where the domain's frames go. */
  readonly cable: Station;
  readonly faults?: Faults<NetTransfer>;
  /** The device is gone, after `remove`. */
  readonly onRemoved?: () => void;
}

export const MAX_QUEUES_DEFAULT = 8;

interface Queue {
  readonly keys: QueueKeys;
  readonly tx: BackRing;
  readonly rx: BackRing;
  readonly receiver: ReceiveSide;
  serveTx(): void;
  serveRx(): void;
  close(): void;
}

export class NetDevice implements Station {
  readonly #options: NetDeviceOptions;
  readonly #maxQueues: number;
  readonly #half: BackendHalf;
  #queues: readonly Queue[] = [];
  #frontend: FrontendKeys | undefined;
  #flows = new FlowQueues(1);
  readonly #isDrained = (queue: number): boolean => this.#queues[queue]!.receiver.isDrained;
  /** For large frames that wait, in whatever queue. */
  readonly #waiting = new BlockPool(FRAME_BYTES_MAX);
  readonly counters = {
    transmit: { frames: 0, bytes: 0, errors: 0, dropped: 0 },
    receive: { frames: 0, bytes: 0, errors: 0, dropped: 0 },
  };

  /** Writes the device's keys and waits for the domain. */
  constructor(options: NetDeviceOptions) {
    const { xs, domid, devid, backendDomid = 0, mac, mtu } = options;
    this.#options = options;
    this.#maxQueues = options.maxQueues ?? MAX_QUEUES_DEFAULT;
    const device = this;
    this.#half = new BackendHalf({ kind: KIND, domid, devid, backendDomid }, options, {
      get isConnected() {
        return device.nrQueues > 0;
      },
      connect: () => this.#connect(),
      disconnect: () => this.#disconnect(),
      removed: () => {
        options.onRemoved?.();
      },
    });
    if (options.isRestored) {
      this.#half.resume();
      return;
    }
    writeNetDeviceKeys(xs, { domid, devid, backendDomid, mac, mtu, maxQueues: this.#maxQueues });
    this.#half.start();
  }

  /** The backend's `XenbusState`. */
  get state(): number {
    return this.#half.state;
  }
  get nrQueues(): number {
    return this.#queues.length;
  }

  #connect(): void {
    if (this.#queues.length > 0) return;
    const { domid, faults } = this.#options;
    if (!this.#half.mayConnect(faults?.onTransfer('net-connect', domid, 0) ?? 'none')) return;
    const frontend = readFrontendKeys(key => this.#half.read(key), this.#maxQueues);
    if ('reason' in frontend) {
      this.#half.fail(frontend.reason);
      return;
    }
    const queues: Queue[] = [];
    for (const keys of frontend.queues) {
      const queue = this.#openQueue(keys);
      if (typeof queue === 'string') {
        for (const open of queues) open.close();
        this.#half.fail(queue);
        return;
      }
      queues.push(queue);
    }
    this.#frontend = frontend;
    this.#queues = queues;
    this.#flows = new FlowQueues(queues.length);
    this.#half.switch(XenbusState.connected);
    // What the domain did before we listened.
    for (const queue of queues) {
      queue.serveTx();
      queue.serveRx();
    }
  }

  /** A queue that works, or the reason why not. */
  #openQueue(keys: QueueKeys): Queue | string {
    const { host, domid, faults, cable, defer } = this.#options;
    const owner = domainId(domid);
    const undo: (() => void)[] = [];
    const failed = (reason: string): string => {
      for (const step of undo.reverse()) step();
      return reason;
    };
    const map = (ref: number): MachineAddress | undefined => {
      const address = host.mapGrant(owner, gref(ref));
      if (address !== undefined) undo.push(() => host.unmapGrant(owner, gref(ref), address));
      return address;
    };
    const txAddress = map(keys.txRing);
    if (txAddress === undefined) return failed(`cannot map grant ${keys.txRing}`);
    const rxAddress = map(keys.rxRing);
    if (rxAddress === undefined) return failed(`cannot map grant ${keys.rxRing}`);

    const tx = new BackRing(host.memory, txAddress, netif.NetifTxSring);
    const rx = new BackRing(host.memory, rxAddress, netif.NetifRxSring);
    const isSplit = keys.rxPort !== keys.txPort;
    const bind = (number: number, onEvent: () => void) => {
      const channel = host.bindInterdomain(owner, port(number), onEvent);
      if (channel) undo.push(() => channel.close());
      return channel;
    };
    let isOpen = true;
    const whileOpen = (task: () => void) => () => {
      if (isOpen) task();
    };
    let lent: Uint8Array | undefined;
    const serveTx = whileOpen(() => {
      const outcome = serveTransmit({
        ring: tx,
        host,
        domid: owner,
        counters: this.counters.transmit,
        fault: size => faults?.onTransfer('net-transmit', domid, size) ?? 'none',
        send: frame => cable.receive(frame),
        get lent() {
          lent ??= new Uint8Array(FRAME_BYTES_MAX);
          return lent;
        },
      });
      if (tx.publish()) txChannel?.notify();
      if (outcome === 'broken') this.#half.fail('the transmit ring is broken');
      else if (outcome === 'delayed') defer(serveTx);
    });
    const receiver = new ReceiveSide({
      ring: rx,
      host,
      domid: owner,
      counters: this.counters.receive,
      blocks: this.#waiting,
      fault: size => faults?.onTransfer('net-receive', domid, size) ?? 'none',
    });
    const serveRx = whileOpen(() => {
      const isDelayed = receiver.serve();
      if (rx.publish()) rxChannel?.notify();
      if (receiver.isBroken) this.#half.fail('the receive ring is broken');
      else if (isDelayed) defer(serveRx);
    });
    const serveBoth = () => {
      serveTx();
      serveRx();
    };
    const txChannel = bind(keys.txPort, isSplit ? serveTx : serveBoth);
    if (!txChannel) return failed(`cannot bind event channel ${keys.txPort}`);
    const rxChannel = isSplit ? bind(keys.rxPort, serveRx) : txChannel;
    if (!rxChannel) return failed(`cannot bind event channel ${keys.rxPort}`);
    return {
      keys,
      tx,
      rx,
      receiver,
      serveTx,
      serveRx,
      close: () => {
        isOpen = false;
        failed('');
      },
    };
  }

  #disconnect(): void {
    const queues = this.#queues;
    this.#queues = [];
    this.#frontend = undefined;
    for (const queue of queues) queue.close();
  }

  // ---- from the cable ----

  /** A frame for the domain. Without a connected domain it is lost. */
  receive(frame: Frame): void {
    const frontend = this.#frontend;
    if (!frontend) return;
    const number = this.#queues.length === 1 ? 0 : this.#flows.choose(frame, this.#isDrained);
    const queue = this.#queues[number]!;
    for (const each of fitFrame(frame, frontend)) queue.receiver.add(each);
    queue.serveRx();
    queue.receiver.keep();
  }

  // ---- the end ----

  /** See BackendHalf.remove. */
  remove(force = false): void {
    this.#half.remove(force);
  }
}

/** The frame as the domain takes it: cut into segments, with a complete checksum, or as it is. */
export function fitFrame(frame: Frame, frontend: FrontendKeys): readonly Frame[] {
  const isV6 = etherType(frame.bytes) === EtherType.ipv6;
  if (!frontend.takesPages && frame.segmentBytes === 0 && frame.bytes.length > PAGE_SIZE) return [];
  if (frame.segmentBytes > 0 && !(isV6 ? frontend.takesLarge6 : frontend.takesLarge4)) return segments(frame);
  const takesBlank = isV6 ? frontend.takesBlankChecksum6 : frontend.takesBlankChecksum4;
  if (frame.lacksChecksum && !takesBlank) return [withChecksum(frame)];
  return [frame];
}
