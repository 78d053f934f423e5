/**
 * `domus run`: boot a throwaway guest, run one command in it, pass on its streams and its exit code.
 *
 * Standard output carries nothing but the guest's; everything that Domus says goes to standard error. On every way
 * out the terminal is restored and the guest destroyed before the process ends.
 */
import { DomusError } from '../../base/errors.ts';
import { looksLikeImage, parseReference, withAbsolutePath } from '../../image/reference.ts';
import { parseFaults } from '../../net/fault-text.ts';
import { parseForward } from '../../net/nat/forwards.ts';
import { parseRule } from '../../net/policy.ts';
import { absolutePath, fileExists } from '../../platform/node/cache-folder.ts';
import { tryCreateFileSink } from '../../platform/node/streams.ts';
import type { ByteSink } from '../../platform/platform.ts';
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
} from '../../toolstack/config.ts';
import { checkName, type GuestRequest } from '../../toolstack/daemon/guest-request.ts';
import { parseDiskSpec } from '../../toolstack/disk-spec.ts';
import { parseFolderSpec } from '../../toolstack/folder-spec.ts';
import type { RunOptions, RunResult } from '../../toolstack/host.ts';
import type { TraceRequest } from '../../toolstack/machine.ts';
import { checkMtu, chosenMode, type NetworkOptions, parseNetworkMode } from '../../toolstack/network.ts';
import { parseSize } from '../../toolstack/size.ts';
import { findSnapshot } from '../../toolstack/snapshots.ts';
import { detachable } from '../detach.ts';
import { watchInterrupts } from '../interrupt.ts';
import {
  flag,
  list,
  type OptionValues,
  option,
  parseDurationMs,
  parseInteger,
  spelling,
} from '../options.ts';
import { jsonBytes, parseOutputFormat } from '../output.ts';
import { createProgress } from '../progress.ts';
import { parseVariable } from '../variables.ts';
import { type CommandContext, verb } from '../verb.ts';
import { labelOption, labelsOf } from './labels.ts';
import { runDetached } from './run-detached.ts';

const usage = (message: string, remedy: string) => new DomusError('E_USAGE', message, remedy);

function parsePort(text: string): number {
  const port = parseInteger('port number')(text);
  if (port < 1 || port > 65535) throw usage(`there is no port ${text}`, 'choose a port from 1 to 65535');
  return port;
}

function parseTrace(text: string): { kind: 'instructions' | 'hypercalls'; file?: string } {
  const colon = text.indexOf(':');
  const kind = colon < 0 ? text : text.slice(0, colon);
  if (kind !== 'instructions' && kind !== 'hypercalls') {
    throw usage(`"${kind}" cannot be traced`, 'use --trace instructions or --trace hypercalls');
  }
  const file = colon < 0 ? '' : text.slice(colon + 1);
  return file === '' ? { kind } : { kind, file };
}

const options = {
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
  env: list({
    name: 'env',
    short: 'e',
    placeholder: 'NAME=VALUE',
    summary: 'set a variable for the command; may be repeated',
    parse: parseVariable,
  }),
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

type Values = OptionValues<typeof options>;

function checkRule(text: string): string {
  parseRule(text);
  return text;
}

/** What the options say about the network; nothing if they say nothing. */
function chooseNetwork(values: Values): NetworkOptions | undefined {
  const chosen: NetworkOptions = {
    ...(values.net !== undefined && { mode: values.net }),
    ...(values.publish.length > 0 && { publish: values.publish }),
    ...(values.allow.length > 0 && { allow: values.allow }),
    ...(values.deny.length > 0 && { deny: values.deny }),
    ...(values.capture !== undefined && { capture: values.capture }),
    ...(values.netFault && { faults: values.netFault.faults, faultSeed: values.netFault.seed }),
    ...(values.mtu !== undefined && { mtu: values.mtu }),
  };
  // Refused before anything is fetched.
  const isNone = chosenMode(chosen).kind === 'none';
  const given = Object.keys(chosen).filter(key => key !== 'mode');
  if (isNone && given.length > 0)
    throw usage('--net none leaves nothing to set', 'leave out the other network options');
  return Object.keys(chosen).length > 0 ? chosen : undefined;
}

interface Chosen {
  readonly image: string | undefined;
  readonly command: readonly string[];
}

/**
 * The first operand is an image when it stands before any `--` and has a colon, as `debian:12` has and the names of commands have
 * not. A `--` behind it is the end of our words.
 */
function chooseImage(operands: readonly string[], isAfterDashes: boolean): Chosen {
  const [first, ...rest] = operands;
  if (first === undefined || isAfterDashes || !looksLikeImage(first))
    return { image: undefined, command: operands };
  parseReference(first);
  return { image: first, command: rest[0] === '--' ? rest.slice(1) : rest };
}

/** What to run; a terminal and no COMMAND means a shell. */
function chooseCommand(
  values: Values,
  { image, command: operands }: Chosen,
  hasTerminal: boolean,
): readonly string[] | undefined {
  if (values.boot && operands.length > 0) {
    throw usage(
      '--boot runs no COMMAND instead of the init',
      'leave out one of them, or run it in a guest that stays: domus run -d --boot, domus exec',
    );
  }
  if (operands.length > 0) return operands;
  if (image !== undefined || values.boot) return undefined;
  if (values.initrd !== undefined) return undefined;
  if (hasTerminal) return ['/bin/sh'];
  throw new DomusError(
    'E_NO_COMMAND',
    'there is nothing to run',
    'give a COMMAND, for example: domus run -- uname -a',
  );
}

/** A saved machine is what it is. */
function checkFrom(values: Values, { image }: Chosen): void {
  if (values.from === undefined) return;
  const given = (
    [
      'memory',
      'minMemory',
      'maxMemory',
      'vcpus',
      'kernel',
      'initrd',
      'append',
      'boot',
      'net',
      'deterministic',
    ] as const
  ).find(key => values[key] !== undefined && values[key] !== false);
  const other = given
    ? spelling(options[given])
    : values.disk.length > 0
      ? '--disk'
      : values.volume.length > 0
        ? '--volume'
        : image;
  if (other !== undefined) throw usage(`${other} cannot be used with --from`, 'leave out one of them');
}

/** What a guest that stays is made of; refuses what needs this process to stay with it. */
function detachedRequest(values: Values, chosen: Chosen): GuestRequest {
  const bound = (['interactive', 'tty', 'timeout', 'console', 'deterministic', 'gdb', 'trace'] as const).find(
    key => values[key] !== undefined && values[key] !== false,
  );
  if (bound) throw usage(`${spelling(options[bound])} cannot be used with -d`, 'leave out one of them');
  const network = chooseNetwork(values);
  return {
    name: values.name,
    // The host process has a working folder of its own.
    ...(chosen.image !== undefined && { image: withAbsolutePath(chosen.image, absolutePath) }),
    command: chooseCommand(values, chosen, false),
    env: Object.fromEntries(values.env),
    memory: values.memory,
    minMemory: values.minMemory,
    maxMemory: values.maxMemory,
    vcpus: values.vcpus,
    pcpus: values.pcpus,
    engine: values.engine,
    append: values.append,
    boot: values.boot,
    onReboot: values.onReboot,
    kernel:
      values.kernel !== undefined && fileExists(values.kernel) ? absolutePath(values.kernel) : values.kernel,
    initrd: values.initrd === undefined ? undefined : absolutePath(values.initrd),
    disks: values.disk.map(disk => ({ ...disk, path: absolutePath(disk.path) })),
    folders: values.volume.map(folder => ({ ...folder, path: absolutePath(folder.path) })),
    ...(network && {
      network: { ...network, ...(values.capture !== undefined && { capture: absolutePath(values.capture) }) },
    }),
    ...labelsOf(values.label),
    isRemovedAtEnd: values.remove,
  };
}

async function openFile(what: string, path: string): Promise<ByteSink> {
  const opened = await tryCreateFileSink(path);
  if ('sink' in opened) return opened.sink;
  throw new DomusError(
    'E_FILE_WRITE',
    `cannot write the ${what} to ${path}: ${opened.reason}`,
    'choose a file in a folder that exists and can be written',
  );
}

/** Trace lines are many: they are gathered and written in larger pieces. */
function createTrace(kind: TraceRequest['kind'], sink: ByteSink): TraceRequest & { flush(): Promise<void> } {
  const encoder = new TextEncoder();
  let pending = '';
  let last: Promise<void> = Promise.resolve();
  const flush = () => {
    const bytes = encoder.encode(pending);
    pending = '';
    last = last.then(() => sink.write(bytes));
    // A reader that fails is reported by the final flush.
    last.catch(() => {});
    return last;
  };
  return {
    kind,
    write(line) {
      pending += `${line}\n`;
      if (pending.length > 65536) flush();
    },
    flush,
  };
}

async function runGuest(
  context: CommandContext,
  values: Values,
  operands: readonly string[],
  isAfterDashes: boolean,
): Promise<number> {
  const { terminal } = context;
  if (values.seed !== undefined && !values.deterministic) {
    throw usage('--seed has no effect alone', 'add --deterministic');
  }
  if (values.tty && values.interactive && !terminal.isInputTerminal) {
    throw usage('-t with -i needs a terminal as standard input', 'leave out -t');
  }
  const chosen = chooseImage(operands, isAfterDashes);
  checkFrom(values, chosen);
  const from =
    values.from === undefined
      ? undefined
      : absolutePath(await findSnapshot(values.from, context.daemon.stateFolder));
  if (values.detach) {
    const request = { ...detachedRequest(values, chosen), ...(from !== undefined && { from }) };
    return runDetached(context, request, values);
  }
  if (values.name !== undefined || values.remove || values.label.length > 0)
    throw usage('--name, --label and --rm are for -d', 'add -d');
  if (values.minMemory !== undefined || values.maxMemory !== undefined)
    throw usage('--min-memory and --max-memory are for -d', 'add -d');
  const isJson = values.output === 'json';
  if (isJson && values.tty) throw usage('-o json cannot be used with -t', 'leave out one of them');
  const { image } = chosen;
  const isShell =
    chosen.command.length === 0 && values.initrd === undefined && !values.boot && terminal.isInputTerminal;
  const command = chooseCommand(values, chosen, terminal.isInputTerminal);
  const isOwnGuest = command === undefined && (image === undefined || values.boot);
  const network = chooseNetwork(values);
  const wantsTerminal = values.tty || (isShell && terminal.isOutputTerminal && !isJson);
  const passesInput = values.interactive || isShell || !terminal.isInputTerminal || isOwnGuest;

  await using cleanup = new AsyncDisposableStack();
  const progress = createProgress(context, values.quiet);
  cleanup.defer(() => progress.clear());
  const interrupts = cleanup.use(watchInterrupts());
  const isRaw = passesInput && terminal.isInputTerminal && (wantsTerminal || isOwnGuest);
  const stdin = !passesInput
    ? undefined
    : isRaw
      ? detachable(context.stdin, interrupts.leave)
      : context.stdin;

  let guestConsole: ByteSink | undefined;
  if (values.console !== undefined) {
    const sink = await openFile('console', values.console);
    cleanup.defer(() => sink.close());
    guestConsole = sink;
  }
  let trace: ReturnType<typeof createTrace> | undefined;
  if (values.trace) {
    const { kind, file } = values.trace;
    const sink = file === undefined ? context.stderr : await openFile('trace', file);
    trace = createTrace(kind, sink);
    cleanup.defer(() => (file === undefined ? undefined : sink.close()));
    cleanup.defer(() => trace?.flush());
  }

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
    ...(image !== undefined && { image }),
    command,
    isPrepared: !values.noSnapshot,
    ...(from !== undefined && { from }),
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
    signal: interrupts.signal,
    ...(network && { network }),
    stdin,
    stdout: isJson ? 'collect' : toSink(context.stdout),
    stderr: isJson ? 'collect' : toSink(context.stderr),
    ...(trace && { trace }),
    ...(guestConsole && { console: chunk => guestConsole.write(chunk) }),
    ...(values.deterministic && { deterministic: { seed: values.seed ?? 0 } }),
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

const jsonResult = (result: RunResult) => ({
  exitCode: result.exitCode,
  ...jsonBytes('stdout', result.stdout),
  ...jsonBytes('stderr', result.stderr),
  instructions: result.instructions,
  durationMs: Math.round(result.durationMs),
  ...(result.stateHash !== undefined && { stateHash: result.stateHash }),
  ...(result.shutdown && { shutdown: result.shutdown.reason }),
});

export const run = verb({
  name: 'run',
  summary: 'Boot a throwaway guest and run a command in it',
  operands: '[IMAGE] [--] [COMMAND...]',
  endsAtOperand: true,
  options,
  notes: [
    'Standard input, output and error are those of COMMAND, and so is the exit code; failures of Domus itself\n' +
      'give 125. See "domus --help exit-codes".',
    'IMAGE is the first word when it has a colon and no "--" stands before it: debian:12, oci:FOLDER,\n' +
      'docker-archive:FILE, dir:FOLDER, HOST/NAME:TAG in a registry, or the name of an image in the store.\n' +
      'Without IMAGE the guest has a small userland in memory.',
    'Examples:\n' +
      '  domus run -- uname -a\n' +
      '  domus run debian:12 -- sh -c "apt-get update && apt-get install -y hello && hello"\n' +
      '  tar c . | domus run -m 1G -- sh -c "tar x && ls"\n' +
      '  domus run -it\n' +
      '  domus run -d --name web -p 8080:80 debian:12 -- busybox httpd -f -p 80\n' +
      '  domus run -it --boot --disk box.vhd\n' +
      '  domus run --kernel ./bzImage --initrd ./initrd.img --append quiet',
  ],
  run: runGuest,
});
