/**
 * `domus run` without -d: the guest lives in this process, for one command or until it ends by itself.
 *
 * Standard output carries nothing but the guest's; everything that Domus says goes to standard error. On every way
 * out the terminal is restored and the guest destroyed before the process ends.
 */
import type { ByteSink, Terminal } from '../../../platform/platform.ts';
import type { RunOptions, RunResult } from '../../../toolstack/host.ts';
import { detachable } from '../../detach.ts';
import { watchInterrupts } from '../../interrupt.ts';
import { jsonBytes } from '../../output.ts';
import { createProgress } from '../../progress.ts';
import { usage } from '../../usage.ts';
import type { CommandContext } from '../../verb.ts';
import { type Chosen, chooseCommand, chooseNetwork } from './choices.ts';
import { openConsole, openTrace } from './files.ts';
import type { RunValues } from './options.ts';

export async function runHere(
  context: CommandContext,
  values: RunValues,
  chosen: Chosen,
  from: string | undefined,
): Promise<number> {
  refuseDetachedOptions(values);
  const { terminal } = context;
  const isJson = values.output === 'json';
  if (isJson && values.tty) throw usage('-o json cannot be used with -t', 'leave out one of them');
  const command = chooseCommand(values, chosen, terminal.isInputTerminal);
  const network = chooseNetwork(values);
  const { isOwnGuest, passesInput, wantsTerminal, isRaw } = chooseStreams(values, chosen, command, terminal);

  await using cleanup = new AsyncDisposableStack();
  const progress = createProgress(context, values.quiet);
  cleanup.defer(() => progress.clear());
  const interrupts = cleanup.use(watchInterrupts());
  const input = isRaw ? detachable(context.stdin, interrupts.leave) : context.stdin;
  const guestConsole = values.console === undefined ? undefined : await openConsole(values.console, cleanup);
  const trace = values.trace && (await openTrace(values.trace, context.stderr, cleanup));

  let hasConsole = false;
  const host = cleanup.use(
    await context.openHost({
      onPhase: phase => {
        // A guest of the user's own is not ready at any moment we know: its console takes over at once, for good.
        if (phase.name === (isOwnGuest ? 'boot' : 'ready') && !hasConsole) {
          hasConsole = true;
          progress.clear();
          if (isRaw) cleanup.defer(terminal.enterRawMode());
        }
        if (!hasConsole || !isOwnGuest) progress.show(phase);
      },
    }),
  );
  const toSink = (sink: ByteSink) => (chunk: Uint8Array) => {
    progress.clear();
    return sink.write(chunk);
  };
  const request: RunOptions = {
    ...requestOf(values),
    image: chosen.image,
    command,
    from,
    network,
    signal: interrupts.signal,
    stdin: passesInput ? input : undefined,
    stdout: isJson ? 'collect' : toSink(context.stdout),
    stderr: isJson ? 'collect' : toSink(context.stderr),
    trace,
    console: guestConsole && (chunk => guestConsole.write(chunk)),
    ...(wantsTerminal &&
      !isOwnGuest && {
        terminal: terminal.size(),
        onTerminal: resize => cleanup.defer(terminal.onResize(() => resize(terminal.size()))),
      }),
  };
  const result = await host.run(request);
  progress.clear();
  if (isJson) await context.print(`${JSON.stringify(jsonResult(result))}\n`);
  else if (values.deterministic && !values.quiet) {
    await context.complain(`domus: ${result.instructions} instructions, state ${result.stateHash}`);
  }
  return result.exitCode;
}

function refuseDetachedOptions(values: RunValues): void {
  if (values.name !== undefined || values.remove || values.label.length > 0)
    throw usage('--name, --label and --rm are for -d', 'add -d');
  if (values.minMemory !== undefined || values.maxMemory !== undefined)
    throw usage('--min-memory and --max-memory are for -d', 'add -d');
}

interface Streams {
  /** No command of ours is in the guest: what it says on its console is the output. */
  readonly isOwnGuest: boolean;
  readonly passesInput: boolean;
  readonly wantsTerminal: boolean;
  /** Every key goes to the guest; Ctrl-] leaves. */
  readonly isRaw: boolean;
}

/** What a terminal and the absence of a COMMAND mean. */
function chooseStreams(
  values: RunValues,
  chosen: Chosen,
  command: readonly string[] | undefined,
  terminal: Terminal,
): Streams {
  const isShell =
    chosen.command.length === 0 && values.initrd === undefined && !values.boot && terminal.isInputTerminal;
  const isOwnGuest = command === undefined && (chosen.image === undefined || values.boot);
  const wantsTerminal = values.tty || (isShell && terminal.isOutputTerminal && values.output !== 'json');
  const passesInput = values.interactive || isShell || !terminal.isInputTerminal || isOwnGuest;
  const isRaw = passesInput && terminal.isInputTerminal && (wantsTerminal || isOwnGuest);
  return { isOwnGuest, passesInput, wantsTerminal, isRaw };
}

/** What the options say of the machine and the command, whatever their streams are. */
const requestOf = (values: RunValues): RunOptions => ({
  isPrepared: !values.noSnapshot,
  memory: values.memory,
  vcpus: values.vcpus,
  pcpus: values.pcpus,
  kernel: values.kernel,
  initrd: values.initrd,
  append: values.append,
  boot: values.boot,
  onReboot: values.onReboot,
  disks: values.disk,
  folders: values.volume,
  engine: values.engine,
  env: Object.fromEntries(values.env),
  timeoutMs: values.timeout,
  gdbPort: values.gdb,
  ...(values.deterministic && { deterministic: { seed: values.seed ?? 0 } }),
});

const jsonResult = (result: RunResult) => ({
  exitCode: result.exitCode,
  ...jsonBytes('stdout', result.stdout),
  ...jsonBytes('stderr', result.stderr),
  instructions: result.instructions,
  durationMs: Math.round(result.durationMs),
  ...(result.stateHash !== undefined && { stateHash: result.stateHash }),
  ...(result.shutdown && { shutdown: result.shutdown.reason }),
});
