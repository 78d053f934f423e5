/** Connects the streams of this process to a command in a guest, and its terminal where it has one. */
import type { RunningCommand } from '../toolstack/boot.ts';
import { feed } from '../toolstack/byte-io.ts';
import { detachable } from './detach.ts';
import type { Interrupts } from './interrupt.ts';
import type { CommandContext } from './verb.ts';

const SIGKILL = 9;

export interface AttachOptions {
  readonly passesInput: boolean;
  /** Every key goes to the guest; Ctrl-] leaves. */
  readonly isRaw: boolean;
}

/** Until the command's end. A request to end kills it, and rejects with that. */
export async function attachStreams(
  context: CommandContext,
  running: RunningCommand,
  interrupts: Interrupts,
  { passesInput, isRaw }: AttachOptions,
): Promise<number> {
  const { terminal } = context;
  running.onStdout(chunk => context.stdout.write(chunk));
  running.onStderr(chunk => context.stderr.write(chunk));
  using cleanup = new DisposableStack();
  if (isRaw) {
    cleanup.defer(terminal.enterRawMode());
    cleanup.defer(terminal.onResize(() => running.resize(terminal.size())));
  }
  const source = isRaw ? detachable(context.stdin, interrupts.leave) : context.stdin;
  const input = feed(
    passesInput ? source : undefined,
    chunk => running.writeStdin(chunk),
    () => running.closeStdin(),
  );
  cleanup.defer(() => input.stop());
  const aborted = new Promise<never>((_, reject) => {
    interrupts.signal.addEventListener('abort', () => reject(interrupts.signal.reason), { once: true });
  });
  try {
    return await Promise.race([running.exit, input.failed, aborted]);
  } catch (error) {
    if (!running.hasExited) running.kill(SIGKILL);
    throw error;
  }
}
