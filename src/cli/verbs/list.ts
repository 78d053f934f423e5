/** `domus list`: the guests of the host process, those that run and those that have ended and are not forgotten. */
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { flag, list as listOption } from '../options.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable, mebibytes, printable, seconds } from '../table.ts';
import { verb } from '../verb.ts';
import { namedGuests } from './guest-operand.ts';
import { parseLabel } from './labels.ts';

const COMMAND_CHARACTERS_MAX = 40;

function stateOf({ state, exitCode, domain }: GuestView): string {
  if (domain) return domain.state;
  return state === 'exited' && exitCode !== undefined ? `exited (${exitCode})` : state;
}

function commandOf({ command }: GuestView): string {
  const text = printable((command ?? ['(its own)']).join(' '));
  return text.length > COMMAND_CHARACTERS_MAX ? `${text.slice(0, COMMAND_CHARACTERS_MAX - 1)}…` : text;
}

const vcpusOf = ({ domain, vcpus }: GuestView): number =>
  domain ? domain.vcpus.filter(({ isOnline }) => isOnline).length : vcpus;

/** As xl has them. */
const COLUMNS: readonly Column<GuestView>[] = [
  { name: 'Name', width: 24, of: ({ name }) => name },
  { name: 'ID', width: 4, isRight: true, of: ({ id }) => String(id) },
  {
    name: 'Mem',
    width: 6,
    isRight: true,
    of: ({ domain, memoryBytes }) => mebibytes(domain?.memoryBytes ?? memoryBytes),
  },
  { name: 'VCPUs', width: 5, isRight: true, of: guest => String(vcpusOf(guest)) },
  { name: 'State', width: 12, of: guest => ` ${stateOf(guest)}` },
  {
    name: 'Time(s)',
    width: 8,
    isRight: true,
    of: ({ domain }) => (domain ? seconds(domain.cpuTimeNs) : '-'),
  },
];
const COMMAND: Column<GuestView> = { name: 'Command', width: 0, of: guest => ` ${commandOf(guest)}` };
const UUID: Column<GuestView> = { name: 'UUID', width: 36, of: ({ uuid }) => ` ${uuid ?? '-'}` };

export const list = verb({
  name: 'list',
  summary: 'List the guests of the host process',
  operands: '[NAME...]',
  options: {
    long: flag({ name: 'long', short: 'l', summary: 'all that is known, as JSON; the same as -o json' }),
    verbose: flag({ name: 'verbose', short: 'v', summary: 'their UUIDs as well' }),
    label: listOption({
      name: 'label',
      placeholder: 'NAME[=VALUE]',
      summary: 'only guests with this label; may be repeated',
      parse: text => ({ label: parseLabel(text), hasValue: text.includes('=') }),
    }),
    output: outputOption,
  },
  notes: [
    'State is that of the domain, as in xl: r running or waiting for its turn, b blocked (it waits for an event), p paused,\n' +
      's shut down, c crashed. Of a guest that has ended it is exited with the exit code of the command, crashed, or lost\n' +
      '(its host process was ended). Mem is in MiB, Time is processor time.',
  ],
  async run(context, values, operands) {
    const all = await namedGuests(context, operands);
    const guests = all.filter(({ labels = {} }) =>
      values.label.every(({ label: [name, value], hasValue }) =>
        hasValue ? labels[name] === value : Object.hasOwn(labels, name),
      ),
    );
    const isJson = values.long || values.output === 'json';
    const columns = [...COLUMNS, ...(values.verbose ? [UUID] : []), COMMAND];
    await context.print(isJson ? `${JSON.stringify(guests)}\n` : formatTable(columns, guests));
    return 0;
  },
});
