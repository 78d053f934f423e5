/** `domus pause`, `unpause`, `shutdown`, `reboot`, `rename`, `sysrq`: what xl asks of running guests. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestAction } from '../../toolstack/daemon/guest-change.ts';
import { watchInterrupts } from '../interrupt.ts';
import { flag } from '../options.ts';
import { outputOption } from '../output.ts';
import { type CommandContext, type Verb, verb } from '../verb.ts';
import { askingVerb } from './asking-verb.ts';
import { isAlive } from './guest-operand.ts';

function actionVerb(name: 'pause' | 'unpause', summary: string, note: string): Verb {
  return askingVerb({
    name,
    summary,
    operands: ['NAME'],
    notes: [note],
    ask: guest => daemon => daemon.act(guest, { action: name }),
  });
}

export const pause = actionVerb(
  'pause',
  'Hold a guest where it is',
  'It keeps its memory, and uses no processor. What comes for it waits.',
);
export const unpause = actionVerb(
  'unpause',
  'Let a paused guest go on',
  'Or start one that was created with -p.',
);

/** All that run, or those that are named. */
async function chosen(
  context: CommandContext,
  verb: string,
  all: boolean,
  operands: readonly string[],
): Promise<readonly string[]> {
  if (all === operands.length > 0) {
    throw new DomusError('E_USAGE', `${verb} needs names of guests, or -a`, '"domus list" shows the guests');
  }
  if (!all) return operands;
  const guests = (await (await Daemon.connectIfAny(context.daemon))?.list()) ?? [];
  return guests.filter(isAlive).map(({ id }) => String(id));
}

function endVerb(name: 'shutdown' | 'reboot', request: 'poweroff' | 'reboot', summary: string): Verb {
  return verb({
    name,
    summary,
    operands: 'NAME... | --all',
    options: {
      all: flag({ name: 'all', short: 'a', summary: 'all guests that run' }),
      wait: flag({ name: 'wait', short: 'w', summary: 'wait until they have done so' }),
      output: outputOption,
    },
    notes: ['The guest’s kernel is asked and does it when it likes. "domus destroy" does not ask.'],
    async run(context, values, operands) {
      const names = await chosen(context, name, values.all, operands);
      using interrupts = watchInterrupts();
      const { signal } = interrupts;
      if (names.length === 0) return 0;
      const daemon = await Daemon.connect(context.daemon);
      // Listened for before it is asked for: nothing can be missed.
      const reboots = values.wait && name === 'reboot' ? await rebootsOf(daemon, names, signal) : undefined;
      for (const guest of names) await daemon.act(guest, { action: request } satisfies GuestAction);
      await reboots?.();
      if (values.wait && !reboots) await Promise.all(names.map(guest => daemon.wait(guest, signal)));
      if (values.output === 'json') {
        const views = await Promise.all(names.map(guest => daemon.guest(guest)));
        await context.print(`${JSON.stringify(views)}\n`);
      }
      return 0;
    },
  });
}

/** Returns what waits until each of the guests has been started anew, or is no more. */
async function rebootsOf(
  daemon: Daemon,
  names: readonly string[],
  signal: AbortSignal,
): Promise<() => Promise<void>> {
  const guests = await Promise.all(names.map(name => daemon.guest(name)));
  const waiting = new Set(guests.map(({ id }) => id));
  let last = 0;
  for await (const { number } of daemon.events()) last = number;
  return async () => {
    for await (const { number, event, id } of daemon.events({ follow: true, signal })) {
      if (number > last && ['rebooted', 'exited', 'crashed'].includes(event)) waiting.delete(id);
      if (waiting.size === 0) return;
    }
  };
}

export const shutdown = endVerb('shutdown', 'poweroff', 'Ask guests to power themselves off');
export const reboot = endVerb('reboot', 'reboot', 'Ask guests to reboot');

export const rename = askingVerb({
  name: 'rename',
  summary: 'Give a guest another name',
  operands: ['NAME', 'NEW-NAME'],
  notes: ['The guest sees it in xenstore.'],
  ask: (guest, name) => daemon => daemon.change(guest, { name }),
});

export const sysrq = askingVerb({
  name: 'sysrq',
  summary: 'Press a key of the magic SysRq of a guest’s Linux',
  operands: ['NAME', 'LETTER'],
  notes: ['h shows the keys on the guest’s console: "domus logs -c NAME".'],
  ask: (guest, key) => daemon => daemon.act(guest, { action: 'sysrq', key }),
});
