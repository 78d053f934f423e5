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
/**
 * A loop whose sleeps are longer than this on average may be woken up to two milliseconds late: a hundred idle guests would else turn the
 * event loop all the time. One that sleeps often and shortly is woken in time.
 */
const LAZY_SLEEP_NS = 10_000_000;
const SLEEPS_AVERAGED = 8;
/** The longest delay that setTimeout takes. */
const TIMER_MAX_MS = 0x7fff_ffff;

export function createNodePacer(clock: Clock): Pacer {
  let hasPendingWake = false;
  let endIdle: (() => void) | undefined;
  let meanSleepNs = 0;

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
      const startNs = clock.monotonicNs();
      while (!hasPendingWake) {
        const leftNs = deadlineNs - clock.monotonicNs();
        if (leftNs <= 0) break;
        if (meanSleepNs > LAZY_SLEEP_NS) await sleep(Math.ceil(leftNs / 1e6));
        else if (leftNs > TIMER_GRAIN_NS) await sleep((leftNs - TIMER_GRAIN_NS / 3) / 1e6);
        else await breathe();
      }
      hasPendingWake = false;
      meanSleepNs += (clock.monotonicNs() - startNs - meanSleepNs) / SLEEPS_AVERAGED;
    },
    wake() {
      hasPendingWake = true;
      endIdle?.();
    },
    retired() {},
  };
}

/** Since Node 23.9. */
export const threadTimeNs: (() => number) | undefined = process.threadCpuUsage
  ? () => {
      const { user, system } = process.threadCpuUsage();
      return (user + system) * 1000;
    }
  : undefined;

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
