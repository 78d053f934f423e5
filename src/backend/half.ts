/**
 * The backend's half of a split device: its state, and what follows from the frontend's. Either half may close, and a kernel may
 * come back (another driver, a kernel started by the first). What is particular to a device is its `Device`.
 * Source: Xen public/io/xenbus.h.
 */
import type { XenstoreClient } from '../xenstore/client.ts';
import type { Defer, Fault } from '../xenstore/faults.ts';
import { XenstoreError } from '../xenstore/wire.ts';
import { type DeviceId, removeDeviceKeys } from './keys.ts';
import { backendPath, errorPath, frontendPath, parseState, XenbusState } from './xenbus.ts';

/** What a kind of device does when the halves come together and part. */
export interface Device {
  readonly isConnected: boolean;
  /** The frontend has described its rings; called again while it stays so. */
  connect(frontendState: number): void;
  /** The domain closes its half: settles when all that it asked for before has been answered; undefined if that is so already. */
  lastAnswers?(): Promise<void> | undefined;
  /** The domain has closed a device that is being taken away: settles when its driver holds nothing back any more. */
  drain?(): Promise<void>;
  /** Let go of all that belongs to the domain. Not connected: nothing to do. */
  disconnect(): void;
  /** The device is gone. */
  removed(): void;
}

export interface HalfOptions {
  /** A client of the backend's domain. */
  readonly xs: XenstoreClient;
  readonly defer: Defer;
}

export class BackendHalf {
  readonly #id: DeviceId;
  readonly #options: HalfOptions;
  readonly #device: Device;
  readonly #front: string;
  /** The backend's own area. */
  readonly path: string;
  #unwatch: () => void = () => {};
  #state: number = XenbusState.initialising;
  #isRemoving = false;
  #isRemoved = false;

  constructor(id: DeviceId, options: HalfOptions, device: Device) {
    const { kind, domid, devid, backendDomid } = id;
    this.#id = id;
    this.#options = options;
    this.#device = device;
    this.#front = frontendPath(domid, kind, devid);
    this.path = backendPath(backendDomid, kind, domid, devid);
  }

  /** The keys are written: wait for the domain. */
  start(): void {
    this.switch(XenbusState.initWait);
    this.#unwatch = this.#options.xs.watch(`${this.#front}/state`, () => this.#frontendChanged());
  }

  /** The domain was restored, with its keys and ours: both halves are where they were, apart from what connects them. */
  resume(): void {
    // A forged file may lack it.
    this.#state = parseState(this.#read(`${this.path}/state`));
    this.#unwatch = this.#options.xs.watch(`${this.#front}/state`, () => this.#frontendChanged());
  }

  /** The backend's `XenbusState`. */
  get state(): number {
    return this.#state;
  }
  switch(state: number): void {
    if (this.#state === state) return;
    this.#state = state;
    this.announce();
  }
  /** Write the state, changed or not: a kernel that sees it written looks at the other keys again. */
  announce(): void {
    this.#options.xs.write(`${this.path}/state`, this.#state);
  }

  /** A key of the domain's. It may have taken it away, or the right to read it. */
  read(key: string): string | undefined {
    return this.#read(`${this.#front}/${key}`);
  }
  #read(path: string): string | undefined {
    try {
      return this.#options.xs.read(path);
    } catch (error) {
      if (error instanceof XenstoreError) return undefined;
      throw error;
    }
  }

  /** May the halves connect now? An injected fault loses that, fails, or comes back to it later. */
  mayConnect(fault: Fault): boolean {
    if (fault === 'fail') this.fail('injected fault');
    if (fault === 'delay') this.#options.defer(() => this.#frontendChanged());
    return fault === 'none';
  }

  /** What the domain has written is of no use: say why, and close. */
  fail(reason: string): void {
    const { kind, domid, devid, backendDomid } = this.#id;
    this.#device.disconnect();
    this.#options.xs.write(errorPath(backendDomid, kind, domid, devid), reason);
    this.switch(XenbusState.closing);
  }

  #frontendChanged(): void {
    if (this.#isRemoved) return;
    const state = parseState(this.read('state'));
    switch (state) {
      case XenbusState.initialising:
        // A kernel that starts anew; before the first one this changes nothing.
        this.#device.disconnect();
        if (!this.#isRemoving) this.switch(XenbusState.initWait);
        return;
      case XenbusState.initialised:
      case XenbusState.connected:
        if (!this.#isRemoving) this.#device.connect(state);
        return;
      case XenbusState.closing:
      case XenbusState.closed:
      case XenbusState.unknown:
        this.#afterLastAnswers(state);
        return;
      default:
        return;
    }
  }

  /** A kernel whose requests are never answered waits for them for ever, also when it has closed the device. */
  #afterLastAnswers(state: number): void {
    const answers = this.#answersBefore(state);
    if (!answers) {
      this.#domainClosed(state);
      return;
    }
    void answers.then(() =>
      this.#options.defer(() => {
        // Unless it has thought better of it, or is gone.
        if (!this.#isRemoved && parseState(this.read('state')) === state) this.#domainClosed(state);
      }),
    );
  }
  #answersBefore(state: number): Promise<void> | undefined {
    if (state === XenbusState.unknown || !this.#device.isConnected) return undefined;
    if (state === XenbusState.closed && this.#isRemoving && this.#device.drain) return this.#device.drain();
    return this.#device.lastAnswers?.();
  }
  #domainClosed(state: number): void {
    this.#device.disconnect();
    this.switch(state === XenbusState.closing ? state : XenbusState.closed);
    if (this.#isRemoving && state !== XenbusState.closing) this.#finish();
  }

  /** Let go without a word to the domain: another backend goes on with the keys, as after a restore. */
  abandon(): void {
    this.#isRemoved = true;
    this.#unwatch();
    this.#device.disconnect();
  }

  /** Take the device away: ask the domain to close it, or (`force`) without asking, as when the domain is gone. */
  remove(force = false): void {
    if (this.#isRemoved) return;
    this.#isRemoving = true;
    if (force) {
      this.#finish();
      return;
    }
    this.#options.xs.write(`${this.path}/online`, 0);
    const state = parseState(this.read('state'));
    const neverUsed = state === XenbusState.initialising && !this.#device.isConnected;
    if (neverUsed || state === XenbusState.closed || state === XenbusState.unknown) this.#finish();
    else this.switch(XenbusState.closing);
  }

  #finish(): void {
    this.#isRemoved = true;
    this.#unwatch();
    this.#device.disconnect();
    this.#state = XenbusState.closed;
    removeDeviceKeys(this.#options.xs, this.#id);
    this.#device.removed();
  }
}
