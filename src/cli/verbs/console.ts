/** `domus console`: the console of a running guest, as xl has it. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import { attachStreams } from '../attach.ts';
import { watchInterrupts } from '../interrupt.ts';
import { verb } from '../verb.ts';

export const console = verb({
  name: 'console',
  summary: "Attach to a guest's console; Ctrl-] leaves it",
  operands: 'NAME',
  options: {},
  notes: ['What was written before is in "domus logs --console NAME".'],
  async run(context, _values, operands) {
    const [name, ...rest] = operands;
    if (name === undefined || rest.length > 0) {
      throw new DomusError('E_USAGE', 'console needs the name of one guest', '"domus list" shows the guests');
    }
    using interrupts = watchInterrupts();
    const daemon = await Daemon.connect(context.daemon);
    return attachStreams(context, await daemon.console(name), interrupts, {
      passesInput: true,
      isRaw: context.terminal.isInputTerminal,
    });
  },
});
