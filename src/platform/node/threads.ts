/** Threads of this process, in Node, and a clock that all of them share. */
import { parentPort, Worker, workerData } from 'node:worker_threads';
import type { Clock } from '../platform.ts';

export interface Thread {
  /** Stop it at once, wherever it is. */
  terminate(): Promise<void>;
}

export interface ThreadEvents {
  message(message: unknown): void;
  /** It threw something, or ended by itself with an error. */
  failed(error: unknown): void;
}

/** Start a module of ours in a thread of its own. `data` is copied, but for what can be shared. */
export function startThread(module: URL, data: unknown, events: ThreadEvents): Thread {
  const worker = new Worker(module, { workerData: data });
  worker.on('message', message => events.message(message));
  worker.on('error', error => events.failed(error));
  return {
    async terminate() {
      await worker.terminate();
    },
  };
}

/** In a thread: what it was started with. */
export const threadData = (): unknown => workerData;
/** In a thread: send to whoever started it. */
export const post = (message: unknown): void => parentPort?.postMessage(message);

/** What a clock reads is relative to its origin; this one's is the same moment for all threads. */
export interface ClockOrigin {
  readonly monotonicNs: bigint;
  readonly wallNs: bigint;
}

/** The origin of a clock of this thread, for `createClockAt` in another. */
export function originOf(clock: Clock): ClockOrigin {
  const now = BigInt(Math.floor(clock.monotonicNs()));
  return { monotonicNs: process.hrtime.bigint() - now, wallNs: clock.wallNs() - now };
}

export function createClockAt(origin: ClockOrigin): Clock {
  // Not performance.now(), which has an origin for each thread: time stamps of two vCPUs must agree.
  const monotonicNs = () => Number(process.hrtime.bigint() - origin.monotonicNs);
  return { monotonicNs, wallNs: () => origin.wallNs + BigInt(monotonicNs()) };
}
