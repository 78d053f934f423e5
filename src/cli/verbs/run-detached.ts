/** `domus run -d`: a guest in the host process, which stays when this command has ended. */
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestRequest } from '../../toolstack/daemon/guest-request.ts';
import { watchInterrupts } from '../interrupt.ts';
import type { OutputFormat } from '../output.ts';
import { createProgress } from '../progress.ts';
import type { CommandContext } from '../verb.ts';

export async function runDetached(
  context: CommandContext,
  request: GuestRequest,
  { quiet, output }: { readonly quiet: boolean; readonly output: OutputFormat | undefined },
): Promise<number> {
  using interrupts = watchInterrupts();
  const progress = createProgress(context, quiet);
  try {
    const daemon = await Daemon.connect(context.daemon);
    const guest = await daemon.create(request, phase => progress.show(phase), interrupts.signal);
    progress.clear();
    await context.print(output === 'json' ? `${JSON.stringify(guest)}\n` : `${guest.name}\n`);
    return 0;
  } finally {
    progress.clear();
  }
}
