/**
 * Real time under Node: the clock, the pacer of a run loop and the timers of the user interface.
 *
 * It is asked by `process.hrtime`. The first look at `performance` loads a part of Node that takes milliseconds, it has an origin for each
 * thread, and a look takes half as long again.
 */
import type { Clock, Pacer, Timers } from '../platform.ts';

/** The moment at which a clock shows 0, the same for all threads: when the host's clock showed so much. */
export interface ClockOrigin {
  readonly seconds: number;
  /** May be any number, so that the sum is right. */
  readonly ns: number;
  /** The time of day then, ns since 1970. */
  readonly wallNs: bigint;
}

/** A clock that goes on from its origin, exact for the hundred days for which a number counts nanoseconds. */
export function createClockAt({ seconds, ns, wallNs }: ClockOrigin): Clock {
  const monotonicNs = (): number => {
    const now = process.hrtime();
    return (now[0] - seconds) * 1e9 + (now[1] - ns);
  };
  return { monotonicNs, wallNs: () => wallNs + BigInt(monotonicNs()) };
}

/** The origin of a clock of this thread, for `createClockAt` in another: read in an order that makes the other one late, never early. */
export function originOf(clock: Clock): ClockOrigin {
  const wallNs = clock.wallNs();
  const elapsedNs = Math.floor(clock.monotonicNs());
  const [seconds, ns] = process.hrtime();
  return { seconds, ns: ns - elapsedNs, wallNs: wallNs - BigInt(elapsedNs) };
}

/** One reading of the wall clock, carried on by the monotonic one: the guest never sees time step back. */
export function createNodeClock(): Clock {
  const [seconds, ns] = process.hrtime();
  return createClockAt({ seconds, ns, wallNs: BigInt(Date.now()) * 1_000_000n });
}

/** For how long something took. */
export function nowMs(): number {
  const now = process.hrtime();
  return now[0] * 1e3 + now[1] / 1e6;
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
