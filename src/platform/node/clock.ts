/** Real time under Node: the clock, the pacer of a run loop and the timers of the user interface. */
import type { Clock, Pacer, Timers } from '../platform.ts';

export function createNodeClock(): Clock {
  const originMs = performance.now();
  // One reading of the wall clock, carried on by the monotonic one: the guest never sees time step back.
  const wallOriginNs = BigInt(Math.round((performance.timeOrigin + originMs) * 1000)) * 1000n;
  const monotonicNs = () => Math.round((performance.now() - originMs) * 1e6);
  return { monotonicNs, wallNs: () => wallOriginNs + BigInt(monotonicNs()) };
}

/** Node's timers count in milliseconds: closer deadlines are reached by letting the event loop turn. */
const TIMER_GRAIN_NS = 1_500_000;
/** The longest delay that setTimeout takes. */
const TIMER_MAX_MS = 0x7fff_ffff;

export function createNodePacer(clock: Clock): Pacer {
  let hasPendingWake = false;
  let endIdle: (() => void) | undefined;

  const breathe = () => new Promise<void>(resolve => setImmediate(resolve));

  function sleep(delayMs: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(finish, Math.min(delayMs, TIMER_MAX_MS));
      function finish() {
        clearTimeout(timer);
        endIdle = undefined;
        resolve();
      }
      endIdle = finish;
    });
  }

  return {
    breathe,
    async idle(deadlineNs) {
      while (!hasPendingWake) {
        const leftNs = deadlineNs - clock.monotonicNs();
        if (leftNs <= 0) break;
        if (leftNs > TIMER_GRAIN_NS) await sleep((leftNs - TIMER_GRAIN_NS / 3) / 1e6);
        else await breathe();
      }
      hasPendingWake = false;
    },
    wake() {
      hasPendingWake = true;
      endIdle?.();
    },
    retired() {},
  };
}

export const nodeTimers: Timers = {
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(delayMs, TIMER_MAX_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
  every(periodMs, callback) {
    const timer = setInterval(callback, periodMs);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** Wait, and keep the process alive for it. */
export const sleep = (delayMs: number): Promise<void> =>
  new Promise(resolve => void setTimeout(resolve, delayMs));
