/** `domus exec`: run a command in a guest that runs already; streams and exit code are the command's. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { attachStreams } from '../attach.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag, option } from '../options.ts';
import { variables } from '../variables.ts';
import { verb } from '../verb.ts';

export const exec = verb({
  name: 'exec',
  summary: 'Run a command in a running guest',
  operands: 'NAME [--] COMMAND...',
  endsAtOperand: true,
  options: {
    interactive: flag({ name: 'interactive', short: 'i', summary: 'pass standard input' }),
    tty: flag({
      name: 'tty',
      short: 't',
      summary: 'run the command on a terminal; with -i, Ctrl-] leaves it',
    }),
    env: variables,
    workdir: option({
      name: 'workdir',
      short: 'w',
      placeholder: 'DIR',
      summary: 'folder of the guest to run it in (default /)',
      parse: text => text,
    }),
    user: option({
      name: 'user',
      short: 'u',
      placeholder: 'USER[:GROUP]',
      summary: 'whose rights it has, by name or number (default root)',
      parse: text => text,
    }),
  },
  notes: [
    'Several commands may run in one guest at the same time. When this one is ended, so is the one in the guest.',
    'Examples:\n' +
      '  domus exec web -- ps\n' +
      '  tar c . | domus exec -i -w /srv web -- tar x\n' +
      '  domus exec -it -u nobody web -- sh',
  ],
  async run(context, values, operands) {
    const [name, ...after] = operands;
    const command = after[0] === '--' ? after.slice(1) : after;
    if (name === undefined || command.length === 0) {
      throw new DomusError(
        'E_USAGE',
        'exec needs a guest and a COMMAND',
        'for example: domus exec web -- ps',
      );
    }
    const { terminal } = context;
    if (values.tty && values.interactive && !terminal.isInputTerminal) {
      throw new DomusError('E_USAGE', '-t with -i needs a terminal as standard input', 'leave out -t');
    }
    using interrupts = watchInterrupts();
    const daemon = await Daemon.connect(context.daemon);
    const running = await daemon.exec(name, {
      command,
      env: Object.fromEntries(values.env),
      hasInput: values.interactive,
      ...(values.workdir !== undefined && { workingFolder: values.workdir }),
      ...(values.user !== undefined && { user: values.user }),
      ...(values.tty && { terminal: terminal.size() }),
    });
    return attachStreams(context, running, interrupts, {
      passesInput: values.interactive,
      isRaw: values.interactive && values.tty,
    });
  },
});
