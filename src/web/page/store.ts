/** What the page knows: it looks again every second while it is seen, and hears of events as they happen. */
import { createContext } from 'preact';
import { useContext, useLayoutEffect, useReducer } from 'preact/hooks';
import { DomusError } from '../../base/errors.ts';
import type { GuestEvent } from '../../toolstack/daemon/event-log.ts';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import type { HostInfo } from '../../toolstack/daemon/host-info.ts';
import type { Snapshot } from '../../toolstack/snapshots.ts';
import type { Api } from './api.ts';
import { History } from './history.ts';

const LOOK_MS = 1000;
/** After a failure. */
const AGAIN_MS = 3000;
const EVENTS_MAX = 500;

export interface Notice {
  readonly number: number;
  readonly text: string;
  readonly isFailure: boolean;
}

export class Store {
  readonly api: Api;
  readonly history = new History();
  guests: readonly GuestView[] = [];
  snapshots: readonly Snapshot[] = [];
  info: (HostInfo & { readonly version: string }) | undefined;
  /** Newest first. */
  events: readonly GuestEvent[] = [];
  /** Why nothing is known at the moment. */
  failure: DomusError | undefined;
  notices: readonly Notice[] = [];
  #nrNotices = 0;
  #hasNewSnapshot = false;
  readonly #listeners = new Set<() => void>();

  constructor(api: Api) {
    this.api = api;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  guest(name: string): GuestView | undefined {
    return this.guests.find(guest => guest.name === name);
  }

  /** Until the page is closed. */
  start(): void {
    void this.#watch();
    void this.#listen();
  }

  async #watch(): Promise<void> {
    for (;;) {
      if (!document.hidden) await this.look();
      await pause(this.failure ? AGAIN_MS : LOOK_MS);
    }
  }

  /** Look now. */
  async look(): Promise<void> {
    try {
      const [guests, info] = await Promise.all([this.api.guests(), this.api.info()]);
      this.guests = guests;
      this.info = info;
      this.history.look(guests, info, performance.now());
      this.failure = undefined;
      if (this.#hasNewSnapshot) {
        this.#hasNewSnapshot = false;
        this.snapshots = await this.api.snapshots();
      }
    } catch (error) {
      this.failure = asDomusError(error);
    }
    this.#changed();
  }

  async lookAtSnapshots(): Promise<void> {
    this.snapshots = await this.api.snapshots();
    this.#changed();
  }

  /** A page that nobody sees holds no connection: browsers open six to a server. */
  async #listen(): Promise<void> {
    for (;;) {
      const stop = new AbortController();
      const follow = () => {
        if (document.hidden) stop.abort();
      };
      document.addEventListener('visibilitychange', follow);
      try {
        if (!document.hidden) for await (const event of this.api.events(stop.signal)) this.#heard(event);
      } catch {
        // The next look says why.
      }
      document.removeEventListener('visibilitychange', follow);
      await (document.hidden ? untilSeen() : pause(AGAIN_MS));
    }
  }

  #heard(event: GuestEvent): void {
    const [newest] = this.events;
    // Those of an earlier connection come again.
    const isKnown =
      newest !== undefined &&
      (event.at < newest.at || (event.at === newest.at && event.number <= newest.number));
    if (isKnown) return;
    this.events = [event, ...this.events].slice(0, EVENTS_MAX);
    if (event.event === 'saved') this.#hasNewSnapshot = true;
    this.#changed();
  }

  /** Say something, to the eye and to a screen reader. */
  say(text: string, isFailure = false): void {
    this.#nrNotices += 1;
    const notice = { number: this.#nrNotices, text, isFailure };
    this.notices = [...this.notices, notice].slice(-3);
    if (!isFailure) setTimeout(() => this.dismiss(notice.number), 6000);
    this.#changed();
  }
  dismiss(number: number): void {
    this.notices = this.notices.filter(notice => notice.number !== number);
    this.#changed();
  }

  /** Do something and say how it went. */
  async attempt(task: () => Promise<string>): Promise<void> {
    try {
      const text = await task();
      await this.look();
      this.say(text);
    } catch (error) {
      this.say(errorText(error), true);
    }
  }
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));

const untilSeen = (): Promise<void> =>
  new Promise(resolve => document.addEventListener('visibilitychange', () => resolve(), { once: true }));

const asDomusError = (error: unknown): DomusError =>
  error instanceof DomusError ? error : new DomusError('E_WEB_PAGE', `the page failed: ${error}`);

/** What happened and what to do. */
export function errorText(error: unknown): string {
  const { message, remedy } = asDomusError(error);
  return remedy ? `${message}: ${remedy}` : message;
}

export const StoreContext = createContext<Store | undefined>(undefined);

/** The store; the component is drawn again when it changes. */
export function useStore(): Store {
  const store = useContext(StoreContext);
  const [, redraw] = useReducer((count: number, _: undefined) => count + 1, 0);
  if (!store) throw new Error('there is no store');
  useLayoutEffect(() => store.subscribe(() => redraw(undefined)), [store]);
  return store;
}
