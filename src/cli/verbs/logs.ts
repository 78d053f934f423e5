/** `domus logs`: what a guest's command, or its console, has written; also after its end. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { type LogStream, recordBytes } from '../../toolstack/daemon/guest-log.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag, option, parseDurationMs, parseInteger } from '../options.ts';
import { verb } from '../verb.ts';

/** A moment (ISO 8601), or a duration before now. */
function parseSince(text: string): { readonly at: string } | { readonly agoMs: number } {
  if (/^\d{4}-\d\d-\d\d/.test(text) && !Number.isNaN(Date.parse(text))) {
    return { at: new Date(Date.parse(text)).toISOString() };
  }
  return { agoMs: parseDurationMs(text) };
}

export const logs = verb({
  name: 'logs',
  summary: "Show what a guest's command or its console has written",
  operands: 'NAME',
  options: {
    follow: flag({ name: 'follow', short: 'f', summary: 'go on until the guest has ended' }),
    tail: option({
      name: 'tail',
      short: 'n',
      placeholder: 'N',
      summary: 'the last N lines only',
      parse: parseInteger('number of lines'),
    }),
    since: option({
      name: 'since',
      placeholder: 'WHEN',
      summary: 'from this moment on: 10m, 2h, or 2026-11-28T12:00:00Z',
      parse: parseSince,
    }),
    timestamps: flag({ name: 'timestamps', short: 't', summary: 'the time before each line' }),
    console: flag({
      name: 'console',
      short: 'c',
      summary: "the guest's console instead: the kernel's messages",
    }),
    output: option({
      name: 'output',
      short: 'o',
      placeholder: 'FORMAT',
      summary: 'json: one JSON document a line, with time and stream',
      parse: text => {
        if (text === 'json') return text;
        throw new DomusError('E_USAGE', `there is no output format "${text}"`, 'use -o json, or none');
      },
    }),
  },
  notes: [
    "The command's standard output goes to standard output, its errors to standard error. Of a guest without a\n" +
      'command the console is shown. The last 4 to 8 MiB of a guest are kept until it is destroyed.',
  ],
  async run(context, values, operands) {
    const [name, ...rest] = operands;
    if (name === undefined || rest.length > 0) {
      throw new DomusError('E_USAGE', 'logs needs the name of one guest', '"domus list" shows the guests');
    }
    using interrupts = watchInterrupts();
    const daemon = await Daemon.connect(context.daemon);
    const { command } = await daemon.guest(name);
    const streams: LogStream[] = values.console || !command ? ['console'] : ['stdout', 'stderr'];
    const { since } = values;
    const agoNs = since && 'agoMs' in since ? BigInt(since.agoMs) * 1_000_000n : 0n;
    const at =
      since &&
      ('at' in since
        ? since.at
        : new Date(Number((context.clock.wallNs() - agoNs) / 1_000_000n)).toISOString());
    const options = {
      streams,
      signal: interrupts.signal,
      follow: values.follow,
      ...(values.tail !== undefined && { tail: values.tail }),
      ...(at !== undefined && { since: at }),
    };
    for await (const record of daemon.logs(name, options)) {
      if (values.output === 'json') {
        await context.print(`${JSON.stringify(record)}\n`);
        continue;
      }
      const sink = record.stream === 'stderr' ? context.stderr : context.stdout;
      if (values.timestamps) await sink.write(new TextEncoder().encode(`${record.at} `));
      await sink.write(recordBytes(record));
    }
    return 0;
  },
});
