/** `domus domid`, `domname` and `uptime`: from names to numbers and back, and how long guests have run. */
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { flag } from '../options.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable } from '../table.ts';
import { type Verb, verb } from '../verb.ts';
import { isAlive, namedGuests, operandsOf } from './guest-operand.ts';

function factVerb(name: string, summary: string, operand: string, fact: 'id' | 'name'): Verb {
  return verb({
    name,
    summary,
    operands: operand,
    options: { output: outputOption },
    async run(context, values, operands) {
      const [guest] = operandsOf(name, operands, operand);
      const view = await (await Daemon.connect(context.daemon)).guest(guest);
      const isJson = values.output === 'json';
      await context.print(`${isJson ? JSON.stringify({ [fact]: view[fact] }) : view[fact]}\n`);
      return 0;
    },
  });
}

export const domid = factVerb('domid', 'Print the number of a guest', 'NAME', 'id');
export const domname = factVerb('domname', 'Print the name of a guest', 'NUMBER', 'name');

/** `2 days, 3:04:05`, as xl writes it. */
function duration(allSeconds: number): string {
  const days = Math.floor(allSeconds / 86_400);
  const [hours, minutes, seconds] = [allSeconds / 3600, allSeconds / 60, allSeconds].map(Math.floor) as [
    number,
    number,
    number,
  ];
  const two = (value: number) => String(value % 60).padStart(2, '0');
  const clock = `${hours % 24}:${two(minutes)}:${two(seconds)}`;
  return days > 0 ? `${days} ${days === 1 ? 'day' : 'days'}, ${clock}` : clock;
}

export const uptime = verb({
  name: 'uptime',
  summary: 'Show how long guests have run',
  operands: '[NAME...]',
  options: {
    short: flag({ name: 'short', short: 's', summary: 'seconds only, without a line of names' }),
    output: outputOption,
  },
  async run(context, values, operands) {
    const nowMs = Number(context.clock.wallNs() / 1_000_000n);
    const secondsOf = ({ startedAt = '' }: GuestView) =>
      Math.max(0, Math.floor((nowMs - Date.parse(startedAt)) / 1000)) || 0;
    const guests = (await namedGuests(context, operands)).filter(isAlive);
    if (values.output === 'json') {
      const all = guests.map(guest => ({ id: guest.id, name: guest.name, uptimeSeconds: secondsOf(guest) }));
      await context.print(`${JSON.stringify(all)}\n`);
    } else if (values.short) {
      await context.print(guests.map(guest => `${secondsOf(guest)}\n`).join(''));
    } else {
      const columns: readonly Column<GuestView>[] = [
        { name: 'Name', width: 33, of: ({ name }) => name },
        { name: 'ID', width: 4, isRight: true, of: ({ id }) => String(id) },
        { name: 'Uptime', width: 0, of: guest => duration(secondsOf(guest)) },
      ];
      await context.print(formatTable(columns, guests));
    }
    return 0;
  },
});
