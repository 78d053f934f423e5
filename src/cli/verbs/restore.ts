/** `domus restore`: a guest out of a file that `domus save` has written; it stays, as with run -d. */
import { DomusError } from '../../base/errors.ts';
import { absolutePath } from '../../platform/node/cache-folder.ts';
import { checkName } from '../../toolstack/daemon/guest-request.ts';
import { findSnapshot } from '../../toolstack/snapshots.ts';
import { flag, option } from '../options.ts';
import { outputOption } from '../output.ts';
import { verb } from '../verb.ts';
import { runDetached } from './run-detached.ts';

export const restore = verb({
  name: 'restore',
  summary: 'Go on with a saved guest, in the background',
  operands: 'FILE | SNAPSHOT',
  options: {
    name: option({
      name: 'name',
      placeholder: 'NAME',
      summary: 'name of the guest (default: guest- and its number)',
      parse: checkName,
    }),
    output: outputOption,
    quiet: flag({ name: 'quiet', short: 'q', summary: 'show no progress' }),
  },
  notes: [
    'The file stays as it is, and must while guests run from it: their memory is read when they look at it.\n' +
      'What a guest writes to its disks then is gone when it is destroyed.',
  ],
  async run(context, values, operands) {
    const [file, ...others] = operands;
    if (file === undefined || others.length > 0) {
      throw new DomusError(
        'E_USAGE',
        'restore needs the name of a file or of a snapshot',
        '"domus snapshot list" shows the snapshots',
      );
    }
    const from = absolutePath(await findSnapshot(file, context.daemon.stateFolder));
    return runDetached(context, { from, ...(values.name !== undefined && { name: values.name }) }, values);
  },
});
