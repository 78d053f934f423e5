/** The options of `domus run`, and how the values are read of those that no other verb has. */
import { parseFaults } from '../../../net/fault-text.ts';
import { parseForward } from '../../../net/nat/forwards.ts';
import { parseRule } from '../../../net/policy.ts';
import {
  checkEndAction,
  checkEngine,
  checkMemory,
  checkPcpus,
  checkSeed,
  checkVcpus,
  formatSize,
  MEMORY_DEFAULT_BYTES,
  VCPUS_MAX,
} from '../../../toolstack/config.ts';
import { checkName } from '../../../toolstack/daemon/guest-request.ts';
import { parseDiskSpec } from '../../../toolstack/disk-spec.ts';
import { parseFolderSpec } from '../../../toolstack/folder-spec.ts';
import type { TraceKind } from '../../../toolstack/machine.ts';
import { checkMtu, parseNetworkMode } from '../../../toolstack/network.ts';
import { parseSize } from '../../../toolstack/size.ts';
import { flag, list, type OptionValues, option, parseDurationMs, parseInteger } from '../../options.ts';
import { parseOutputFormat } from '../../output.ts';
import { usage } from '../../usage.ts';
import { variables } from '../../variables.ts';
import { labelOption } from '../labels.ts';

export interface TraceChoice {
  readonly kind: TraceKind;
  /** Standard error without it. */
  readonly file?: string;
}

function parsePort(text: string): number {
  const port = parseInteger('port number')(text);
  if (port < 1 || port > 65535) throw usage(`there is no port ${text}`, 'choose a port from 1 to 65535');
  return port;
}

function parseTrace(text: string): TraceChoice {
  const colon = text.indexOf(':');
  const kind = colon < 0 ? text : text.slice(0, colon);
  if (kind !== 'instructions' && kind !== 'hypercalls') {
    throw usage(`"${kind}" cannot be traced`, 'use --trace instructions or --trace hypercalls');
  }
  const file = colon < 0 ? '' : text.slice(colon + 1);
  return file === '' ? { kind } : { kind, file };
}

function checkRule(text: string): string {
  parseRule(text);
  return text;
}

export const options = {
  interactive: flag({
    name: 'interactive',
    short: 'i',
    summary: 'pass standard input also when it is a terminal',
  }),
  tty: flag({ name: 'tty', short: 't', summary: 'run the command on a terminal; Ctrl-] leaves it' }),
  memory: option({
    name: 'memory',
    short: 'm',
    placeholder: 'SIZE',
    summary: `memory of the guest, with a unit: 512M, 2G (default ${formatSize(MEMORY_DEFAULT_BYTES)})`,
    parse: text => checkMemory(parseSize(text)),
  }),
  minMemory: option({
    name: 'min-memory',
    placeholder: 'SIZE',
    summary:
      'with -d: memory goes by need between the guests that have this option, and is not less than this',
    parse: text => checkMemory(parseSize(text)),
  }),
  maxMemory: option({
    name: 'max-memory',
    placeholder: 'SIZE',
    summary: 'with -d: what the memory can be raised to while the guest runs (default: as --memory)',
    parse: text => checkMemory(parseSize(text)),
  }),
  vcpus: option({
    name: 'vcpus',
    placeholder: 'N',
    summary: `virtual processors, 1 to ${VCPUS_MAX} (default 1)`,
    parse: text => checkVcpus(parseInteger('number of vCPUs')(text)),
  }),
  pcpus: option({
    name: 'pcpus',
    placeholder: 'N',
    summary: 'threads that run the virtual processors at the same time (default 1: they take turns)',
    parse: text => checkPcpus(parseInteger('number of threads')(text)),
  }),
  kernel: option({
    name: 'kernel',
    placeholder: 'FILE|PACKAGE',
    summary: "a kernel image, or the name of a Debian package (default: Debian's cloud kernel)",
    parse: text => text,
  }),
  initrd: option({
    name: 'initrd',
    placeholder: 'FILE',
    summary: 'an initial RAM disk of your own; without COMMAND its console is standard output',
    parse: text => text,
  }),
  append: option({
    name: 'append',
    placeholder: 'TEXT',
    summary: "add to the kernel's command line",
    parse: text => text,
  }),
  boot: flag({
    name: 'boot',
    summary: "boot the root's own init instead of a command; its console is standard output",
  }),
  onReboot: option({
    name: 'on-reboot',
    placeholder: 'WHAT',
    summary: 'what a reboot of the guest does: restart (default with --boot) or destroy (default without)',
    parse: checkEndAction,
  }),
  env: variables,
  timeout: option({
    name: 'timeout',
    placeholder: 'TIME',
    summary: 'end the run after this time (30s, 5m) with exit code 124',
    parse: parseDurationMs,
  }),
  engine: option({
    name: 'engine',
    placeholder: 'NAME',
    summary: 'CPU engine: translator (default), interpreter, or lockstep (both, compared)',
    parse: checkEngine,
  }),
  console: option({
    name: 'console',
    placeholder: 'FILE',
    summary: "write the guest's console (kernel messages) to a file",
    parse: text => text,
  }),
  deterministic: flag({
    name: 'deterministic',
    summary: 'virtual time and seeded chance: the same input gives the same run',
  }),
  seed: option({
    name: 'seed',
    placeholder: 'N',
    summary: 'seed for --deterministic (default 0)',
    parse: text => checkSeed(parseInteger('seed')(text)),
  }),
  gdb: option({
    name: 'gdb',
    placeholder: 'PORT',
    summary: 'wait for gdb on 127.0.0.1:PORT before the first instruction',
    parse: parsePort,
  }),
  trace: option({
    name: 'trace',
    placeholder: 'WHAT[:FILE]',
    summary: 'trace instructions or hypercalls, to standard error or to a file',
    parse: parseTrace,
  }),
  net: option({
    name: 'net',
    placeholder: 'MODE',
    summary:
      'network of the guest: none, nat, or switch:NAME (default: none, or nat when an option below asks for it)',
    parse: text => {
      parseNetworkMode(text);
      return text;
    },
  }),
  publish: list({
    name: 'publish',
    short: 'p',
    placeholder: 'HOST:GUEST',
    summary: 'forward a port of 127.0.0.1 to the guest; BIND:HOST:GUEST, HOST:GUEST/udp; may be repeated',
    parse: parseForward,
  }),
  allow: list({
    name: 'allow',
    placeholder: 'WHERE',
    summary: 'let the guest reach only this address, range or name (*.NAME: all below it); may be repeated',
    parse: checkRule,
  }),
  deny: list({
    name: 'deny',
    placeholder: 'WHERE',
    summary: 'keep the guest from an address, range or name; may be repeated',
    parse: checkRule,
  }),
  capture: option({
    name: 'capture',
    placeholder: 'FILE',
    summary: "write the guest's network traffic to a pcap file",
    parse: text => text,
  }),
  netFault: option({
    name: 'net-fault',
    placeholder: 'FAULTS',
    summary:
      'make the network bad: delay=50ms, jitter=10ms, loss=1%, reorder=5%, duplicate=1%, bandwidth=10M, joined by commas',
    parse: parseFaults,
  }),
  mtu: option({
    name: 'mtu',
    placeholder: 'BYTES',
    summary: "longest packet of the guest's network (default 1500)",
    parse: text => checkMtu(parseInteger('MTU')(text)),
  }),
  volume: list({
    name: 'volume',
    short: 'v',
    placeholder: 'HOSTDIR:GUESTDIR',
    summary: 'share a folder: HOSTDIR:GUESTDIR[:ro][,cache=none|mmap|loose]; may be repeated',
    parse: parseFolderSpec,
  }),
  disk: list({
    name: 'disk',
    placeholder: 'FILE[,ro]...',
    summary: 'attach an image: FILE[,ro][,format=vhd|raw|qcow2|vhdx][,dev=xvda]; may be repeated',
    parse: parseDiskSpec,
  }),
  output: option({
    name: 'output',
    short: 'o',
    placeholder: 'FORMAT',
    summary: 'json: collect the output and write one JSON document at the end',
    parse: parseOutputFormat,
  }),
  detach: flag({
    name: 'detach',
    short: 'd',
    summary: 'leave the guest running and print its name; see exec, logs, cp, list, destroy',
  }),
  name: option({
    name: 'name',
    placeholder: 'NAME',
    summary: 'with -d: the name of the guest (default: guest- and its number)',
    parse: checkName,
  }),
  label: labelOption,
  remove: flag({ name: 'rm', summary: 'with -d: forget the guest and its log as soon as it has ended' }),
  from: option({
    name: 'from',
    placeholder: 'NAME',
    summary: 'go on from a snapshot or a saved machine instead of booting one',
    parse: text => text,
  }),
  noSnapshot: flag({
    name: 'no-snapshot',
    summary: 'boot, even where a machine that has booted is kept from an earlier run',
  }),
  quiet: flag({ name: 'quiet', short: 'q', summary: 'show no progress' }),
};

export type RunValues = OptionValues<typeof options>;
