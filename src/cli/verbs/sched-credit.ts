/** `domus sched-credit`: shares of the thread that guests take turns on. */
import { DomusError } from '../../base/errors.ts';
import { PERIOD_NS } from '../../hypervisor/credit.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { option, parseInteger } from '../options.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable } from '../table.ts';
import { verb } from '../verb.ts';
import { isAlive, namedGuests } from './guest-operand.ts';

const COLUMNS: readonly Column<GuestView>[] = [
  { name: 'Name', width: 33, of: ({ name }) => name },
  { name: 'ID', width: 4, isRight: true, of: ({ id }) => String(id) },
  { name: 'Weight', width: 6, isRight: true, of: ({ share }) => String(share?.weight ?? '-') },
  { name: 'Cap', width: 4, isRight: true, of: ({ share }) => String(share?.cap ?? '-') },
];

export const schedCredit = verb({
  name: 'sched-credit',
  summary: 'Show or set weights and caps of guests',
  operands: '',
  options: {
    domain: option({
      name: 'domain',
      short: 'd',
      placeholder: 'NAME',
      summary: 'of this guest',
      parse: text => text,
    }),
    weight: option({
      name: 'weight',
      short: 'w',
      placeholder: 'N',
      summary: 'set its weight, 1 to 65535; 256 is the usual one',
      parse: parseInteger('weight'),
    }),
    cap: option({
      name: 'cap',
      short: 'c',
      placeholder: 'PERCENT',
      summary: 'set its cap, in percent of one processor; 0: none',
      parse: parseInteger('cap'),
    }),
    output: outputOption,
  },
  notes: [
    'Guests that want to run at the same time get the processor in the proportion of their weights; a cap holds also when it is free.\n' +
      'Guests with threads of their own (--pcpus) are scheduled by the host system: they show -.',
  ],
  async run(context, values) {
    const { domain, weight, cap } = values;
    if (domain === undefined && (weight !== undefined || cap !== undefined))
      throw new DomusError('E_USAGE', 'whose weight or cap?', 'name a guest with -d');
    if (domain !== undefined && (weight !== undefined || cap !== undefined)) {
      const change = { ...(weight !== undefined && { weight }), ...(cap !== undefined && { cap }) };
      const view = await (await Daemon.connect(context.daemon)).change(domain, change);
      if (values.output === 'json') await context.print(`${JSON.stringify(view)}\n`);
      return 0;
    }
    const guests = (await namedGuests(context, domain === undefined ? [] : [domain])).filter(isAlive);
    if (values.output === 'json') {
      const all = guests.map(({ id, name, share }) => ({ id, name, ...share }));
      await context.print(`${JSON.stringify(all)}\n`);
      return 0;
    }
    const head = domain === undefined ? `Cpupool Pool-0: tslice=${PERIOD_NS / 1e6}ms\n` : '';
    await context.print(head + formatTable(COLUMNS, guests));
    return 0;
  },
});
