/** Exit codes of the `domus` command. Scripts rely on them: they change only with a major version. */
import { DomusError } from '../base/errors.ts';

export const ExitCode = {
  ok: 0,
  failed: 1,
  usage: 2,
  timedOut: 124,
  ownFailure: 125,
  cannotExecute: 126,
  notFound: 127,
  interrupted: 130,
} as const;

export const EXIT_CODES: readonly (readonly [code: string, meaning: string])[] = [
  ['0', 'success; for run and exec: the command ended with 0, or the guest powered itself off'],
  ['1', 'failure: what was asked for could not be done, or a check of doctor failed'],
  ['2', 'wrong command line: unknown verb or option, bad value'],
  ['124', 'run: the time given with --timeout is over'],
  ['125', 'run, exec: Domus itself failed: wrong options, no kernel, a guest that crashed or is not there'],
  ['126', 'run, exec: the command was found in the guest but cannot be executed'],
  ['127', 'run, exec: the command was not found in the guest'],
  ['128+n', 'run, exec: the command was ended by signal n, or Domus was (130: Ctrl-C, 143: SIGTERM)'],
  ['other', "run, exec: the command's own exit code"],
];

/** Errors of the command line and of the values on it. */
const USAGE_CODES = new Set([
  'E_USAGE',
  'E_SIZE',
  'E_MEMORY_SIZE',
  'E_VCPU_COUNT',
  'E_PCPU_COUNT',
  'E_XL_CONFIG',
  'E_UUID',
  'E_SCHED_CREDIT',
  'E_SEED',
  'E_ENGINE',
  'E_NO_COMMAND',
  'E_GUEST_NAME',
]);

/** Verbs whose exit code is that of a guest's command. */
const COMMAND_VERBS = new Set<string | undefined>(['run', 'exec']);

/** `run` and `exec` keep 1 and 2 for the guest's command and report everything of their own with 125, as docker does. */
export function exitCodeOf(error: unknown, verb: string | undefined): number {
  const code = error instanceof DomusError ? error.code : '';
  if (code === 'E_TIMEOUT') return ExitCode.timedOut;
  if (code === 'E_INTERRUPTED') return ExitCode.interrupted;
  if (COMMAND_VERBS.has(verb)) return ExitCode.ownFailure;
  return USAGE_CODES.has(code) ? ExitCode.usage : ExitCode.failed;
}
