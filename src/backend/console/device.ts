/**
 * Consoles beyond the first (hvc1, hvc2, ...): the backend half of a split device.
 *
 * The domain's kernel probes the device as soon as it sees it, writes `ring-ref` and `port` and goes to Initialised; the
 * backend maps the page, binds the event channel and goes to Connected, which the kernel answers with Connected. Either
 * half may close, and a kernel may come back (another driver, a kernel started by the first) with another ring.
 * What the domain writes is checked: nonsense ends in state Closing with the reason under `error/`.
 */
import { domid as domainId, type EventPort, type GrantRef, gref, port } from '../../base/brand.ts';
import type { XenstoreClient } from '../../xenstore/client.ts';
import type { Defer, Faults } from '../../xenstore/faults.ts';
import { BackendHalf } from '../half.ts';
import type { BackendHost } from '../host.ts';
import { parseUnsigned, XenbusState } from '../xenbus.ts';
import { KIND, writeConsoleDeviceKeys } from './keys.ts';
import { ConsoleChannel, type ConsoleTransfer } from './stream.ts';

export interface ConsoleDeviceOptions {
  /** A client of the backend's domain. */
  readonly xs: XenstoreClient;
  readonly host: BackendHost;
  readonly defer: Defer;
  readonly domid: number;
  /** 1 to 9. */
  readonly devid: number;
  readonly backendDomid?: number;
  /** The domain was restored, and has the device's keys already. */
  readonly isRestored?: boolean;
  /** Told to the domain as the console's name. */
  readonly name?: string;
  readonly faults?: Faults<ConsoleTransfer | 'connect'>;
  /** The device is gone, after `remove`. */
  readonly onRemoved?: () => void;
}

interface Link {
  readonly ref: GrantRef;
  readonly port: EventPort;
  disconnect(): void;
}

export class ConsoleDevice {
  readonly #options: ConsoleDeviceOptions;
  readonly #channel: ConsoleChannel;
  readonly #half: BackendHalf;
  #link: Link | undefined;

  /** Writes the device's keys and waits for the domain. */
  constructor(options: ConsoleDeviceOptions) {
    const { xs, domid, devid, backendDomid = 0, name } = options;
    this.#options = options;
    this.#channel = new ConsoleChannel(options);
    const device = this;
    this.#half = new BackendHalf({ kind: KIND, domid, devid, backendDomid }, options, {
      get isConnected() {
        return device.#link !== undefined;
      },
      connect: state => this.#connect(state),
      disconnect: () => this.#disconnect(),
      removed: () => {
        this.#channel.close();
        options.onRemoved?.();
      },
    });
    if (options.isRestored) {
      this.#half.resume();
      return;
    }
    writeConsoleDeviceKeys(xs, { domid, devid, backendDomid, name });
    this.#half.start();
  }

  get stream(): ConsoleChannel {
    return this.#channel;
  }

  /** The backend's `XenbusState`. */
  get state(): number {
    return this.#half.state;
  }

  #connect(frontendState: number): void {
    const { host, domid, faults } = this.#options;
    if (this.#link && frontendState === XenbusState.connected) return;
    const ringRef = parseUnsigned(this.#half.read('ring-ref'));
    const remotePort = parseUnsigned(this.#half.read('port'));
    if (ringRef === undefined || remotePort === undefined) {
      this.#half.fail('ring-ref and port are not both numbers');
      return;
    }
    if (this.#link?.ref === ringRef && this.#link.port === remotePort) return;
    this.#disconnect();
    if (!this.#half.mayConnect(faults?.onTransfer('connect', domid, 0) ?? 'none')) return;
    const owner = domainId(domid);
    const ref = gref(ringRef);
    const address = host.mapGrant(owner, ref);
    if (address === undefined) {
      this.#half.fail(`cannot map grant ${ringRef}`);
      return;
    }
    const channel = host.bindInterdomain(owner, port(remotePort), () => this.#channel.onEvent());
    if (!channel) {
      host.unmapGrant(owner, ref, address);
      this.#half.fail(`cannot bind event channel ${remotePort}`);
      return;
    }
    this.#link = {
      ref,
      port: port(remotePort),
      disconnect: () => {
        this.#channel.detach();
        channel.close();
        host.unmapGrant(owner, ref, address);
      },
    };
    this.#half.switch(XenbusState.connected);
    this.#channel.attach(host.memory, address, () => channel.notify());
  }

  #disconnect(): void {
    const link = this.#link;
    this.#link = undefined;
    link?.disconnect();
  }

  /** See BackendHalf.remove. */
  remove(force = false): void {
    this.#half.remove(force);
  }
}

export const createConsoleDevice = (options: ConsoleDeviceOptions): ConsoleDevice =>
  new ConsoleDevice(options);
