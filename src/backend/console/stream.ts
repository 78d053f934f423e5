/**
 * One console of a domain as the toolstack sees it: a duplex stream of bytes, whichever way the ring came to be.
 *
 * Output is taken from the ring as soon as the domain announces it (a kernel that dies must not wait for a reader),
 * kept as history and given to the listeners. A paused stream leaves it in the ring, and the domain waits. Input is
 * accepted only as far as the ring has room, so nothing is ever buffered here.
 */
import type { MachineAddress } from '../../base/brand.ts';
import type { MachineMemory } from '../../machine/memory.ts';
import type { Defer, Faults } from '../../xenstore/faults.ts';
import { History } from './history.ts';
import { ConsoleRingEnd } from './ring.ts';

/** Output taken in one go; then other work gets its turn. */
const BATCH_MAX = 16;

/** Gets a copy of its own. A promise holds the stream back, as `pause` does, until it settles. */
export type DataCallback = (bytes: Uint8Array) => void | Promise<void>;

export interface ConsoleStream {
  /** Output of the domain, from now on. Returns what ends the listening. */
  onData(callback: DataCallback): () => void;
  /** Input for the domain. Returns how many bytes were accepted; the rest is to be offered again when writable. */
  write(bytes: Uint8Array): number;
  /** There is room again after `write` accepted less than it was given. Returns what ends the listening. */
  onWritable(callback: () => void): () => void;
  /** Leave output in the ring, where it holds up the domain, until `resume`. */
  pause(): void;
  resume(): void;
  /** The last output, up to 64 KiB. */
  history(): Uint8Array;
  /** Nothing more will be written. Output goes on. */
  close(): void;
}

export type ConsoleTransfer = 'in' | 'out';

export interface ConsoleStreamOptions {
  readonly domid: number;
  readonly defer: Defer;
  readonly faults?: Faults<ConsoleTransfer> | undefined;
}

/** The stream and its other side: what connects it to a ring. */
export class ConsoleChannel implements ConsoleStream {
  readonly #options: ConsoleStreamOptions;
  readonly #history = new History();
  readonly #dataCallbacks = new Set<DataCallback>();
  readonly #writableCallbacks = new Set<() => void>();
  #ring: ConsoleRingEnd | undefined;
  #notify: (() => void) | undefined;
  #paused = false;
  /** Promises of listeners that have not settled. */
  #held = 0;
  #closed = false;
  #refused = false;
  #busy = false;
  #retryScheduled = false;

  constructor(options: ConsoleStreamOptions) {
    this.#options = options;
  }

  /** Serve this ring from now on. */
  attach(memory: MachineMemory, ringAddress: MachineAddress, notify: () => void): void {
    this.#ring = new ConsoleRingEnd(memory, ringAddress);
    this.#notify = notify;
    this.onEvent();
  }

  /** Take all that is in the ring now, also of a stream that is held back: the domain has stopped. */
  drain(): void {
    const bytes = this.#ring?.take();
    if (!bytes) return;
    this.#notify?.();
    this.#output(bytes);
  }

  /** The ring is going away; what it still holds is taken first. */
  detach(): void {
    this.drain();
    this.#ring = undefined;
    this.#notify = undefined;
  }

  get isAttached(): boolean {
    return this.#ring !== undefined;
  }

  /** The domain raised the event channel: it has output, or has read input. */
  onEvent(): void {
    if (this.#busy) return;
    this.#busy = true;
    try {
      this.#takeOutput();
    } finally {
      this.#busy = false;
    }
    if (!this.#refused || this.#closed || !this.#ring || this.#ring.inputRoom === 0) return;
    this.#refused = false;
    for (const callback of [...this.#writableCallbacks]) callback();
  }

  #takeOutput(): void {
    for (let left = BATCH_MAX; this.#ring && !this.#paused && this.#held === 0; left--) {
      const waiting = this.#ring.outputBytes;
      if (waiting === 0) return;
      const fault = this.#options.faults?.onTransfer('out', this.#options.domid, waiting) ?? 'none';
      if (fault === 'delay' || left === 0) {
        this.#retry();
        return;
      }
      const bytes = this.#ring.take();
      if (!bytes) return;
      this.#notify?.();
      if (fault === 'none') this.#output(bytes);
    }
  }

  #output(bytes: Uint8Array): void {
    this.#history.add(bytes);
    for (const callback of [...this.#dataCallbacks]) {
      const settled = callback(bytes.slice());
      if (!(settled instanceof Promise)) continue;
      this.#held += 1;
      void settled.finally(() => {
        this.#held -= 1;
        if (this.#held === 0) this.#retry();
      });
    }
  }

  #retry(): void {
    if (this.#retryScheduled) return;
    this.#retryScheduled = true;
    this.#options.defer(() => {
      this.#retryScheduled = false;
      this.onEvent();
    });
  }

  onData(callback: DataCallback): () => void {
    this.#dataCallbacks.add(callback);
    return () => void this.#dataCallbacks.delete(callback);
  }

  onWritable(callback: () => void): () => void {
    this.#writableCallbacks.add(callback);
    return () => void this.#writableCallbacks.delete(callback);
  }

  write(bytes: Uint8Array): number {
    if (this.#closed || bytes.length === 0) return 0;
    const fault = this.#options.faults?.onTransfer('in', this.#options.domid, bytes.length) ?? 'none';
    if (fault === 'lose' || fault === 'fail') return bytes.length;
    if (fault === 'delay') {
      this.#refused = true;
      this.#retry();
      return 0;
    }
    const accepted = this.#ring?.put(bytes) ?? 0;
    if (accepted > 0) this.#notify?.();
    if (accepted < bytes.length) this.#refused = true;
    return accepted;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#retry();
  }

  history(): Uint8Array {
    return this.#history.bytes();
  }

  close(): void {
    this.#closed = true;
    this.#writableCallbacks.clear();
  }
}

export interface PrimaryConsoleOptions extends ConsoleStreamOptions {
  readonly memory: MachineMemory;
  /** Where the page of HVM_PARAM_CONSOLE_PFN lies. */
  readonly ringAddress: MachineAddress;
  /** Raise the domain's console event channel. */
  notify(): void;
}

/** The console that every domain has from the start (hvc0). Its event channel calls `onEvent`. */
export function createPrimaryConsole(options: PrimaryConsoleOptions): ConsoleChannel {
  const channel = new ConsoleChannel(options);
  channel.attach(options.memory, options.ringAddress, () => options.notify());
  return channel;
}
