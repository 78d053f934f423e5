/** `domus daemon`: the host process itself, which the other verbs start when they need it. */
import { defaultStateFolder } from '../../platform/node/state-folder.ts';
import { runDaemon } from '../../toolstack/daemon/server.ts';
import { watchInterrupts } from '../interrupt.ts';
import { option, parseDurationMs } from '../options.ts';
import { verb } from '../verb.ts';

const IDLE_MS = 10_000;

export const daemon = verb({
  name: 'daemon',
  summary: 'The host process of guests that stay; the other verbs start it when they need it',
  operands: '',
  options: {
    idle: option({
      name: 'idle',
      placeholder: 'TIME',
      summary: 'end after this time without guests and clients (default 10s)',
      parse: parseDurationMs,
    }),
  },
  notes: ['State is kept in DOMUS_STATE, else XDG_STATE_HOME/domus, else ~/.local/state/domus.'],
  async run(context, values) {
    using interrupts = watchInterrupts();
    await runDaemon({
      stateFolder: context.daemon.stateFolder ?? defaultStateFolder(),
      openHost: context.openHost,
      idleMs: values.idle ?? IDLE_MS,
      signal: interrupts.signal,
    });
    return 0;
  },
});
