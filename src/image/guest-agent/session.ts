/** A command that runs, seen from the host: its streams, each with a window of its own, and its end. */
import { DomusError } from '../../base/errors.ts';
import { DATA_BYTES, Frame, numbers, STDERR, STDIN, STDOUT, WINDOW_BYTES } from './frames.ts';
import { cells } from './start.ts';

/** Takes output; a promise holds the command back until it settles. */
export type OutputListener = (bytes: Uint8Array) => void | Promise<void>;

export interface RunningCommand {
  onStdout(listener: OutputListener): void;
  /** With a terminal nothing comes here. */
  onStderr(listener: OutputListener): void;
  /** Settles when the guest has room for more, or no longer wants any. */
  writeStdin(bytes: Uint8Array): Promise<void>;
  closeStdin(): void;
  resize(size: { readonly columns: number; readonly rows: number }): void;
  /** Send a signal, by its Linux number. SIGKILL takes along the command's process group. */
  kill(signal: number): void;
  /** The guest has reported the command's end; `exit` may still be waiting for output to be taken. */
  readonly hasExited: boolean;
  /** The exit code as a shell counts it. Settles when all output has been taken by the listeners. */
  readonly exit: Promise<number>;
}

/** Sends a frame of this session; settles when the channel has taken it. */
export type SendFrame = (type: number, stream: number, payload: Uint8Array) => Promise<void>;

const END_OF_TRANSMISSION = 0x04;
const SIGNAL_MAX = 64;
const NOTHING = new Uint8Array(0);

/** Output on its way to its listener. */
class OutputStream {
  listener: OutputListener = () => {};
  readonly #credit: (count: number) => void;
  /** Settles when everything that came has been taken. */
  #taken: Promise<void> | undefined;
  #waiting = 0;
  #untold = 0;

  constructor(credit: (count: number) => void) {
    this.#credit = credit;
  }

  /** @throws DomusError E_CHANNEL when more comes than was allowed */
  receive(bytes: Uint8Array): void {
    this.#waiting += bytes.length;
    if (this.#waiting + this.#untold > WINDOW_BYTES) {
      throw new DomusError('E_CHANNEL', 'the guest sends more output than it may');
    }
    if (!this.#taken) {
      const taken = this.listener(bytes);
      if (!taken) {
        this.#took(bytes.length);
        return;
      }
      this.#follow(taken, bytes.length);
      return;
    }
    this.#follow(
      this.#taken.then(() => this.listener(bytes)),
      bytes.length,
    );
  }

  #follow(taking: Promise<void>, count: number): void {
    const taken = taking.then(() => {
      this.#took(count);
      if (this.#taken === taken) this.#taken = undefined;
    });
    // A listener that fails is heard of through `drained`.
    taken.catch(() => {});
    this.#taken = taken;
  }

  #took(count: number): void {
    this.#waiting -= count;
    this.#untold += count;
    if (this.#untold < WINDOW_BYTES / 4) return;
    this.#credit(this.#untold);
    this.#untold = 0;
  }

  /** What has come and was not told to be taken. */
  get owed(): number {
    return this.#waiting + this.#untold;
  }

  async drained(): Promise<void> {
    await this.#taken;
  }
}

export class Session implements RunningCommand {
  readonly exit: Promise<number>;
  readonly #send: SendFrame;
  readonly #isTerminal: boolean;
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #code = Promise.withResolvers<number>();
  #hasEnded = false;
  hasExited = false;
  #inputCredit = WINDOW_BYTES;
  #onCredit: () => void = () => {};
  #input: Promise<void> = Promise.resolve();

  constructor(send: SendFrame, isTerminal: boolean) {
    this.#send = send;
    this.#isTerminal = isTerminal;
    const credit = (stream: number) => (count: number) => this.#say(Frame.credit, stream, numbers(4, count));
    this.#stdout = new OutputStream(credit(STDOUT));
    this.#stderr = new OutputStream(credit(STDERR));
    this.exit = this.#code.promise.then(async code => {
      await Promise.all([this.#stdout.drained(), this.#stderr.drained()]);
      return code;
    });
    this.exit.catch(() => {});
  }

  #say(type: number, stream: number, payload: Uint8Array): void {
    if (!this.#hasEnded) void this.#send(type, stream, payload);
  }

  /** A frame of the guest's. @throws DomusError E_CHANNEL */
  receive(type: number, stream: number, payload: Uint8Array, value: number | undefined): void {
    if (type === Frame.data && stream === STDOUT) this.#stdout.receive(payload);
    else if (type === Frame.data && stream === STDERR) this.#stderr.receive(payload);
    else if (type === Frame.credit && value !== undefined) {
      this.#inputCredit = Math.min(WINDOW_BYTES, this.#inputCredit + value);
      this.#onCredit();
    } else if (type === Frame.exit && value !== undefined) {
      this.#end();
      this.hasExited = true;
      this.#code.resolve(value & 255);
    }
  }

  /** No more frames can come. */
  fail(error: unknown): void {
    this.#end();
    this.#code.reject(error);
  }

  #end(): void {
    this.#hasEnded = true;
    this.#onCredit();
  }

  /** Of output and error output: what the guest has not been told to be taken. */
  get owed(): readonly [number, number] {
    return [this.#stdout.owed, this.#stderr.owed];
  }

  /** Go on with a command that another host began: it reads the end of its input, and its output goes nowhere. */
  adopt([output, errors]: readonly [number, number]): void {
    if (output > 0) this.#say(Frame.credit, STDOUT, numbers(4, output));
    if (errors > 0) this.#say(Frame.credit, STDERR, numbers(4, errors));
    this.closeStdin();
  }

  onStdout(listener: OutputListener): void {
    this.#stdout.listener = listener;
  }
  onStderr(listener: OutputListener): void {
    this.#stderr.listener = listener;
  }

  writeStdin(bytes: Uint8Array): Promise<void> {
    this.#input = this.#input.then(() => this.#writeInput(bytes));
    return this.#input;
  }

  async #writeInput(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0 && !this.#hasEnded) {
      if (this.#inputCredit === 0) {
        await new Promise<void>(resolve => {
          this.#onCredit = resolve;
        });
        continue;
      }
      const piece = rest.subarray(0, Math.min(this.#inputCredit, DATA_BYTES));
      rest = rest.subarray(piece.length);
      this.#inputCredit -= piece.length;
      await this.#send(Frame.data, STDIN, piece);
    }
  }

  closeStdin(): void {
    if (this.#isTerminal) void this.writeStdin(Uint8Array.of(END_OF_TRANSMISSION));
    else this.#input = this.#input.then(() => this.#say(Frame.end, STDIN, NOTHING));
  }

  resize({ columns, rows }: { readonly columns: number; readonly rows: number }): void {
    this.#say(Frame.resize, STDIN, numbers(2, cells(rows), cells(columns)));
  }

  kill(signal: number): void {
    if (!Number.isInteger(signal) || signal < 1 || signal > SIGNAL_MAX) {
      throw new DomusError('E_RUN_ARGUMENT', `${signal} is not the number of a signal`, 'give 1 to 64');
    }
    this.#say(Frame.signal, STDIN, numbers(4, signal));
  }
}
