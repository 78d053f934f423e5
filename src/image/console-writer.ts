/** Writes to a console in order, as fast as the guest takes it. */

/** One console as a byte stream, seen from the host. */
export interface ConsoleStream {
  /** Called with each piece of guest output, which is the listener's to keep. A promise holds the guest back. */
  onData(listener: (bytes: Uint8Array) => void | Promise<void>): void;
  /** Offer input to the guest; returns how many bytes were taken, from the start. */
  write(bytes: Uint8Array): number;
  /** Called when `write` may take more, after it took less than offered. */
  onWritable(listener: () => void): void;
  close(): void;
}

export interface ConsoleWriter {
  /** Settles when the guest has taken everything. */
  write(bytes: Uint8Array): Promise<void>;
  /** What has not been taken yet. */
  waiting(): Uint8Array;
  /** Drop what has not been taken. */
  drop(): void;
}

export function consoleWriter(console: ConsoleStream): ConsoleWriter {
  let queue: { bytes: Uint8Array; done: () => void }[] = [];
  const pump = (): void => {
    for (let head = queue[0]; head; head = queue[0]) {
      const taken = console.write(head.bytes);
      if (taken < head.bytes.length) {
        head.bytes = head.bytes.subarray(taken);
        return;
      }
      queue.shift();
      head.done();
    }
  };
  console.onWritable(pump);
  return {
    write: bytes =>
      new Promise(done => {
        queue.push({ bytes, done });
        if (queue.length === 1) pump();
      }),
    waiting() {
      const whole = new Uint8Array(queue.reduce((sum, { bytes }) => sum + bytes.length, 0));
      let at = 0;
      for (const { bytes } of queue) {
        whole.set(bytes, at);
        at += bytes.length;
      }
      return whole;
    },
    drop() {
      for (const { done } of queue) done();
      queue = [];
    },
  };
}
