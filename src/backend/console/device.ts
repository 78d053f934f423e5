/**
 * Consoles beyond the first (hvc1, hvc2, ...): the backend half of a split device.
 *
 * The domain's kernel probes the device as soon as it sees it, writes `ring-ref` and `port` and goes to Initialised; the
 * backend maps the page, binds the event channel and goes to Connected, which the kernel answers with Connected. Either
 * half may close, and a kernel may come back (another driver, a kernel started by the first) with another ring.
 * What the domain writes is checked: nonsense ends in state Closing with the reason under `error/`.
 */
import {
  type DomainId,
  domid as domainId,
  type EventPort,
  type GrantRef,
  gref,
  type MachineAddress,
  port,
} from '../../base/brand.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import type { XenstoreClient } from '../../xenstore/client.ts';
import type { Defer, Faults } from '../../xenstore/faults.ts';
import { XenstoreError } from '../../xenstore/wire.ts';
import { removeConsoleDeviceKeys, writeConsoleDeviceKeys } from './keys.ts';
import { ConsoleChannel, type ConsoleTransfer } from './stream.ts';
import { backendPath, errorPath, frontendPath, parseState, parseUnsigned, XenbusState } from './xenbus.ts';

const KIND = 'console';

/** What a backend needs of the hypervisor. `undefined` means that the domain has given nothing valid. */
export interface BackendHost {
  readonly memory: MachineMemory;
  mapGrant(domid: DomainId, ref: GrantRef): MachineAddress | undefined;
  unmapGrant(domid: DomainId, ref: GrantRef, address: MachineAddress): void;
  bindInterdomain(
    domid: DomainId,
    remotePort: EventPort,
    onEvent: () => void,
  ): { notify(): void; close(): void } | undefined;
}

export interface ConsoleDeviceOptions {
  /** A client of the backend's domain. */
  readonly xs: XenstoreClient;
  readonly host: BackendHost;
  readonly defer: Defer;
  readonly domid: number;
  /** 1 to 9. */
  readonly devid: number;
  readonly backendDomid?: number;
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
  readonly #keys: Parameters<typeof writeConsoleDeviceKeys>[1];
  readonly #front: string;
  readonly #back: string;
  readonly #channel: ConsoleChannel;
  readonly #unwatch: () => void;
  #link: Link | undefined;
  #state: number = XenbusState.initialising;
  #removing = false;
  #removed = false;

  /** Writes the device's keys and waits for the domain. */
  constructor(options: ConsoleDeviceOptions) {
    const { xs, domid, devid, backendDomid = 0, name } = options;
    this.#options = options;
    this.#keys = { domid, devid, backendDomid, name };
    this.#front = frontendPath(domid, KIND, devid);
    this.#back = backendPath(backendDomid, KIND, domid, devid);
    this.#channel = new ConsoleChannel(options);
    writeConsoleDeviceKeys(xs, this.#keys);
    this.#switch(XenbusState.initWait);
    this.#unwatch = xs.watch(`${this.#front}/state`, () => this.#frontendChanged());
  }

  get stream(): ConsoleChannel {
    return this.#channel;
  }

  /** The backend's `XenbusState`. */
  get state(): number {
    return this.#state;
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
    const state = parseState(this.#read('state'));
    switch (state) {
      case XenbusState.initialising:
        // A kernel that starts anew; before the first one this changes nothing.
        this.#disconnect();
        if (!this.#removing) this.#switch(XenbusState.initWait);
        return;
      case XenbusState.initialised:
      case XenbusState.connected:
        if (!this.#removing) this.#connect(state);
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

  #connect(frontendState: number): void {
    const { host, domid, faults } = this.#options;
    if (this.#link && frontendState === XenbusState.connected) return;
    const ringRef = parseUnsigned(this.#read('ring-ref'));
    const remotePort = parseUnsigned(this.#read('port'));
    if (ringRef === undefined || remotePort === undefined) {
      this.#fail('ring-ref and port are not both numbers');
      return;
    }
    if (this.#link?.ref === ringRef && this.#link.port === remotePort) return;
    this.#disconnect();
    const fault = faults?.onTransfer('connect', domid, 0) ?? 'none';
    if (fault === 'lose') return;
    if (fault === 'fail') {
      this.#fail('injected fault');
      return;
    }
    if (fault === 'delay') {
      this.#options.defer(() => this.#frontendChanged());
      return;
    }
    const owner = domainId(domid);
    const ref = gref(ringRef);
    const address = host.mapGrant(owner, ref);
    if (address === undefined) {
      this.#fail(`cannot map grant ${ringRef}`);
      return;
    }
    const channel = host.bindInterdomain(owner, port(remotePort), () => this.#channel.onEvent());
    if (!channel) {
      host.unmapGrant(owner, ref, address);
      this.#fail(`cannot bind event channel ${remotePort}`);
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
    this.#switch(XenbusState.connected);
    this.#channel.attach(host.memory, address, () => channel.notify());
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

  /** Take the device away: ask the domain to close it, or (`force`) without asking, as when the domain is gone. */
  remove(force = false): void {
    if (this.#removed) return;
    this.#removing = true;
    if (force) {
      this.#finish();
      return;
    }
    const { xs } = this.#options;
    xs.write(`${this.#back}/online`, 0);
    const state = parseState(this.#read('state'));
    const neverUsed = state === XenbusState.initialising && !this.#link;
    if (neverUsed || state === XenbusState.closed || state === XenbusState.unknown) this.#finish();
    else this.#switch(XenbusState.closing);
  }

  #finish(): void {
    this.#removed = true;
    this.#unwatch();
    this.#disconnect();
    this.#state = XenbusState.closed;
    this.#channel.close();
    removeConsoleDeviceKeys(this.#options.xs, this.#keys);
    this.#options.onRemoved?.();
  }
}

export const createConsoleDevice = (options: ConsoleDeviceOptions): ConsoleDevice =>
  new ConsoleDevice(options);
