/** What has happened to machines, newest first. */
import type { GuestEvent } from '../../toolstack/daemon/event-log.ts';
import { moment } from './format.ts';
import { machinePath } from './route.ts';
import { useStore } from './store.ts';

interface Props {
  /** Of this machine alone. */
  readonly id?: number;
  readonly shown: number;
}

export function Events({ id, shown }: Props) {
  const { events, guests } = useStore();
  const chosen = events.filter(event => id === undefined || event.id === id).slice(0, shown);
  const isThere = (event: GuestEvent) => guests.some(({ name }) => name === event.name);
  return (
    <section class="card" aria-labelledby="events">
      <h2 id="events">Events</h2>
      {chosen.length === 0 && <p class="quiet">Nothing has happened yet.</p>}
      {/* A scrolling part must be reachable by keyboard. */}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
      <ol class="events" aria-labelledby="events" tabIndex={0}>
        {chosen.map(event => (
          <li key={`${event.number} ${event.at}`}>
            <time dateTime={event.at}>{moment(event.at)}</time>
            <span class={`event event-${event.event}`}>{event.event}</span>
            <span>
              {id === undefined &&
                (isThere(event) ? (
                  <a href={machinePath(event.name)}>{event.name}</a>
                ) : (
                  <b>{event.name}</b>
                ))}{' '}
              {event.detail}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}
