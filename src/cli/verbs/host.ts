/** `domus info`, `dmesg` and `events`: the host process and what has happened in it. */
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestEvent } from '../../toolstack/daemon/event-log.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag } from '../options.ts';
import { outputOption } from '../output.ts';
import { mebibytes, printable, seconds } from '../table.ts';
import { verb } from '../verb.ts';

export const info = verb({
  name: 'info',
  summary: 'Show what the host has, and its guests of it',
  operands: '',
  options: { output: outputOption },
  async run(context, values) {
    const facts = await (await Daemon.connect(context.daemon)).info();
    if (values.output === 'json') {
      await context.print(`${JSON.stringify(facts)}\n`);
      return 0;
    }
    const rows: readonly (readonly [string, string])[] = [
      ['release', facts.release],
      ['version', `Domus ${facts.version}`],
      ['machine', facts.machine],
      ['nr_cpus', String(facts.nrCpus)],
      ['total_memory', mebibytes(facts.memoryBytes)],
      ['free_memory', mebibytes(facts.freeMemoryBytes)],
      ['process_memory', mebibytes(facts.processMemoryBytes)],
      ['process_time', seconds(facts.processTimeNs)],
      ['nr_guests', String(facts.nrGuests)],
      ['nr_running', String(facts.nrRunning)],
      ['guest_memory', mebibytes(facts.guestMemoryBytes)],
      ['memory_budget', mebibytes(facts.memoryBudgetBytes)],
      ['xen_version', '4.17'],
      ['xen_caps', 'xen-3.0-x86_64 hvm-3.0-x86_64 (PVH guests)'],
      ['xen_scheduler', 'credit'],
      ['xen_pagesize', '4096'],
    ];
    await context.print(rows.map(([name, value]) => `${name.padEnd(23)}: ${value}\n`).join(''));
    return 0;
  },
});

const eventText = ({ at, event, id, name, detail }: GuestEvent): string =>
  `${at} ${name} (${id}): ${event}${detail === undefined ? '' : `: ${printable(detail)}`}`;

export const dmesg = verb({
  name: 'dmesg',
  summary: 'Show what has happened to the guests of the host process',
  operands: '',
  options: {
    clear: flag({ name: 'clear', short: 'c', summary: 'and forget it' }),
    output: outputOption,
  },
  notes: ['The last thousand events of this host process; "domus events" goes on with them.'],
  async run(context, values) {
    const daemon = await Daemon.connectIfAny(context.daemon);
    const events: GuestEvent[] = [];
    for await (const event of daemon?.events() ?? []) events.push(event);
    if (values.clear) await daemon?.clearEvents();
    const text = events.map(event => `${eventText(event)}\n`).join('');
    await context.print(values.output === 'json' ? `${JSON.stringify(events)}\n` : text);
    return 0;
  },
});

export const events = verb({
  name: 'events',
  summary: 'Follow what happens to guests, as JSON documents',
  operands: '',
  options: { past: flag({ name: 'past', short: 'p', summary: 'what has happened so far, and no more' }) },
  notes: [
    'One document a line: at, event, id, name, and detail where there is more to say. What has happened so far comes first.\n' +
      'Events: created, started, paused, unpaused, requested, changed, ballooned, rebooted, saved, exited, crashed, destroyed.',
  ],
  async run(context, values) {
    using interrupts = watchInterrupts();
    const daemon = await Daemon.connect(context.daemon);
    for await (const event of daemon.events({ follow: !values.past, signal: interrupts.signal })) {
      await context.print(`${JSON.stringify(event)}\n`);
    }
    return 0;
  },
});
