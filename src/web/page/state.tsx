/** The state of a machine in one word, with a colour that is never alone in saying it. */
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';

export const isAlive = ({ state }: GuestView): boolean => state === 'running' || state === 'starting';
export const isPaused = ({ domain }: GuestView): boolean => domain?.state.includes('p') ?? false;

export function stateWord(guest: GuestView): string {
  if (guest.state === 'running' && isPaused(guest)) return 'paused';
  if (guest.state === 'exited' && guest.exitCode !== undefined) return `exited (${guest.exitCode})`;
  return guest.state;
}

export function State({ guest }: { readonly guest: GuestView }) {
  const kind = guest.state === 'running' && isPaused(guest) ? 'paused' : guest.state;
  return <span class={`state state-${kind}`}>{stateWord(guest)}</span>;
}
