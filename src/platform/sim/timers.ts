/**
 * Host timers in virtual time, for tests of what waits: `advance` moves the clock and calls what has become due, in
 * order, each at its own moment.
 */
import type { Timers } from '../platform.ts';
import type { SimulatedClock } from './clock.ts';

export interface SimulatedTimers extends Timers {
  advance(byMs: number): void;
  readonly nrPending: number;
}

interface Pending {
  atNs: number;
  readonly callback: () => void;
  readonly periodNs: number;
}

export function createSimulatedTimers(clock: SimulatedClock): SimulatedTimers {
  const pending = new Set<Pending>();
  const add = (delayMs: number, callback: () => void, periodNs: number) => {
    const timer = { atNs: clock.monotonicNs() + Math.max(0, delayMs) * 1e6, callback, periodNs };
    pending.add(timer);
    return () => void pending.delete(timer);
  };
  return {
    after: (delayMs, callback) => add(delayMs, callback, 0),
    every: (periodMs, callback) => add(periodMs, callback, periodMs * 1e6),
    get nrPending() {
      return pending.size;
    },
    advance(byMs) {
      const endNs = clock.monotonicNs() + byMs * 1e6;
      for (;;) {
        let next: Pending | undefined;
        for (const timer of pending) {
          if (timer.atNs <= endNs && (next === undefined || timer.atNs < next.atNs)) next = timer;
        }
        if (next === undefined) break;
        clock.advanceTo(next.atNs);
        if (next.periodNs > 0) next.atNs += next.periodNs;
        else pending.delete(next);
        next.callback();
      }
      clock.advanceTo(endNs);
    },
  };
}
