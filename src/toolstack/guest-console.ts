/**
 * The console of a guest (hvc0): what the guest writes goes to all who listen, and its last lines are kept; what is typed goes to the
 * guest.
 */
import { createConsoleLog } from './console-log.ts';
import type { ByteListener, ConsoleStream } from './machine.ts';

export class GuestConsole {
  readonly #log = createConsoleLog();
  readonly #listeners = new Set<ByteListener>();
  #stream: ConsoleStream | undefined;

  /** The machine's end of it. Another machine brings another one, for the same listeners. */
  connect(stream: ConsoleStream | undefined): void {
    this.#stream = stream;
    stream?.onData(chunk => this.#heard(chunk));
  }

  /** Oldest first. */
  lastLines(): string[] {
    return this.#log.lastLines();
  }

  /** Returns what ends it. */
  listen(listener: ByteListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Settles when the guest has taken everything. */
  async write(chunk: Uint8Array): Promise<void> {
    const stream = this.#stream;
    let rest = chunk;
    while (stream && rest.length > 0) {
      const taken = stream.write(rest);
      rest = rest.subarray(taken);
      if (rest.length > 0) await new Promise<void>(resolve => stream.onWritable(resolve));
    }
  }

  /** Nothing more is typed. */
  close(): void {
    this.#stream?.close();
  }

  /** The guest waits for the slowest listener. */
  #heard(chunk: Uint8Array): void | Promise<void> {
    this.#log.add(chunk);
    const waits: Promise<void>[] = [];
    for (const listener of this.#listeners) {
      const wait = listener(chunk);
      if (wait) waits.push(wait);
    }
    if (waits.length > 0) return Promise.all(waits).then(() => {});
  }
}
