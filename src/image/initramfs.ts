/**
 * The minimal userland of `domus run`: a static busybox with a name for each of its programs, and an init that runs commands for the
 * host (guest-init/init.ts).
 *
 * It is two archives behind one another: the base, which depends on busybox alone, and the settings of this guest. Commands come later,
 * over the agent's channel, so that one booted guest can serve many.
 */
import { DomusError } from '../base/errors.ts';
import { type CpioEntry, joinCpio, writeCpio } from './archive/cpio.ts';
import { GUEST_INIT } from './guest-init/init.ts';
import type { KernelModule } from './modules.ts';
import { shellQuote } from './shell-quote.ts';

const encoder = new TextEncoder();

/** Xen console 1, as the guest sees it; console 0 is the kernel's. */
const AGENT_CHANNEL = '/dev/hvc1';

/** How the guest's one network interface is set up. */
export interface GuestNetwork {
  /** With the number of its network bits: `10.0.2.15/24`. */
  readonly address: string;
  readonly mtu: number;
  readonly gateway?: string;
  readonly nameserver?: string;
}

/** A shared folder and where the init mounts it; one that is mounted on `/` becomes the root. */
export interface FolderMount {
  readonly tag: string;
  readonly target: string;
  readonly isReadOnly: boolean;
  /** The mount option of this name. */
  readonly cache: string;
}

export interface GuestSettings {
  readonly hostname?: string;
  /** The device that is the agent's channel. */
  readonly channel?: string;
  /** The agent's program (guest-agent). */
  readonly agent?: Uint8Array;
  /** Loaded at the beginning, in this order. */
  readonly modules?: readonly KernelModule[];
  readonly network?: GuestNetwork;
  /** Names of disks that are there before anything runs: `xvda`. */
  readonly disks?: readonly string[];
  readonly folders?: readonly FolderMount[];
  /** The one of them that becomes the root; otherwise the root is in memory. */
  readonly root?: string | undefined;
  /** A program in the root that becomes process 1, instead of the agent, which goes on beside it. */
  readonly init?: string | undefined;
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
    ...['bin', 'dev', 'domus', 'etc', 'proc', 'run', 'sys', 'usr', 'usr/local', 'var'].map(name =>
      directory(name),
    ),
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

/** The part with a guest's settings; goes behind the base. */
export function settingsInitramfs({
  hostname = 'domus',
  channel = AGENT_CHANNEL,
  agent,
  modules = [],
  network,
  disks = [],
  folders = [],
  root,
  init,
}: GuestSettings): Uint8Array {
  const settings = [`domus_channel=${shellQuote(channel)}`, `domus_hostname=${shellQuote(hostname)}`];
  if (network) {
    settings.push(
      `domus_address=${shellQuote(network.address)}`,
      `domus_mtu=${shellQuote(String(network.mtu))}`,
      `domus_gateway=${shellQuote(network.gateway ?? '')}`,
      `domus_nameserver=${shellQuote(network.nameserver ?? '')}`,
    );
  }
  if (disks.length > 0) settings.push(`domus_disks=${shellQuote(disks.join(' '))}`);
  const described = ({ tag, isReadOnly, cache }: FolderMount) =>
    `${tag} ${isReadOnly ? 'ro' : 'rw'},cache=${cache}`;
  const rootFolder = folders.find(({ target }) => target === '/');
  if (rootFolder) settings.push(`domus_root_folder=${shellQuote(described(rootFolder))}`);
  const lines = folders.filter(each => each !== rootFolder).map(each => `${described(each)} ${each.target}`);
  if (lines.length > 0) settings.push(`domus_folders=${shellQuote(lines.join('\n'))}`);
  if (root !== undefined) settings.push(`domus_root=${shellQuote(root)}`);
  if (init !== undefined) settings.push(`domus_init=${shellQuote(init)}`);
  return writeCpio([
    directory('domus'),
    file('domus/settings', `${settings.join('\n')}\n`),
    ...(agent ? [{ type: 'file', name: 'domus/agent', mode: 0o755, data: agent } as const] : []),
    ...(modules.length > 0 ? [directory('domus/modules')] : []),
    // Numbered, because the shell sorts what it finds.
    ...modules.map(
      ({ name, contents }, i): CpioEntry => ({
        type: 'file',
        name: `domus/modules/${String(i).padStart(3, '0')}-${name}.ko`,
        mode: 0o644,
        data: contents,
      }),
    ),
  ]);
}

/** The complete initramfs. Equal input gives equal bytes. */
export const buildInitramfs = (busybox: Uint8Array, settings: GuestSettings = {}): Uint8Array =>
  joinCpio(baseInitramfs(busybox), settingsInitramfs(settings));
