/** `domus sharing`: what guests have in common, and what that saves. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { SharingReport } from '../../toolstack/daemon/sharing-report.ts';
import { option } from '../options.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable, mebibytes, seconds } from '../table.ts';
import { verb } from '../verb.ts';

type Row = SharingReport['guests'][number];

function columns(pageBytes: number): readonly Column<Row>[] {
  const size = (name: string, of: (pages: NonNullable<Row['pages']>) => number): Column<Row> => ({
    name,
    width: 9,
    isRight: true,
    of: ({ pages }) => (pages ? mebibytes(of(pages) * pageBytes) : '-'),
  });
  return [
    { name: 'Name', width: 24, of: ({ name }) => name },
    { name: 'ID', width: 4, isRight: true, of: ({ id }) => String(id) },
    size('Own', ({ own }) => own),
    size('Shared', ({ shared }) => shared),
    size('Zero', ({ zero }) => zero),
    size('Untouched', ({ untouched }) => untouched),
    size('Saved', ({ saved }) => saved),
  ];
}

/** @throws DomusError E_USAGE */
function parsePercent(text: string): number {
  if (/^\d{1,3}(\.\d+)?%?$/.test(text)) return Number.parseFloat(text);
  throw new DomusError('E_USAGE', `"${text}" is no share of a processor`, 'write percent: 2');
}

export const sharing = verb({
  name: 'sharing',
  summary: 'Show what sharing identical pages saves, guest by guest',
  operands: '[NAME...]',
  options: {
    cpu: option({
      name: 'cpu',
      placeholder: 'PERCENT',
      summary: 'from now on let the scan have so much of a processor; 0: share nothing more',
      parse: parsePercent,
    }),
    output: outputOption,
  },
  notes: [
    'In MiB: memory that is in the guest, that is shared, that held zeros, that nobody has ever looked at, and what sharing\n' +
      'saves. Pages that guests do not use are found within a minute or so; one that is used is its own again.',
  ],
  async run(context, values, operands) {
    const daemon =
      values.cpu === undefined
        ? await Daemon.connectIfAny(context.daemon)
        : await Daemon.connect(context.daemon);
    if (!daemon)
      throw new DomusError('E_GUEST_NOT_FOUND', 'there are no guests', '"domus run -d" starts one');
    const report =
      values.cpu === undefined ? await daemon.sharing() : await daemon.setSharing({ cpuPercent: values.cpu });
    const named = operands.map(name => {
      const found = report.guests.find(guest => guest.name === name || String(guest.id) === name);
      if (found) return found;
      throw new DomusError('E_GUEST_NOT_FOUND', `no guest "${name}" runs`, '"domus list" shows the guests');
    });
    const guests = operands.length > 0 ? named : report.guests;
    if (values.output === 'json') {
      await context.print(`${JSON.stringify({ ...report, guests })}\n`);
      return 0;
    }
    const { cpuPercent, processorTimeNs, storeBytes, pageBytes } = report;
    const scan = cpuPercent === 0 ? 'off' : `${cpuPercent}% of a processor at most`;
    await context.print(
      `${formatTable(columns(pageBytes), guests)}scan: ${scan}, ${seconds(processorTimeNs)} s so far; store: ${mebibytes(storeBytes)} MiB\n`,
    );
    return 0;
  },
});
