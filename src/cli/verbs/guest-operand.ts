/** Verbs that are about one guest, or several. */
import { DomusError } from '../../base/errors.ts';
import { Daemon } from '../../toolstack/daemon/client.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import type { CommandContext } from '../verb.ts';

/** As many operands as there are names for them. @throws DomusError E_USAGE */
export function operandsOf<const Names extends readonly string[]>(
  verb: string,
  operands: readonly string[],
  ...names: Names
): { [Key in keyof Names]: string } {
  if (operands.length === names.length) return operands as never;
  const missing = names[operands.length];
  throw new DomusError(
    'E_USAGE',
    missing === undefined ? `${verb} takes no "${operands[names.length]}"` : `${verb} needs ${missing}`,
    `write domus ${verb} ${names.join(' ')}`,
  );
}

/** Those that are named, else all. Starts no host process only to hear that there are none. */
export async function namedGuests(
  context: CommandContext,
  names: readonly string[],
): Promise<readonly GuestView[]> {
  if (names.length === 0) return (await (await Daemon.connectIfAny(context.daemon))?.list()) ?? [];
  const daemon = await Daemon.connect(context.daemon);
  return Promise.all(names.map(name => daemon.guest(name)));
}

export const isAlive = ({ state }: GuestView): boolean => state === 'running' || state === 'starting';

/** What is a guest's own, with its id and name. */
export type OfGuest<T> = T & { readonly id: number; readonly name: string };

/** What guests that run have of something: of those that are named, else of all. Starts no host process for nothing. */
export async function ofRunningGuests<T extends object>(
  context: CommandContext,
  names: readonly string[],
  of: (daemon: Daemon, guest: string) => Promise<readonly T[]>,
): Promise<readonly OfGuest<T>[]> {
  const guests = (await namedGuests(context, names)).filter(isAlive);
  if (guests.length === 0) return [];
  const daemon = await Daemon.connect(context.daemon);
  const found: OfGuest<T>[] = [];
  for (const { id, name } of guests)
    for (const each of await of(daemon, name)) found.push({ id, name, ...each });
  return found;
}

/** A whole number. @throws DomusError E_USAGE */
export function numberOperand(what: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new DomusError('E_USAGE', `"${text}" is no ${what}`, 'write a whole number');
}
