/** `domus cp`: files and folders between the host and a running guest. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import {
  archiveFromGuest,
  archiveToGuest,
  type CopyGuest,
  copyFromGuest,
  copyToGuest,
} from '../../toolstack/transfer/copy.ts';
import { watchInterrupts } from '../interrupt.ts';
import { verb } from '../verb.ts';

/** `NAME:PATH`; a path of the host that contains a colon is written with a slash before it. */
function parsePlace(text: string): { guest: string; path: string } | undefined {
  const match = /^([^/:]+):(.*)$/.exec(text);
  return match ? { guest: match[1]!, path: match[2] || '/' } : undefined;
}

export const cp = verb({
  name: 'cp',
  summary: 'Copy files and folders between the host and a running guest',
  operands: 'FILE NAME:PATH | NAME:PATH FILE',
  options: {},
  notes: [
    'A folder that is there takes what is copied under its own name; otherwise the target is the new name.\n' +
      'FOLDER/. is the contents of a folder. "-" in place of FILE is a tar archive on standard input or output.\n' +
      'Rights, times and symbolic links are kept; in the guest files belong to root, on the host to you.',
    'Examples:\n' +
      '  domus cp ./site web:/srv\n' +
      '  domus cp web:/var/log/messages .\n' +
      '  domus cp web:/etc - | tar tv',
  ],
  async run(context, _values, operands) {
    const [from = '', to = '', ...rest] = operands;
    const [source, target] = [parsePlace(from), parsePlace(to)];
    if (operands.length < 2 || rest.length > 0 || !source === !target) {
      throw new DomusError(
        'E_USAGE',
        'cp needs a file here and a place in a guest',
        'write domus cp FILE NAME:PATH, or domus cp NAME:PATH FILE',
      );
    }
    const name = (source ?? target)!.guest;
    using interrupts = watchInterrupts();
    const daemon = await Daemon.connect(context.daemon);
    const guest: CopyGuest = {
      async exec(command) {
        interrupts.signal.throwIfAborted();
        const running = await daemon.exec(name, command);
        interrupts.signal.addEventListener('abort', () => running.kill(9), { once: true });
        return running;
      },
      onSkip: path => void context.complain(`domus: ${path} is left out: it is no file, folder or link`),
    };
    try {
      if (source && to === '-')
        await archiveFromGuest(guest, source.path, chunk => context.stdout.write(chunk));
      else if (source) await copyFromGuest(guest, source.path, to);
      else if (from === '-') await archiveToGuest(guest, context.stdin, target!.path);
      else await copyToGuest(guest, from, target!.path);
    } catch (error) {
      // The tool that was killed complains; why it was is what counts.
      interrupts.signal.throwIfAborted();
      throw error;
    }
    return 0;
  },
});
