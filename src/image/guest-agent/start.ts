/** A command as the agent gets it: the payload of START. Its layout is that of `Start` in assembly/spawn.ts. */
import { DomusError } from '../../base/errors.ts';
import { START_BYTES } from './frames.ts';

/** Who runs the command, by numbers. */
export interface UserIds {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

export interface CommandSpec {
  /** The command and its arguments. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Run the command on a terminal of this size; stderr is then part of stdout. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  /** Whether stdin is passed in; otherwise the command reads an empty file. */
  readonly hasInput: boolean;
  /** Folder to run the command in; default `/`. */
  readonly workingFolder?: string;
  readonly user?: UserIds;
  /** The command is one of the agent's own tools (a program of busybox), whatever the guest has installed. */
  readonly isTool?: boolean;
}

const FIXED_BYTES = 24;
const Flag = { terminal: 1, input: 2, tool: 4, user: 8 } as const;
const GROUPS_MAX = 65536 / 4;
const STRINGS_MAX = 16_000;
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const encoder = new TextEncoder();

const badArgument = (message: string, remedy: string): DomusError =>
  new DomusError('E_RUN_ARGUMENT', message, remedy);

/** A terminal's size as the guest can hold it. */
export const cells = (count: number): number => Math.max(1, Math.min(0xffff, Math.floor(count) || 1));

function zeroTerminated(what: string, text: string): Uint8Array {
  if (text.includes('\0')) {
    throw badArgument(`${what} contains a NUL character, which no program can be given`, 'remove it');
  }
  return encoder.encode(`${text}\0`);
}

function environment({ env, terminal }: CommandSpec): string[] {
  const variables: Record<string, string> = {
    PATH: DEFAULT_PATH,
    HOME: '/root',
    ...(terminal && { TERM: 'xterm' }),
    ...env,
  };
  return Object.entries(variables).map(([name, value]) => {
    if (!/^[^=\0]+$/.test(name)) {
      throw badArgument(
        `${JSON.stringify(name)} cannot be the name of an environment variable`,
        'use letters, digits and underscores',
      );
    }
    return `${name}=${value}`;
  });
}

/** @throws DomusError E_RUN_ARGUMENT for what no program can be given */
export function encodeStart(spec: CommandSpec): Uint8Array {
  const { argv, terminal, user, workingFolder = '/' } = spec;
  const variables = environment(spec);
  const groups = user?.groups ?? [];
  const strings = [
    zeroTerminated('the working folder', workingFolder),
    ...argv.map(each => zeroTerminated('an argument', each)),
    ...variables.map(each => zeroTerminated('a variable', each)),
  ];
  const size = FIXED_BYTES + groups.length * 4 + strings.reduce((sum, each) => sum + each.length, 0);
  if (size > START_BYTES || strings.length > STRINGS_MAX || groups.length > GROUPS_MAX) {
    throw badArgument(
      `arguments and variables of the command are too long (${size} bytes)`,
      `keep them below ${START_BYTES} bytes, pass what is long through standard input`,
    );
  }
  const payload = new Uint8Array(size);
  const view = new DataView(payload.buffer);
  const flags =
    (terminal ? Flag.terminal : 0) |
    (spec.hasInput ? Flag.input : 0) |
    (spec.isTool ? Flag.tool : 0) |
    (user ? Flag.user : 0);
  view.setUint32(0, flags, true);
  view.setUint16(4, cells(terminal?.rows ?? 24), true);
  view.setUint16(6, cells(terminal?.columns ?? 80), true);
  view.setUint32(8, user?.uid ?? 0, true);
  view.setUint32(12, user?.gid ?? 0, true);
  view.setUint16(16, groups.length, true);
  view.setUint16(18, argv.length, true);
  view.setUint16(20, variables.length, true);
  for (const [i, group] of groups.entries()) view.setUint32(FIXED_BYTES + 4 * i, group, true);
  let at = FIXED_BYTES + 4 * groups.length;
  for (const string of strings) {
    payload.set(string, at);
    at += string.length;
  }
  return payload;
}
