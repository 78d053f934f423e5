/** `domus mem-auto`: memory that goes to the guests that need it. */
import { DomusError } from '../../base/errors.ts';
import type { BalanceReport } from '../../toolstack/daemon/balance-report.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { option } from '../options.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable, mebibytes } from '../table.ts';
import { verb } from '../verb.ts';
import { parseXlMemory } from './memory.ts';

type Row = BalanceReport['guests'][number];

const size = (name: string, of: (row: Row) => number | undefined): Column<Row> => ({
  name,
  width: 7,
  isRight: true,
  of: row => {
    const bytes = of(row);
    return bytes === undefined ? '-' : mebibytes(bytes);
  },
});

const COLUMNS: readonly Column<Row>[] = [
  { name: 'Name', width: 24, of: ({ name }) => name },
  { name: 'ID', width: 4, isRight: true, of: ({ id }) => String(id) },
  size('Min', ({ balance }) => balance?.minBytes),
  size('Usual', ({ balance }) => balance?.usualBytes),
  size('Max', ({ memoryMaxBytes }) => memoryMaxBytes),
  size('Needed', ({ balance }) => balance?.neededBytes),
  size('Target', ({ memoryTargetBytes }) => memoryTargetBytes),
  size('Mem', ({ memoryBytes }) => memoryBytes),
];

/** `auto`, or an amount. @throws DomusError E_SIZE */
const parseBudget = (text: string): number | null => (text === 'auto' ? null : parseXlMemory(text));

function textOf({ budgetBytes, boundBytes, isFixed, guests }: BalanceReport): string {
  const why = isFixed ? '' : ', what they usually have';
  return `${formatTable(COLUMNS, guests)}budget: ${mebibytes(budgetBytes)} MiB${why}; ${mebibytes(boundBytes)} MiB are with guests\n`;
}

export const memAuto = verb({
  name: 'mem-auto',
  summary: 'Move memory to the guests that need it, and show who has how much',
  operands: '[NAME [MIN|off]]',
  options: {
    budget: option({
      name: 'budget',
      placeholder: 'MEMORY',
      summary: 'what such guests have together; auto, the default: what they usually have',
      parse: parseBudget,
    }),
    output: outputOption,
  },
  notes: [
    'MIN lets the memory of a guest go by need: it has what mem-set says as long as others do not need it more, and never less\n' +
      'than MIN; when it needs more it can have up to mem-max. "off" gives it back what mem-set says, for good.\n' +
      'Amounts are in MiB, or have a letter: 512m, 1g. Needed is what a guest cannot do without; - where nobody can tell.',
    'Examples:\n' +
      '  domus run -d --name web -m 512M --min-memory 128M --max-memory 1G -- httpd -f\n' +
      '  domus mem-auto web 256m\n' +
      '  domus mem-auto --budget 2g',
  ],
  async run(context, values, operands) {
    const [name, amount, ...more] = operands;
    if (more.length > 0 || (values.budget !== undefined && operands.length > 0))
      throw new DomusError('E_USAGE', 'these words are too many', 'see "domus mem-auto --help"');
    const memoryMin = amount === undefined ? undefined : amount === 'off' ? null : parseXlMemory(amount);
    const isChange = memoryMin !== undefined || values.budget !== undefined;
    const daemon = isChange
      ? await Daemon.connect(context.daemon)
      : await Daemon.connectIfAny(context.daemon);
    if (!daemon)
      throw new DomusError('E_GUEST_NOT_FOUND', 'there are no guests', '"domus run -d" starts one');
    if (name !== undefined && memoryMin !== undefined) await daemon.change(name, { memoryMin });
    const report =
      values.budget === undefined ? await daemon.balance() : await daemon.setMemoryBudget(values.budget);
    const guests = report.guests.filter(
      guest => name === undefined || guest.name === name || String(guest.id) === name,
    );
    if (name !== undefined && guests.length === 0)
      throw new DomusError('E_GUEST_NOT_FOUND', `no guest "${name}" runs`, '"domus list" shows the guests');
    const shown = { ...report, guests };
    if (values.output === 'json') await context.print(`${JSON.stringify(shown)}\n`);
    else if (!isChange) await context.print(textOf(shown));
    return 0;
  },
});
