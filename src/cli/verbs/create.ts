/** `domus create`: a guest from a configuration file of xl's. */
import { DomusError } from '../../base/errors.ts';
import { absolutePath, fileExists } from '../../platform/node/cache-folder.ts';
import { tryReadFile } from '../../platform/node/user-files.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { type GuestRequest, parseGuestRequest } from '../../toolstack/daemon/guest-request.ts';
import { parseXlConfig, parseXlOverride } from '../../toolstack/xl-config/parse.ts';
import { xlRequest } from '../../toolstack/xl-config/request.ts';
import { attachStreams } from '../attach.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag, option } from '../options.ts';
import { outputOption } from '../output.ts';
import { createProgress } from '../progress.ts';
import { type CommandContext, verb } from '../verb.ts';
import { labelOption, labelsOf } from './labels.ts';

async function readConfig(path: string): Promise<string> {
  const read = await tryReadFile(path);
  if ('reason' in read) {
    throw new DomusError(
      'E_FILE_READ',
      `cannot read the configuration ${path}: ${read.reason}`,
      'check its name',
    );
  }
  return new TextDecoder().decode(read.bytes);
}

/** A file, or the name of a Debian package. */
const named = (path: string): string =>
  path.includes('/') || fileExists(path) || !path.startsWith('linux-image') ? absolutePath(path) : path;

/** What the words of the command line ask for; warnings go to standard error. */
async function readRequest(
  context: CommandContext,
  file: string | undefined,
  operands: readonly string[],
): Promise<GuestRequest> {
  const [first, ...rest] = operands;
  const isFile = file === undefined && first !== undefined && !/^\w+\+?=/.test(first);
  const path = isFile ? first : file;
  if (path === undefined) {
    throw new DomusError(
      'E_USAGE',
      'create needs a configuration file',
      'write one as for xl: domus create web.cfg; "domus create --help" shows an example',
    );
  }
  let config = parseXlConfig(await readConfig(path), path);
  for (const word of isFile ? rest : operands) config = parseXlOverride(word, config);
  const { request, warnings } = xlRequest(config, named);
  for (const warning of warnings) await context.complain(`domus: warning: ${warning}`);
  // Refused before anything is started.
  return parseGuestRequest(request);
}

export const create = verb({
  name: 'create',
  summary: 'Start a guest from a configuration file, as xl does',
  operands: '[FILE] [KEY=VALUE...]',
  options: {
    file: option({
      name: 'defconfig',
      short: 'f',
      placeholder: 'FILE',
      summary: 'the configuration file, instead of the first operand',
      parse: text => text,
    }),
    paused: flag({
      name: 'paused',
      short: 'p',
      summary: 'leave the guest paused: "domus unpause" starts it',
    }),
    console: flag({ name: 'console', short: 'c', summary: 'attach to its console; Ctrl-] leaves it' }),
    dryRun: flag({ name: 'dryrun', short: 'n', summary: 'show what would be asked for, and start nothing' }),
    foreground: flag({ name: 'foreground', short: 'F', summary: 'stay until the guest has ended' }),
    debug: flag({ name: 'debug', short: 'd', summary: 'show what is asked for, on standard error' }),
    label: labelOption,
    output: outputOption,
    quiet: flag({ name: 'quiet', short: 'q', summary: 'show no progress, and not its name' }),
  },
  notes: [
    'KEY=VALUE settings count after those of the file. The syntax is that of xl.cfg; docs/xl.md lists the keys.\n' +
      'Keys that are unknown or have no effect are reported with their line.',
    'Example of a file:\n' +
      '  name   = "web"\n' +
      '  memory = 512\n' +
      '  vcpus  = 2\n' +
      '  disk   = [ "web.vhd,vhd,xvda,rw" ]\n' +
      '  vif    = [ "" ]',
  ],
  async run(context, values, operands) {
    const configured = await readRequest(context, values.file, operands);
    const request: GuestRequest = {
      ...configured,
      ...labelsOf(values.label),
      ...(values.paused && { isPaused: true }),
      replacesEnded: true,
    };
    if (values.dryRun) {
      await context.print(`${JSON.stringify(request, undefined, 2)}\n`);
      return 0;
    }
    if (values.debug) await context.complain(JSON.stringify(request, undefined, 2));
    using interrupts = watchInterrupts();
    const progress = createProgress(context, values.quiet);
    const daemon = await Daemon.connect(context.daemon);
    const guest = await daemon
      .create(request, phase => progress.show(phase), interrupts.signal)
      .finally(() => progress.clear());
    if (values.output === 'json') await context.print(`${JSON.stringify(guest)}\n`);
    else if (!values.quiet) await context.print(`${guest.name}\n`);
    if (values.console) {
      return attachStreams(context, await daemon.console(guest.name), interrupts, {
        passesInput: true,
        isRaw: context.terminal.isInputTerminal,
      });
    }
    if (!values.foreground) return 0;
    const { state, reason } = await daemon.wait(guest.name, interrupts.signal);
    if (state !== 'crashed') return 0;
    throw new DomusError('E_GUEST_CRASHED', `the guest ${guest.name} crashed: ${reason ?? ''}`, '');
  },
});
