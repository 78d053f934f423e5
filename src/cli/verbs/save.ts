/** `domus save`: write a running guest to a file, as xl does. */
import { DomusError } from '../../base/errors.ts';
import { absolutePath } from '../../platform/node/cache-folder.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { flag } from '../options.ts';
import { verb } from '../verb.ts';

export const save = verb({
  name: 'save',
  summary: 'Write a running guest to a file and end it',
  operands: 'GUEST FILE',
  options: {
    keepRunning: flag({
      name: 'keep-running',
      short: 'c',
      summary: 'the guest goes on, and has not noticed',
    }),
  },
  notes: ['"domus restore FILE" goes on from there, as often as you like.'],
  async run(context, values, operands) {
    const [guest, file, ...others] = operands;
    if (guest === undefined || file === undefined || others.length > 0) {
      throw new DomusError('E_USAGE', 'save needs a guest and a file', '"domus list" shows the guests');
    }
    const daemon = await Daemon.connect(context.daemon);
    await daemon.save(guest, absolutePath(file), !values.keepRunning);
    return 0;
  },
});
