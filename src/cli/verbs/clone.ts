/** `domus clone`: copies of a running guest as it is now. */
import { DomusError } from '../../base/errors.ts';
import { checkCount, checkHostname } from '../../toolstack/cloned-guest.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { checkName } from '../../toolstack/daemon/guest-request.ts';
import { option } from '../options.ts';
import { outputOption } from '../output.ts';
import { verb } from '../verb.ts';

export const clone = verb({
  name: 'clone',
  summary: 'Copies of a running guest as it is now, each running on its own',
  operands: 'GUEST',
  options: {
    count: option({
      name: 'count',
      short: 'n',
      placeholder: 'N',
      summary: 'how many (default: 1)',
      parse: text => checkCount(/^[0-9]+$/.test(text) ? Number(text) : Number.NaN),
    }),
    name: option({
      name: 'name',
      placeholder: 'NAME',
      summary: 'name of the clone; of several NAME-1, NAME-2, ... (default: that of GUEST and a number)',
      parse: checkName,
    }),
    hostname: option({
      name: 'hostname',
      placeholder: 'NAME',
      summary: 'what it calls itself, likewise (default: as GUEST does)',
      parse: checkHostname,
    }),
    output: outputOption,
  },
  notes: [
    'Memory and disks are shared with GUEST until one of them changes them. GUEST goes on and has not noticed.\n' +
      'Each clone has random numbers and a MAC address of its own. All of them run, or none.',
  ],
  async run(context, { count, name, hostname, output }, operands) {
    const [guest, ...others] = operands;
    if (guest === undefined || others.length > 0) {
      throw new DomusError('E_USAGE', 'clone needs a guest', '"domus list" shows the guests');
    }
    const daemon = await Daemon.connect(context.daemon);
    const cloned = await daemon.clone(guest, {
      ...(count !== undefined && { count }),
      ...(name !== undefined && { name }),
      ...(hostname !== undefined && { hostname }),
    });
    const names = cloned.guests.map(each => `${each.name}\n`).join('');
    await context.print(output === 'json' ? `${JSON.stringify(cloned)}\n` : names);
    return 0;
  },
});
