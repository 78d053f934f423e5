/** What has happened to the guests of a host process: the last of it, and whoever listens for more. */

/**
 * created: it exists and boots; started: its command has begun, or its kernel runs; the rest as their names say. `changed` is what
 * somebody asked of a running guest, `ballooned` what was asked of it because of its need, or another one's.
 */
export type EventKind =
  | 'created'
  | 'started'
  | 'paused'
  | 'unpaused'
  | 'requested'
  | 'changed'
  | 'ballooned'
  | 'rebooted'
  | 'saved'
  | 'exited'
  | 'crashed'
  | 'destroyed';

export interface GuestEvent {
  /** Counts up. */
  readonly number: number;
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly event: EventKind;
  readonly id: number;
  readonly name: string;
  /** What was asked for, or why it ended. */
  readonly detail?: string;
}

const KEPT_MAX = 1000;

export class EventLog {
  readonly #now: () => string;
  #kept: GuestEvent[] = [];
  #number = 0;
  readonly #listeners = new Set<(event: GuestEvent) => void>();

  constructor(now: () => string) {
    this.#now = now;
  }

  add(event: EventKind, { id, name }: { readonly id: number; readonly name: string }, detail?: string): void {
    this.#number += 1;
    const entry = {
      number: this.#number,
      at: this.#now(),
      event,
      id,
      name,
      ...(detail !== undefined && { detail }),
    };
    this.#kept.push(entry);
    if (this.#kept.length > KEPT_MAX) this.#kept.shift();
    for (const listener of this.#listeners) listener(entry);
  }

  get past(): readonly GuestEvent[] {
    return [...this.#kept];
  }
  clear(): void {
    this.#kept = [];
  }
  /** Returns what ends it. */
  follow(listener: (event: GuestEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
