/**
 * A command as the guest gets it: a script that sets up environment and folder and then becomes the command. So arguments,
 * variables and folder arrive unchanged, whatever is in them.
 */
import { DomusError } from '../base/errors.ts';
import { shellQuote } from './shell-quote.ts';

export interface CommandSpec {
  /** The command and its arguments. Empty: a shell. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Run the command on a terminal of this size; stderr is then part of stdout. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  /** Whether stdin is passed in; otherwise the command reads an empty file. */
  readonly hasInput: boolean;
  /** Folder to run the command in. */
  readonly workingFolder?: string;
}

const badArgument = (message: string, remedy = ''): DomusError =>
  new DomusError('E_RUN_ARGUMENT', message, remedy);

function quoted(what: string, text: string): string {
  if (text.includes('\0'))
    throw badArgument(`${what} contains a NUL character, which no program can be given`);
  return shellQuote(text);
}

/** @throws DomusError E_RUN_ARGUMENT for what no program can be given */
export function commandScript(spec: CommandSpec): string {
  const environment: Record<string, string> = {
    HOME: '/root',
    ...(spec.terminal ? { TERM: 'xterm' } : {}),
    ...spec.env,
  };
  const argv = spec.argv.length > 0 ? spec.argv : ['sh'];
  const lines = [
    '#!/bin/sh',
    'echo $$ >/run/domus/pid',
    `cd ${quoted('the working folder', spec.workingFolder ?? '/')} || exit 126`,
    // What the shell itself would add.
    'unset OLDPWD SHLVL',
    ...Object.entries(environment).map(([name, value]) => {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        throw badArgument(
          `${JSON.stringify(name)} cannot be the name of an environment variable`,
          'Use letters, digits and underscores, and no digit first.',
        );
      }
      return `export ${name}=${quoted(`the environment variable ${name}`, value)}`;
    }),
    `exec -- ${argv.map(argument => quoted('an argument', argument)).join(' ')}`,
  ];
  return `${lines.join('\n')}\n`;
}
