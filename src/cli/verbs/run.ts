/** `domus run`: boot a throwaway guest, run one command in it, pass on its streams and its exit code. With -d it is one that stays. */
import { absolutePath } from '../../platform/node/cache-folder.ts';
import { usage } from '../usage.ts';
import { type CommandContext, verb } from '../verb.ts';
import { checkFrom, chooseImage } from './run/choices.ts';
import { detachedRequest } from './run/guest-request.ts';
import { runHere } from './run/here.ts';
import { options } from './run/options.ts';

export const run = verb({
  name: 'run',
  summary: 'Boot a throwaway guest and run a command in it',
  operands: '[IMAGE] [--] [COMMAND...]',
  endsAtOperand: true,
  options,
  notes: [
    'Standard input, output and error are those of COMMAND, and so is the exit code; failures of Domus itself\n' +
      'give 125. See "domus --help exit-codes".',
    'IMAGE is the first word when it has a colon and no "--" stands before it: debian:12, oci:FOLDER,\n' +
      'docker-archive:FILE, dir:FOLDER, HOST/NAME:TAG in a registry, or the name of an image in the store.\n' +
      'Without IMAGE the guest has a small userland in memory.',
    'Examples:\n' +
      '  domus run -- uname -a\n' +
      '  domus run debian:12 -- sh -c "apt-get update && apt-get install -y hello && hello"\n' +
      '  tar c . | domus run -m 1G -- sh -c "tar x && ls"\n' +
      '  domus run -it\n' +
      '  domus run -d --name web -p 8080:80 debian:12 -- busybox httpd -f -p 80\n' +
      '  domus run -it --boot --disk box.vhd\n' +
      '  domus run --kernel ./bzImage --initrd ./initrd.img --append quiet',
  ],
  async run(context, values, operands, isAfterDashes) {
    if (values.seed !== undefined && !values.deterministic) {
      throw usage('--seed has no effect alone', 'add --deterministic');
    }
    if (values.tty && values.interactive && !context.terminal.isInputTerminal) {
      throw usage('-t with -i needs a terminal as standard input', 'leave out -t');
    }
    const chosen = chooseImage(operands, isAfterDashes);
    checkFrom(values, chosen);
    const from = values.from === undefined ? undefined : await pathOf(values.from, context);
    if (!values.detach) return runHere(context, values, chosen, from);
    const request = { ...detachedRequest(values, chosen), ...(from !== undefined && { from }) };
    const { runDetached } = await import('./run-detached.ts');
    return runDetached(context, request, values);
  },
});

async function pathOf(snapshot: string, { daemon }: CommandContext): Promise<string> {
  const { findSnapshot } = await import('../../toolstack/snapshots.ts');
  return absolutePath(await findSnapshot(snapshot, daemon.stateFolder));
}
