/**
 * The minimal userland of `domus run`: a static busybox with a name for each of its programs, and an init that runs one command
 * (guest-init/init.ts).
 *
 * It is two archives: the base, which depends on busybox alone, and a small one for the run at hand. The command and its environment
 * go into the latter and not on the kernel's command line, so that any argument arrives unchanged.
 */
import { DomusError } from '../base/errors.ts';
import { type CpioEntry, joinCpio, writeCpio } from './archive/cpio.ts';
import { GUEST_INIT } from './guest-init/init.ts';
import { shellQuote } from './shell-quote.ts';

const encoder = new TextEncoder();

/** Which devices carry the run channel, as the guest sees them. */
export interface RunDevices {
  readonly io: string;
  readonly err: string;
  readonly control: string;
}

/** Xen consoles 1 to 3; console 0 is the kernel's. */
export const XEN_RUN_DEVICES: RunDevices = { io: '/dev/hvc1', err: '/dev/hvc2', control: '/dev/hvc3' };

export interface GuestTerminal {
  readonly rows: number;
  readonly columns: number;
  /** Value of TERM. */
  readonly term: string;
}

export interface GuestRun {
  /** The command and its arguments. Empty: a shell. */
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Give the command a controlling terminal; stdout and stderr are then one. */
  readonly terminal?: GuestTerminal;
  /** Whether stdin is passed in. Otherwise, without a terminal, it is /dev/null. */
  readonly stdin?: boolean;
  readonly hostname?: string;
  /** Folder to run the command in. */
  readonly workingFolder?: string;
  readonly devices?: RunDevices;
}

/**
 * The programs in a busybox binary: their names stand in it one after the other, sorted, each with a NUL, beginning with `[` and `[[`.
 * Reading them there needs no running of the binary, which may be for another machine.
 */
export function busyboxApplets(busybox: Uint8Array): string[] {
  // A NUL, then "[", NUL, "[[", NUL.
  const start = indexOf(busybox, [0, 0x5b, 0, 0x5b, 0x5b, 0]);
  if (start < 0) {
    throw new DomusError('E_IMAGE_CORRUPT', 'busybox: its list of programs is not where it should be');
  }
  const names: string[] = [];
  let at = start + 1;
  for (;;) {
    const end = busybox.indexOf(0, at);
    const name = end < 0 ? '' : String.fromCharCode(...busybox.subarray(at, Math.min(end, at + 64)));
    if (!/^[[a-z0-9][[a-z0-9_.+-]{0,40}$/i.test(name) || (names.length > 0 && name <= names.at(-1)!)) break;
    names.push(name);
    at = end + 1;
  }
  return names;
}

function indexOf(bytes: Uint8Array, pattern: readonly number[]): number {
  for (let at = bytes.indexOf(pattern[1]!) - 1; at >= 0; at = bytes.indexOf(pattern[1]!, at + 2) - 1) {
    if (pattern.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}

const file = (name: string, text: string, mode = 0o644): CpioEntry => ({
  type: 'file',
  name,
  mode,
  data: encoder.encode(text),
});
const directory = (name: string, mode = 0o755): CpioEntry => ({ type: 'directory', name, mode });

/** The part that is the same for every run. */
export function baseInitramfs(busybox: Uint8Array): Uint8Array {
  const applets = busyboxApplets(busybox);
  return writeCpio([
    ...['bin', 'dev', 'domus', 'etc', 'proc', 'run', 'sys', 'usr', 'usr/local', 'var'].map(name => directory(name)),
    directory('root', 0o700),
    directory('tmp', 0o1777),
    { type: 'char-device', name: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { type: 'char-device', name: 'dev/null', mode: 0o666, major: 1, minor: 3 },
    { type: 'symlink', name: 'sbin', target: 'bin' },
    { type: 'symlink', name: 'usr/bin', target: '../bin' },
    { type: 'symlink', name: 'usr/sbin', target: '../bin' },
    { type: 'symlink', name: 'usr/local/bin', target: '../../bin' },
    { type: 'symlink', name: 'usr/local/sbin', target: '../../bin' },
    { type: 'symlink', name: 'var/run', target: '../run' },
    { type: 'symlink', name: 'var/tmp', target: '../tmp' },
    { type: 'file', name: 'bin/busybox', mode: 0o755, data: busybox },
    ...applets
      .filter(name => name !== 'busybox')
      .map((name): CpioEntry => ({ type: 'symlink', name: `bin/${name}`, target: 'busybox' })),
    file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n'),
    file('etc/group', 'root:x:0:\nnogroup:x:65534:\n'),
    file('init', GUEST_INIT, 0o755),
  ]);
}

const badArgument = (message: string): DomusError => new DomusError('E_RUN_ARGUMENT', message);

function quoted(what: string, text: string): string {
  if (text.includes('\0')) throw badArgument(`${what} contains a NUL character, which no program can be given`);
  return shellQuote(text);
}

/** A terminal's size as the kernel can hold it. */
const dimension = (cells: number): number => Math.max(1, Math.min(0xffff, Math.floor(cells) || 1));

/** The part for one run; goes behind the base. */
export function runInitramfs(run: GuestRun): Uint8Array {
  const { terminal, devices = XEN_RUN_DEVICES, hostname = 'domus' } = run;
  const settings = [
    `domus_io=${shellQuote(devices.io)}`,
    `domus_err=${shellQuote(devices.err)}`,
    `domus_ctl=${shellQuote(devices.control)}`,
    `domus_hostname=${quoted('the host name', hostname)}`,
    `domus_stdin=${run.stdin ? 1 : ''}`,
    `domus_terminal=${terminal ? 1 : ''}`,
    `domus_rows=${dimension(terminal?.rows ?? 24)}`,
    `domus_columns=${dimension(terminal?.columns ?? 80)}`,
  ];
  const environment: Record<string, string> = {
    HOME: '/root',
    HOSTNAME: hostname,
    ...(terminal ? { TERM: terminal.term } : {}),
    ...run.environment,
  };
  const argv = run.command.length > 0 ? run.command : ['sh'];
  const command = [
    '#!/bin/sh',
    'echo $$ >/run/domus/pid',
    `cd ${quoted('the working folder', run.workingFolder ?? '/')} || exit 126`,
    ...Object.entries(environment).map(([name, value]) => {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        throw badArgument(`${JSON.stringify(name)} cannot be the name of an environment variable`);
      }
      return `export ${name}=${quoted(`the environment variable ${name}`, value)}`;
    }),
    `exec -- ${argv.map(argument => quoted('an argument', argument)).join(' ')}`,
  ];
  return writeCpio([
    directory('domus'),
    file('domus/settings', `${settings.join('\n')}\n`),
    file('domus/command', `${command.join('\n')}\n`, 0o755),
  ]);
}

/** The complete initramfs for one run. */
export const buildInitramfs = (busybox: Uint8Array, run: GuestRun): Uint8Array =>
  joinCpio(baseInitramfs(busybox), runInitramfs(run));
