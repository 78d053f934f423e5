/** `domus wait`: until a guest no longer runs; prints the exit code of its command. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { watchInterrupts } from '../interrupt.ts';
import { verb } from '../verb.ts';

export const wait = verb({
  name: 'wait',
  summary: 'Wait for the end of guests and print the exit codes of their commands',
  operands: 'NAME...',
  options: {},
  notes: [
    'A guest that ended in another way, or had no command, gives a word for it: crashed, lost, exited.',
  ],
  async run(context, _values, operands) {
    if (operands.length === 0) throw new DomusError('E_USAGE', 'wait for what?', 'name a guest');
    using interrupts = watchInterrupts();
    const daemon = await Daemon.connect(context.daemon);
    for (const name of operands) {
      const { exitCode, state } = await daemon.wait(name, interrupts.signal);
      await context.print(`${exitCode ?? state}\n`);
    }
    return 0;
  },
});
