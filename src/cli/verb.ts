/** What a verb of the command line is, and what it may use. */
import type { ByteSink, ByteSource, Clock, Terminal, Timers } from '../platform/platform.ts';
import type { DaemonClientOptions } from '../toolstack/daemon/client.ts';
import type { Host, HostOptions } from '../toolstack/host.ts';
import type { OptionSpec, OptionValues } from './options.ts';

/** The world of one invocation: streams, terminal and environment, all replaceable in tests. */
export interface CommandContext {
  readonly stdin: ByteSource;
  readonly stdout: ByteSink;
  readonly stderr: ByteSink;
  readonly terminal: Terminal;
  readonly timers: Timers;
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  openHost(options: HostOptions): Promise<Host>;
  /** How the host process is found and started. */
  readonly daemon: DaemonClientOptions;
  /** Write text to standard output. */
  print(text: string): Promise<void>;
  /** Write a line to standard error. */
  complain(text: string): Promise<void>;
}

export interface Verb<
  Table extends Record<string, OptionSpec<unknown>> = Record<string, OptionSpec<unknown>>,
> {
  readonly name: string;
  /** One line, no full stop. */
  readonly summary: string;
  /** What follows the verb, for the usage line. */
  readonly operands: string;
  /** The options end at the first operand, because what follows is a command of the guest. */
  readonly endsAtOperand?: boolean;
  readonly options: Table;
  /** Paragraphs and examples below the options. */
  readonly notes?: readonly string[];
  /** Returns the exit code. `isAfterDashes`: `--` stood before the first operand. */
  run(
    context: CommandContext,
    values: OptionValues<Table>,
    operands: readonly string[],
    isAfterDashes: boolean,
  ): Promise<number>;
}

/** Infers the option table's type, so that `values` is typed inside `run`. */
export const verb = <Table extends Record<string, OptionSpec<unknown>>>(spec: Verb<Table>): Verb =>
  spec as unknown as Verb;
