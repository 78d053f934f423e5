/** `domus list`: the guests of the host process, those that run and those that have ended and are not forgotten. */
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestRecord } from '../../toolstack/daemon/guest-record.ts';
import { outputOption } from '../output.ts';
import { verb } from '../verb.ts';

const COMMAND_CHARACTERS_MAX = 40;

function stateOf({ state, exitCode }: GuestRecord): string {
  return state === 'exited' && exitCode !== undefined ? `exited (${exitCode})` : state;
}

function commandOf({ command }: GuestRecord): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is being removed
  const text = (command ?? ['(its own)']).join(' ').replace(/[\x00-\x1f\x7f-\x9f]+/g, ' ');
  return text.length > COMMAND_CHARACTERS_MAX ? `${text.slice(0, COMMAND_CHARACTERS_MAX - 1)}…` : text;
}

/** Columns as xl has them, then the command. */
function table(guests: readonly GuestRecord[]): string {
  const row = (name: string, id: string, mem: string, vcpus: string, state: string, command: string) =>
    `${name.padEnd(24)} ${id.padStart(4)} ${mem.padStart(6)} ${vcpus.padStart(5)}  ${state.padEnd(13)} ${command}`.trimEnd();
  const rows = guests.map(guest =>
    row(
      guest.name,
      String(guest.id),
      String(Math.round(guest.memoryBytes / 2 ** 20)),
      String(guest.vcpus),
      stateOf(guest),
      commandOf(guest),
    ),
  );
  return `${[row('Name', 'ID', 'Mem', 'VCPUs', 'State', 'Command'), ...rows].join('\n')}\n`;
}

export const list = verb({
  name: 'list',
  summary: 'List the guests that were started with run -d',
  operands: '[NAME...]',
  options: {
    output: outputOption,
  },
  notes: [
    'State is running, exited with the exit code of the command, crashed, or lost (its host process was ended).\n' +
      'Mem is in MiB.',
  ],
  async run(context, values, operands) {
    const daemon = await Daemon.connectIfAny(context.daemon);
    const all = (await daemon?.list()) ?? [];
    if (operands.length > 0 && !daemon) await (await Daemon.connect(context.daemon)).guest(operands[0]!);
    const guests =
      operands.length === 0 || !daemon ? all : await Promise.all(operands.map(name => daemon.guest(name)));
    await context.print(values.output === 'json' ? `${JSON.stringify(guests)}\n` : table(guests));
    return 0;
  },
});
