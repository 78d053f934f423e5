/** `domus destroy`: end guests at once, as if their power were cut, and forget them and their logs. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { flag } from '../options.ts';
import { outputOption } from '../output.ts';
import { verb } from '../verb.ts';

export const destroy = verb({
  name: 'destroy',
  summary: 'End guests at once and forget them',
  operands: 'NAME... | --all',
  options: { all: flag({ name: 'all', short: 'a', summary: 'all guests' }), output: outputOption },
  notes: ['Guests that have ended already are forgotten, with their logs.'],
  async run(context, values, operands) {
    if (values.all === operands.length > 0) {
      throw new DomusError(
        'E_USAGE',
        'destroy needs names of guests, or --all',
        '"domus list" shows the guests',
      );
    }
    const daemon = await (values.all ? Daemon.connectIfAny(context.daemon) : Daemon.connect(context.daemon));
    const names = values.all ? ((await daemon?.list()) ?? []).map(({ id }) => String(id)) : operands;
    const ended = [];
    for (const name of names) ended.push(await daemon?.destroy(name));
    if (values.output === 'json') await context.print(`${JSON.stringify(ended)}\n`);
    return 0;
  },
});
