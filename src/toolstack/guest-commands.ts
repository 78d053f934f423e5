/**
 * Commands in a guest: each is given to the agent as soon as that is ready, with its streams connected, and is waited for as long as
 * the machine is there that runs it.
 */
import { DomusError } from '../base/errors.ts';
import type { ImageConfig } from '../image/config.ts';
import { abortable } from './abort.ts';
import type { CommandSpec, GuestAgent, RunningCommand, TerminalSize } from './boot.ts';
import { feed, type InputSource, type Output, type OutputTarget, openOutput } from './byte-io.ts';
import { type GuestEnd, rebooted } from './guest-end.ts';
import { resolveUser } from './guest-user.ts';

/** How a command runs, whoever takes its output. */
export interface CommandOptions {
  /** Variables of the command's environment, besides those of the guest's init. */
  readonly env?: Readonly<Record<string, string>>;
  /** Folder to run it in; default `/`. */
  readonly workingFolder?: string;
  /** `USER[:GROUP]` of the guest, by name or number; default root. */
  readonly user?: string;
  /** Run the command on a terminal. */
  readonly terminal?: TerminalSize;
  /** One of the agent's own tools, whatever the guest has installed. */
  readonly isTool?: boolean;
  /** Whether there is input; otherwise the command reads an empty file. */
  readonly hasInput?: boolean;
  readonly signal?: AbortSignal;
}

export interface ExecOptions extends Omit<CommandOptions, 'hasInput'> {
  readonly stdin?: InputSource;
  /** Default 'collect'. */
  readonly stdout?: OutputTarget;
  readonly stderr?: OutputTarget;
  /** Called once with a function to be called at each later change of the terminal's size. */
  readonly onTerminal?: (resize: (size: TerminalSize) => void) => void;
}

export interface ExecResult {
  /** The command's own; 126: cannot be executed, 127: not found, 128+n: killed by signal n. */
  readonly exitCode: number;
  /** Empty unless collected. */
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

/** The guest that runs them. What a reboot replaces is asked for each time. */
export interface CommandedGuest {
  agent(): GuestAgent | undefined;
  /** Settles when the machine is gone that is there now. */
  machineGone(): Promise<void>;
  /** There is a command to come: see `GuestMachine.expectWork`. */
  expectWork(): void;
  readonly end: GuestEnd;
  /** How commands are run in the image that is the guest's root. */
  readonly image: ImageConfig | undefined;
  /** The guest must not feel how fast output is taken: see openOutput. */
  readonly neverHoldsBack: boolean;
}

const SIGKILL = 9;

export class GuestCommands {
  readonly #guest: CommandedGuest;
  #count = 0;

  constructor(guest: CommandedGuest) {
    this.#guest = guest;
  }

  /** Whether there has been one. */
  get hasBegun(): boolean {
    return this.#count > 0;
  }

  /** See VirtualMachine.exec. */
  async exec(command: readonly string[] | string, options: ExecOptions): Promise<ExecResult> {
    const { neverHoldsBack } = this.#guest;
    const stdout = openOutput(options.stdout ?? 'collect', neverHoldsBack);
    const stderr = openOutput(options.stderr ?? 'collect', neverHoldsBack);
    try {
      const { agent, spec } = await this.#prepare(command, options);
      const running = agent.run(spec);
      const exitCode = await this.#follow(running, stdout, stderr, options);
      await Promise.all([stdout.drained(), stderr.drained()]);
      return { exitCode, stdout: stdout.bytes(), stderr: stderr.bytes() };
    } catch (error) {
      throw this.#guest.end.explain(error, this.hasBegun);
    } finally {
      stdout.release();
      stderr.release();
    }
  }

  /** See VirtualMachine.execAttached. */
  async execAttached(
    command: readonly string[] | string,
    options: CommandOptions,
    attach: (running: RunningCommand) => void,
  ): Promise<number> {
    try {
      const { agent, spec } = await this.#prepare(command, options);
      const running = agent.run(spec);
      attach(running);
      return await abortable(this.#exitOf(running), options.signal);
    } catch (error) {
      throw this.#guest.end.explain(error, this.hasBegun);
    }
  }

  /** Waits for the agent and looks up what the command needs. */
  async #prepare(command: readonly string[] | string, options: CommandOptions) {
    const { end, image } = this.#guest;
    const agent = this.#claimAgent();
    this.#guest.expectWork();
    const spec = commandSpec(command, options, image);
    await abortable(end.orFailure(agent.ready), options.signal);
    if (options.user === undefined) {
      this.#count += 1;
      return { agent, spec };
    }
    const user = await end.orFailure(resolveUser(agent, options.user));
    this.#count += 1;
    return { agent, spec: { ...spec, user } };
  }

  #claimAgent(): GuestAgent {
    const agent = this.#guest.agent();
    if (!agent) {
      throw new DomusError(
        'E_NO_AGENT',
        'this guest was booted from an initrd of its own and takes no commands',
        'use its console, or boot without an initrd',
      );
    }
    if (this.hasBegun && !agent.isReusable) {
      throw new DomusError('E_ONE_COMMAND', 'this guest runs a single command', 'create another guest');
    }
    return agent;
  }

  async #follow(
    running: RunningCommand,
    stdout: Output,
    stderr: Output,
    options: ExecOptions,
  ): Promise<number> {
    running.onStdout(stdout.listener);
    running.onStderr(stderr.listener);
    options.onTerminal?.(size => running.resize(size));
    const input = feed(
      options.stdin,
      chunk => running.writeStdin(chunk),
      () => running.closeStdin(),
    );
    try {
      return await abortable(Promise.race([this.#exitOf(running), input.failed]), options.signal);
    } catch (error) {
      if (!running.hasExited && !this.#guest.end.hasCome) running.kill(SIGKILL);
      throw error;
    } finally {
      input.stop();
    }
  }

  /** The command's exit code, or what the guest's own end is reported with. */
  #exitOf(running: RunningCommand): Promise<number> {
    const { end: guestEnd } = this.#guest;
    const stopped = guestEnd.ended.then(end => {
      // The command may have ended, and the guest powered off, while output is still being taken.
      if (running.hasExited) return running.exit;
      throw guestEnd.failureOf(end);
    });
    const gone = this.#guest.machineGone().then(() => {
      if (running.hasExited) return running.exit;
      throw rebooted();
    });
    return Promise.race([running.exit, stopped, gone]);
  }
}

function commandSpec(
  command: readonly string[] | string,
  options: CommandOptions & Pick<ExecOptions, 'stdin'>,
  image: ImageConfig | undefined,
): CommandSpec {
  const argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
  if (argv.length === 0 || argv[0] === '') {
    throw new DomusError('E_NO_COMMAND', 'the command is empty', 'name a program, for example uname');
  }
  for (const text of [...argv, ...Object.entries(options.env ?? {}).flat()]) {
    if (text.includes('\0')) {
      throw new DomusError('E_NO_COMMAND', 'a command or variable contains a NUL character', 'remove it');
    }
  }
  // A tool of ours is no command of the image.
  const own = options.isTool ? undefined : image;
  return {
    argv,
    env: { ...own?.env, ...options.env },
    hasInput: options.hasInput ?? options.stdin !== undefined,
    ...((options.workingFolder ?? own) && {
      workingFolder: options.workingFolder ?? own?.workingFolder ?? '/',
    }),
    ...(own?.user && { user: own.user }),
    ...(options.isTool && { isTool: true }),
    ...(options.terminal && { terminal: options.terminal }),
  };
}
