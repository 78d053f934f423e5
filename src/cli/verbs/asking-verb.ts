/** Verbs that ask one guest for something and show how it is then. */
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import { outputOption } from '../output.ts';
import { type Verb, verb } from '../verb.ts';
import { operandsOf } from './guest-operand.ts';

interface Asking<Names extends readonly string[]> {
  readonly name: string;
  readonly summary: string;
  /** What the operands are called; the first one is the guest. */
  readonly operands: Names;
  readonly notes: readonly string[];
  /** Reads the operands; what it gives asks, for the guest's view. Mistakes are found before a host process is. */
  ask(...operands: { [Key in keyof Names]: string }): (daemon: Daemon) => Promise<GuestView>;
}

export function askingVerb<const Names extends readonly string[]>({
  name,
  summary,
  operands: names,
  notes,
  ask,
}: Asking<Names>): Verb {
  return verb({
    name,
    summary,
    operands: names.join(' '),
    options: { output: outputOption },
    notes,
    async run(context, values, operands) {
      const request = ask(...operandsOf(name, operands, ...names));
      const view = await request(await Daemon.connect(context.daemon));
      if (values.output === 'json') await context.print(`${JSON.stringify(view)}\n`);
      return 0;
    },
  });
}
