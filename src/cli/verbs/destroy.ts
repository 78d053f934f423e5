/** `domus destroy`: end guests at once, as if their power were cut, and forget them and their logs. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { flag } from '../options.ts';
import { verb } from '../verb.ts';

export const destroy = verb({
  name: 'destroy',
  summary: 'End guests at once and forget them',
  operands: 'NAME... | --all',
  options: { all: flag({ name: 'all', short: 'a', summary: 'all guests' }) },
  notes: ['Guests that have ended already are forgotten, with their logs.'],
  async run(context, values, operands) {
    if (values.all === operands.length > 0) {
      throw new DomusError(
        'E_USAGE',
        'destroy needs names of guests, or --all',
        '"domus list" shows the guests',
      );
    }
    if (values.all) {
      const daemon = await Daemon.connectIfAny(context.daemon);
      for (const { id } of (await daemon?.list()) ?? []) await daemon?.destroy(String(id));
      return 0;
    }
    const daemon = await Daemon.connect(context.daemon);
    for (const name of operands) await daemon.destroy(name);
    return 0;
  },
});
