/**
 * The `domus` command: finds the verb, parses its options, runs it, and turns every failure into one line that says
 * what happened and how to mend it. Returns the exit code; bin/domus.js ends the process with it.
 */
import { createNodeClock, nodeTimers } from '../platform/node/clock.ts';
import { endProcess } from '../platform/node/end-process.ts';
import { hostEnvironment } from '../platform/node/host-info.ts';
import { ownEntry } from '../platform/node/state-folder.ts';
import { standardError, standardInput, standardOutput } from '../platform/node/streams.ts';
import { createTerminal } from '../platform/node/terminal.ts';
import { keepThreadCode } from '../platform/node/threads.ts';
import { runNoOtherModules } from '../platform/node/wasm-compiler.ts';
import type { Host, HostOptions } from '../toolstack/host.ts';
import { ExitCode, exitCodeOf } from './exit-codes.ts';
import { Interruption } from './interrupt.ts';
import { nearest, parseOptions } from './options.ts';
import { reportError } from './report-error.ts';
import { usage } from './usage.ts';
import type { CommandContext, Verb } from './verb.ts';

/** Most commands start no guest. */
async function openHostHere(options: HostOptions): Promise<Host> {
  const { Host } = await import('../toolstack/host.ts');
  return Host.open(options);
}

export function createContext(openHost = openHostHere): CommandContext {
  runNoOtherModules();
  keepThreadCode();
  const stdout = standardOutput();
  const stderr = standardError();
  const encoder = new TextEncoder();
  return {
    stdin: standardInput(),
    stdout,
    stderr,
    terminal: createTerminal(),
    timers: nodeTimers,
    clock: createNodeClock(),
    env: hostEnvironment(),
    openHost,
    daemon: { entry: ownEntry() },
    print: text => stdout.write(encoder.encode(text)),
    complain: text => stderr.write(encoder.encode(`${text}\n`)),
  };
}

export { endProcess };

/** Verbs that are not used often, or do nothing that takes time. */
const RARE_VERBS: ReadonlySet<string> = new Set(['cache', 'doctor', 'version']);
let worked: string | undefined;
/** Has a verb done what it is for, and is that worth to be done faster the next time? */
export const hasWorked = (name: string): boolean => worked === name && !RARE_VERBS.has(name);

/** `domus help [TOPIC]` and `domus --help [TOPIC]`. */
async function showHelp(context: CommandContext, topic: string | undefined): Promise<number> {
  const { exitCodesHelp, generalHelp, verbHelp } = await import('./help.ts');
  if (topic === undefined) await context.print(generalHelp((await import('./verbs/index.ts')).VERBS));
  else if (topic === 'exit-codes') await context.print(exitCodesHelp());
  else await context.print(verbHelp(await findVerb(topic)));
  return ExitCode.ok;
}

/** `run` is what people wait for, so it comes without the others. */
async function findVerb(name: string): Promise<Verb> {
  if (name === 'run') return (await import('./verbs/run.ts')).run;
  const { VERBS } = await import('./verbs/index.ts');
  const found = VERBS.find(verb => verb.name === name);
  if (found) return found;
  const { NOT_THERE } = await import('./verbs/not-there.ts');
  const missing = NOT_THERE.get(name);
  if (missing) throw usage(`there is no ${name}: ${missing[0]}`, missing[1]);
  const names = [...VERBS.map(verb => verb.name), 'help', '--help', '--version'];
  const near = nearest(name, names);
  const remedy = near ? `did you mean "domus ${near}"?` : '"domus --help" lists the verbs';
  throw usage(name.startsWith('-') ? `unknown option ${name}` : `there is no verb "${name}"`, remedy);
}

/** Help asked for among the verb's own options, not among the words of a guest's command. */
function asksForHelp(verb: Verb, args: readonly string[]): boolean {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    if (arg === '--help' || arg === '-h') return true;
    if (arg === '--' || (!arg.startsWith('-') && verb.endsAtOperand)) return false;
    const spec = Object.values(verb.options).find(
      each => arg === `--${each.name}` || arg === `-${each.short}`,
    );
    if (spec?.placeholder !== undefined) i += 1;
  }
  return false;
}

async function dispatch(context: CommandContext, args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined) {
    throw usage('no verb is given', '"domus --help" lists the verbs');
  }
  if (name === '--help' || name === '-h' || name === 'help') return showHelp(context, rest[0]);
  const verb = await findVerb(name === '--version' || name === '-V' ? 'version' : name);
  if (asksForHelp(verb, rest)) return showHelp(context, verb.name);
  const { values, operands, isAfterDashes } = parseOptions(
    verb.options,
    rest,
    verb.endsAtOperand === true,
    `domus ${verb.name} --help`,
  );
  if (verb.operands === '' && operands.length > 0) {
    throw usage(
      `${verb.name} takes no operand "${operands[0]}"`,
      `"domus ${verb.name} --help" shows the usage`,
    );
  }
  const code = await verb.run(context, values as never, operands, isAfterDashes);
  worked = verb.name;
  return code;
}

/** @returns the exit code */
export async function main(
  args: readonly string[],
  context: CommandContext = createContext(),
): Promise<number> {
  try {
    return await dispatch(context, args);
  } catch (error) {
    if (error instanceof Interruption) return error.exitCode;
    await reportError(context, error);
    return exitCodeOf(error, args[0]);
  }
}
