/**
 * The host's end of the run channel: turns three consoles of a guest into a command's stdin, stdout, stderr and exit code.
 * guest-init/init.ts is the other end and describes the protocol.
 *
 * Everything that comes from the guest is hostile: control lines are bounded, unknown ones ignored, and output is handed on with
 * back pressure where the console supports it.
 */
import { DomusError } from '../base/errors.ts';

/** One console as a byte stream, seen from the host. */
export interface ConsoleStream {
  /** Called with each piece of guest output. The bytes are the receiver's to keep. */
  onData(callback: (bytes: Uint8Array) => void): void;
  /** Offer input to the guest; returns how many bytes were taken, from the start. */
  write(bytes: Uint8Array): number;
  /** Called when `write` may take more, after it took less than offered. */
  onWritable(callback: () => void): void;
  close(): void;
  /** Stop and resume reading the guest's output, so that a slow reader slows the guest down. */
  pause?(): void;
  resume?(): void;
}

export interface RunConsoles {
  readonly io: ConsoleStream;
  readonly err: ConsoleStream;
  readonly control: ConsoleStream;
}

export interface RunChannel {
  /** The guest has started and is about to run the command. */
  readonly ready: Promise<void>;
  /** What the command ended with. Rejected if the guest ends without saying. */
  readonly exit: Promise<{ readonly code: number }>;
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  /** Ends at once in terminal mode, where stderr is part of stdout. */
  readonly stderr: ReadableStream<Uint8Array>;
  /** Send the command a signal by its name without SIG, such as `TERM`. */
  signal(name: string): void;
  /** Tell the guest's terminal its new size. */
  resize(rows: number, columns: number): void;
  /**
   * To be called when the guest is gone and its consoles have handed over their last bytes: ends the outputs. If the exit code
   * has not been reported by then, `exit` fails with `reason`.
   */
  finish(reason?: unknown): void;
}

/** Frames are small enough for the guest's shell to read one quickly. */
const FRAME_BYTES = 32 << 10;
/** How much output waits for its reader before the guest is slowed down. */
const OUTPUT_BUFFER_BYTES = 256 << 10;
const CONTROL_LINE_BYTES = 512;
const END_OF_TRANSMISSION = 0x04;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Writes to a console in order, as it takes the bytes. */
function consoleWriter(console: ConsoleStream): { write(bytes: Uint8Array): Promise<void>; abandon(): void } {
  let queue: { bytes: Uint8Array; done: () => void }[] = [];
  let abandoned = false;
  const pump = (): void => {
    while (queue.length > 0) {
      const head = queue[0]!;
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
        if (abandoned) return done();
        queue.push({ bytes, done });
        if (queue.length === 1) pump();
      }),
    abandon() {
      abandoned = true;
      for (const { done } of queue) done();
      queue = [];
    },
  };
}

/** A console's output as a stream. Returns with it the function that ends it. */
function consoleReader(console: ConsoleStream): { stream: ReadableStream<Uint8Array>; end(): void } {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  let open = true;
  const stream = new ReadableStream<Uint8Array>(
    {
      start(it) {
        controller = it;
      },
      pull() {
        console.resume?.();
      },
      cancel() {
        open = false;
        // Nobody listens any more; the guest must not stall on that.
        console.resume?.();
      },
    },
    { highWaterMark: OUTPUT_BUFFER_BYTES, size: chunk => chunk.byteLength },
  );
  console.onData(bytes => {
    if (!open || bytes.length === 0) return;
    controller.enqueue(bytes);
    if ((controller.desiredSize ?? 0) <= 0) console.pause?.();
  });
  return {
    stream,
    end() {
      if (!open) return;
      open = false;
      controller.close();
    },
  };
}

/** Splits a console's output into lines. What is longer than any real line is dropped. */
function onLines(console: ConsoleStream, receive: (line: string) => void): void {
  let pending: number[] = [];
  let overlong = false;
  console.onData(bytes => {
    for (const byte of bytes) {
      if (byte === 0x0a) {
        if (!overlong) receive(decoder.decode(Uint8Array.from(pending)));
        pending = [];
        overlong = false;
      } else if (pending.length < CONTROL_LINE_BYTES) pending.push(byte);
      else overlong = true;
    }
  });
}

export function openRunChannel(consoles: RunConsoles, options: { readonly terminal: boolean }): RunChannel {
  const { terminal } = options;
  const ready = Promise.withResolvers<void>();
  const exit = Promise.withResolvers<{ code: number }>();
  // Callers that look at only one of the two must not end up with an unhandled rejection of the other.
  ready.promise.catch(() => {});
  exit.promise.catch(() => {});

  const stdout = consoleReader(consoles.io);
  const stderr = consoleReader(consoles.err);
  if (terminal) stderr.end();
  const input = consoleWriter(consoles.io);
  const control = consoleWriter(consoles.control);

  const fail = (error: unknown): void => {
    ready.reject(error);
    exit.reject(error);
    input.abandon();
  };

  onLines(consoles.control, line => {
    const space = line.indexOf(' ');
    const verb = space < 0 ? line : line.slice(0, space);
    const rest = space < 0 ? '' : line.slice(space + 1);
    if (verb === 'ready') ready.resolve();
    else if (verb === 'exit' && /^\d{1,3}$/.test(rest) && Number(rest) <= 255) {
      exit.resolve({ code: Number(rest) });
      // Stdin that nobody will read any more.
      input.abandon();
    } else if (verb === 'error') {
      fail(new DomusError('E_RUN_GUEST', `the guest could not run the command: ${printable(rest)}`));
    }
  });

  const stdin = new WritableStream<Uint8Array>({
    async write(chunk) {
      // Before its init is ready, the guest's console would still edit and echo what it gets.
      await ready.promise;
      if (terminal) return await input.write(chunk);
      for (let at = 0; at < chunk.length; at += FRAME_BYTES) {
        const part = chunk.subarray(at, at + FRAME_BYTES);
        await input.write(encoder.encode(`${part.length}\n`));
        await input.write(part);
      }
    },
    async close() {
      await ready.promise;
      await input.write(terminal ? Uint8Array.of(END_OF_TRANSMISSION) : encoder.encode('0\n'));
    },
  });

  const command = (line: string): void => {
    ready.promise.then(
      () => control.write(encoder.encode(`${line}\n`)),
      () => {},
    );
  };

  return {
    ready: ready.promise,
    exit: exit.promise,
    stdin,
    stdout: stdout.stream,
    stderr: stderr.stream,
    signal(name) {
      if (!/^[A-Z0-9+-]{1,16}$/.test(name)) {
        throw new DomusError('E_RUN_ARGUMENT', `${JSON.stringify(name)} is no signal`, 'Give a name such as TERM.');
      }
      command(`signal ${name}`);
    },
    resize(rows, columns) {
      command(`size ${Math.max(1, Math.floor(rows) || 1)} ${Math.max(1, Math.floor(columns) || 1)}`);
    },
    finish(reason) {
      fail(reason ?? new DomusError('E_RUN_NO_EXIT', 'the guest ended without reporting what the command returned'));
      control.abandon();
      stdout.end();
      stderr.end();
    },
  };
}

/** Text of a guest, fit for a terminal. */
const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?');
