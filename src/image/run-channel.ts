/**
 * The host's end of the run channel: turns three consoles of a guest into commands with stdin, stdout, stderr and exit code.
 * guest-init/init.ts is the other end and describes the protocol.
 *
 * Everything that comes from the guest is hostile: lines are bounded, unknown ones ignored, and output is handed on with back pressure.
 */
import { DomusError } from '../base/errors.ts';
import { type ConsoleStream, consoleWriter } from './console-writer.ts';
import { markedOutput } from './marked-output.ts';
import { type CommandSpec, commandScript } from './run-command.ts';

export interface RunConsoles {
  readonly io: ConsoleStream;
  readonly err: ConsoleStream;
  readonly control: ConsoleStream;
}

/** Takes output; a promise holds the guest back until it settles. */
export type OutputListener = (bytes: Uint8Array) => void | Promise<void>;

export interface RunningCommand {
  onStdout(listener: OutputListener): void;
  /** With a terminal nothing comes here. */
  onStderr(listener: OutputListener): void;
  /** Settles when the guest has taken the bytes, or no longer wants any. */
  writeStdin(bytes: Uint8Array): Promise<void>;
  closeStdin(): void;
  resize(size: { readonly columns: number; readonly rows: number }): void;
  /** Send a signal, by its Linux number. */
  kill(signal: number): void;
  /** The guest has reported the command's end; `exit` may still be waiting for output to be taken. */
  readonly hasExited: boolean;
  /** The exit code as a shell counts it. Settles when all output has been taken by the listeners. */
  readonly exit: Promise<number>;
}

export interface RunChannel {
  /** The guest is up and takes commands. */
  readonly ready: Promise<void>;
  readonly isReusable: boolean;
  /** Start a command; one at a time. */
  run(command: CommandSpec): RunningCommand;
  /** Ask the guest to power off, once no command runs. */
  stop(): void;
  /**
   * To be called when the guest is gone and its consoles have handed over their last bytes. A command whose exit code has not been
   * reported by then fails with `reason`.
   */
  finish(reason?: unknown): void;
}

export interface RunChannelOptions {
  /** The guest serves one command and is then told to power off. */
  readonly isThrowaway?: boolean;
}

/** Frames are small enough for the guest's shell to read one quickly. */
const FRAME_BYTES = 32 << 10;
const CONTROL_LINE_BYTES = 512;
const END_OF_TRANSMISSION = 0x04;
const MAX_SIGNAL = 64;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Text of a guest, fit for a terminal. */
const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?');

/** A terminal's size as the guest can hold it. */
const cells = (count: number): number => Math.max(1, Math.min(0xffff, Math.floor(count) || 1));

/**
 * The mark of the n-th command. No secret, only unlikely in output, and the same in every run: a guest's memory must not depend on
 * chance. The first byte is a control character that the rest does not contain.
 */
const markText = (n: number): string =>
  `\x1edomus-${Math.imul(n, 0x9e37_79b1) >>> 0}-${Math.imul(n ^ 0x5bd1_e995, 0x85eb_ca77) >>> 0}`;

/** Splits a console's output into lines. What is longer than any real line is dropped. */
function onLines(console: ConsoleStream, receive: (line: string) => void): void {
  let pending: number[] = [];
  let isOverlong = false;
  console.onData(bytes => {
    for (const byte of bytes) {
      if (byte === 0x0a) {
        if (!isOverlong) receive(decoder.decode(Uint8Array.from(pending)));
        pending = [];
        isOverlong = false;
      } else if (pending.length < CONTROL_LINE_BYTES) pending.push(byte);
      else isOverlong = true;
    }
  });
}

/** A promise that nobody has to look at. */
function quietResolvers<T>(): PromiseWithResolvers<T> {
  const resolvers = Promise.withResolvers<T>();
  resolvers.promise.catch(() => {});
  return resolvers;
}

interface Current {
  readonly started: PromiseWithResolvers<void>;
  readonly code: PromiseWithResolvers<number>;
  hasExited: boolean;
}

export function openRunChannel(consoles: RunConsoles, options: RunChannelOptions = {}): RunChannel {
  const ready = quietResolvers<void>();
  const input = consoleWriter(consoles.io);
  const control = consoleWriter(consoles.control);
  const stdout = markedOutput();
  const stderr = markedOutput();
  let current: Current | undefined;
  let failure: unknown;
  let nrCommands = 0;

  consoles.io.onData(bytes => stdout.receive(bytes));
  consoles.err.onData(bytes => stderr.receive(bytes));

  const say = (line: string): void => {
    void control.write(encoder.encode(`${line}\n`));
  };
  const fail = (error: unknown): void => {
    failure ??= error;
    ready.reject(error);
    current?.started.reject(error);
    current?.code.reject(error);
    input.drop();
    control.drop();
  };

  onLines(consoles.control, line => {
    const space = line.indexOf(' ');
    const verb = space < 0 ? line : line.slice(0, space);
    const rest = space < 0 ? '' : line.slice(space + 1);
    if (verb === 'ready') ready.resolve();
    else if (verb === 'started') current?.started.resolve();
    else if (verb === 'exit' && /^\d{1,3}$/.test(rest) && Number(rest) <= 255) {
      if (!current || current.hasExited) return;
      current.hasExited = true;
      current.started.resolve();
      current.code.resolve(Number(rest));
      // Input that nobody will read any more.
      input.drop();
    } else if (verb === 'error') {
      fail(new DomusError('E_RUN_GUEST', `the guest cannot run commands: ${printable(rest)}`));
    }
  });

  const run = (spec: CommandSpec): RunningCommand => {
    if (current)
      throw new DomusError('E_BUSY', 'a command is still running in this guest', 'Wait for its end first.');
    const script = encoder.encode(commandScript(spec));
    const { terminal } = spec;
    const mark = markText(++nrCommands);
    const command: Current = { started: quietResolvers(), code: quietResolvers(), hasExited: false };
    current = command;
    if (failure !== undefined) fail(failure);
    stdout.listener = stderr.listener = () => {};
    stdout.begin(encoder.encode(mark));
    stderr.begin(encoder.encode(mark));
    ready.promise.then(
      () => {
        const words = [
          terminal ? 1 : 0,
          spec.hasInput ? 1 : 0,
          cells(terminal?.rows ?? 24),
          cells(terminal?.columns ?? 80),
        ];
        say(`run ${words.join(' ')} ${mark} ${script.length}`);
        void control.write(script);
        void input.write(encoder.encode(`\n${mark}\n`));
      },
      () => {},
    );

    const exit = command.code.promise
      .then(async code => {
        await Promise.all([stdout.ended(), stderr.ended()]);
        return code;
      })
      .finally(() => {
        current = undefined;
        if (options.isThrowaway) say('stop');
      });
    exit.catch(() => {});

    /** Input in order, once the command can take it and as long as it lives. */
    let inputQueue: Promise<void> = command.started.promise.catch(() => {});
    const enqueue = (write: () => Promise<void>): Promise<void> => {
      inputQueue = inputQueue.then(async () => {
        if (!command.hasExited && failure === undefined) await write();
      });
      return inputQueue;
    };
    const whileRunning = (line: string): void => {
      void enqueueControl(() => say(line));
    };
    const enqueueControl = (send: () => void): Promise<void> =>
      command.started.promise.then(
        () => {
          if (!command.hasExited) send();
        },
        () => {},
      );
    const writeFrames = async (bytes: Uint8Array): Promise<void> => {
      for (let at = 0; at < bytes.length && !command.hasExited; at += FRAME_BYTES) {
        const part = bytes.subarray(at, at + FRAME_BYTES);
        void input.write(encoder.encode(`${part.length}\n`));
        await input.write(part);
      }
    };

    return {
      onStdout(listener) {
        stdout.listener = listener;
      },
      onStderr(listener) {
        stderr.listener = listener;
      },
      writeStdin: bytes => enqueue(() => (terminal ? input.write(bytes) : writeFrames(bytes))),
      closeStdin() {
        void enqueue(() =>
          input.write(terminal ? Uint8Array.of(END_OF_TRANSMISSION) : encoder.encode('0\n')),
        );
      },
      resize(size) {
        whileRunning(`size ${cells(size.rows)} ${cells(size.columns)}`);
      },
      kill(signal) {
        if (!Number.isInteger(signal) || signal < 1 || signal > MAX_SIGNAL) {
          throw new DomusError('E_RUN_ARGUMENT', `${signal} is not the number of a signal`, 'Give 1 to 64.');
        }
        whileRunning(`signal ${signal}`);
      },
      get hasExited() {
        return command.hasExited;
      },
      exit,
    };
  };

  return {
    ready: ready.promise,
    isReusable: !options.isThrowaway,
    run,
    stop() {
      ready.promise.then(
        () => say('stop'),
        () => {},
      );
    },
    finish(reason) {
      // Ends the outputs first: an exit code that did arrive still counts.
      stdout.finish();
      stderr.finish();
      fail(
        reason ??
          new DomusError('E_RUN_NO_EXIT', 'the guest ended without reporting what the command returned'),
      );
    },
  };
}
