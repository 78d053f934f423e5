/** `domus top`: who uses the processor, again and again, as xentop shows it. */
import { DomusError } from '../../base/errors.ts';
import { sleep } from '../../platform/node/clock.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag, option, parseDurationMs, parseInteger } from '../options.ts';
import { outputOption } from '../output.ts';
import { type Column, formatTable } from '../table.ts';
import { verb } from '../verb.ts';

interface Row {
  readonly guest: GuestView & { readonly domain: NonNullable<GuestView['domain']> };
  /** Of one processor, since the look before. */
  readonly cpuPercent: number;
  readonly memoryPercent: number;
}

const kibibytes = (bytes: number) => String(Math.round(bytes / 1024));
const COLUMNS: readonly Column<Row>[] = [
  { name: '      NAME', width: 16, of: ({ guest }) => guest.name },
  { name: 'STATE', width: 6, of: ({ guest }) => guest.domain.state },
  {
    name: 'CPU(sec)',
    width: 10,
    isRight: true,
    of: ({ guest }) => (guest.domain.cpuTimeNs / 1e9).toFixed(0),
  },
  { name: 'CPU(%)', width: 6, isRight: true, of: ({ cpuPercent }) => cpuPercent.toFixed(1) },
  { name: 'MEM(k)', width: 10, isRight: true, of: ({ guest }) => kibibytes(guest.domain.memoryBytes) },
  { name: 'MEM(%)', width: 6, isRight: true, of: ({ memoryPercent }) => memoryPercent.toFixed(1) },
  { name: 'MAXMEM(k)', width: 10, isRight: true, of: ({ guest }) => kibibytes(guest.domain.memoryMaxBytes) },
  { name: 'VCPUS', width: 5, isRight: true, of: ({ guest }) => String(guest.domain.vcpus.length) },
];

const CLEAR = '\x1b[H\x1b[J';

export const top = verb({
  name: 'top',
  summary: 'Watch what guests use',
  operands: '',
  options: {
    delay: option({
      name: 'delay',
      short: 'd',
      placeholder: 'TIME',
      summary: 'between two looks; default 3s',
      parse: parseDurationMs,
    }),
    iterations: option({
      name: 'iterations',
      short: 'i',
      placeholder: 'N',
      summary: 'looks before it ends; default: until Ctrl-C',
      parse: parseInteger('number of looks'),
    }),
    batch: flag({ name: 'batch', short: 'b', summary: 'do not clear the screen' }),
    output: outputOption,
  },
  notes: [
    'Shares are of one processor, between two looks; at the first look since the start. JSON is one document a look.',
  ],
  async run(context, values) {
    const daemon = await Daemon.connectIfAny(context.daemon);
    if (!daemon)
      throw new DomusError('E_GUEST_NOT_FOUND', 'there are no guests', '"domus run -d" starts one');
    using interrupts = watchInterrupts();
    const clears = context.terminal.isOutputTerminal && !values.batch && values.output !== 'json';
    let before = new Map<number, number>();
    let beforeNs = 0;
    for (let look = 0; look < (values.iterations ?? Number.POSITIVE_INFINITY); look++) {
      if (look > 0) await Promise.race([sleep(values.delay ?? 3000), aborted(interrupts.signal)]);
      if (interrupts.signal.aborted) break;
      const [{ memoryBytes }, guests] = await Promise.all([daemon.info(), daemon.list()]);
      const nowNs = context.clock.monotonicNs();
      const wallMs = Number(context.clock.wallNs() / 1_000_000n);
      const rows = guests.flatMap((guest): Row[] => {
        if (!guest.domain) return [];
        const earlier = before.get(guest.id);
        const elapsedNs =
          earlier === undefined ? (wallMs - Date.parse(guest.createdAt)) * 1e6 : nowNs - beforeNs;
        const usedNs = guest.domain.cpuTimeNs - (earlier ?? 0);
        const cpuPercent = elapsedNs > 0 ? Math.max(0, (100 * usedNs) / elapsedNs) : 0;
        const memoryPercent = (100 * guest.domain.memoryBytes) / memoryBytes;
        return [{ guest: guest as Row['guest'], cpuPercent, memoryPercent }];
      });
      before = new Map(rows.map(({ guest }) => [guest.id, guest.domain.cpuTimeNs]));
      beforeNs = nowNs;
      const text =
        values.output === 'json'
          ? `${JSON.stringify(rows.map(({ guest: { id, name, domain }, ...shares }) => ({ id, name, ...shares, domain })))}\n`
          : formatTable(COLUMNS, rows);
      await context.print(`${clears ? CLEAR : ''}${text}`);
    }
    return 0;
  },
});

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }));
