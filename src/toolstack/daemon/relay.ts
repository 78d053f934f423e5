/**
 * A command or a console of a guest over a connection of the host process: the frames of the agent's channel
 * (image/guest-agent/frames.ts), served here in the agent's place. Windows hold on both ways: a client that does not read holds
 * its command back.
 */
import { DomusError } from '../../base/errors.ts';
import {
  DATA_BYTES,
  encodeFrame,
  Frame,
  frameParser,
  numberOf,
  numbers,
  START_BYTES,
  STDIN,
  VERSION,
  WINDOW_BYTES,
} from '../../image/guest-agent/frames.ts';
import type { ByteStream } from '../../platform/node/local-http.ts';
import type { RunningCommand } from '../boot.ts';
import { errorBody } from './errors.ts';

export interface RelayTarget {
  /** Run what START asks for, until its exit code. */
  run(start: unknown, attach: (running: RunningCommand) => void, signal: AbortSignal): Promise<number>;
}

const SIGKILL = 9;
/** Frames that wait until the command has begun; the window bounds their bytes. */
const EARLY_FRAMES_MAX = 4096;
const encoder = new TextEncoder();

/** Serve one command to the other end of `stream`. */
export function relayCommand(stream: ByteStream, target: RelayTarget): void {
  const gone = new AbortController();
  const credits = new Map<number, number>();
  let onCredit: () => void = () => {};
  let running: RunningCommand | undefined;
  let hasStarted = false;
  const early: ((command: RunningCommand) => void)[] = [];

  const send = (type: number, of: number, payload: Uint8Array) => {
    stream.write(encodeFrame({ type, stream: of, session: 0 }, payload));
  };
  const finish = (type: number, payload: Uint8Array) => {
    send(type, STDIN, payload);
    stream.close();
  };
  const refuse = (error: unknown) => {
    finish(Frame.failed, encoder.encode(errorBody(error)));
  };
  /** Output as far as the client's window lets it through. */
  const pass = async (of: number, bytes: Uint8Array): Promise<void> => {
    let rest = bytes;
    while (rest.length > 0 && !gone.signal.aborted) {
      const credit = credits.get(of) ?? WINDOW_BYTES;
      if (credit === 0) {
        const before = onCredit;
        await new Promise<void>(resolve => {
          onCredit = () => {
            before();
            resolve();
          };
        });
        continue;
      }
      const piece = rest.subarray(0, Math.min(credit, DATA_BYTES));
      rest = rest.subarray(piece.length);
      credits.set(of, credit - piece.length);
      send(Frame.data, of, piece);
    }
  };
  const wake = () => {
    const waiting = onCredit;
    onCredit = () => {};
    waiting();
  };

  /** Do something with the command, as soon as there is one. */
  const withCommand = (act: (command: RunningCommand) => void) => {
    if (running) act(running);
    else if (early.length < EARLY_FRAMES_MAX) early.push(act);
    else throw new DomusError('E_CHANNEL', 'too much came before the command had begun');
  };

  const begin = (start: unknown) => {
    hasStarted = true;
    target
      .run(
        start,
        command => {
          running = command;
          if (gone.signal.aborted) command.kill(SIGKILL);
          command.onStdout(bytes => pass(1, bytes));
          command.onStderr(bytes => pass(2, bytes));
          for (const act of early.splice(0)) act(command);
        },
        gone.signal,
      )
      .then(code => finish(Frame.exit, numbers(4, code)), refuse);
  };

  const parse = frameParser(START_BYTES, ({ type, stream: of }, payload) => {
    const value = numberOf(payload);
    if (type === Frame.start && !hasStarted) begin(parseStart(payload));
    else if (type === Frame.data) {
      withCommand(command => {
        void command.writeStdin(payload).then(() => send(Frame.credit, STDIN, numbers(4, payload.length)));
      });
    } else if (type === Frame.end) withCommand(command => command.closeStdin());
    else if (type === Frame.signal && value !== undefined) withCommand(command => command.kill(value));
    else if (type === Frame.resize && payload.length === 4) {
      const view = new DataView(payload.buffer, payload.byteOffset);
      const size = { rows: view.getUint16(0, true), columns: view.getUint16(2, true) };
      withCommand(command => command.resize(size));
    } else if (type === Frame.credit && value !== undefined) {
      credits.set(of, Math.min(WINDOW_BYTES, (credits.get(of) ?? WINDOW_BYTES) + value));
      wake();
    }
  });

  stream.onClose(() => {
    gone.abort();
    wake();
    if (running && !running.hasExited) running.kill(SIGKILL);
  });
  stream.onData(bytes => {
    try {
      parse(bytes);
    } catch (error) {
      refuse(error);
    }
  });
  send(Frame.ready, STDIN, numbers(4, VERSION));
}

function parseStart(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(payload));
  } catch {
    throw new DomusError('E_API_REQUEST', 'the request is not understood: START is no JSON');
  }
}
