/**
 * A lock between threads: one word of machine memory, 0 when free, 1 when held, 2 when held and waited for. A thread may
 * take it again while it holds it; how often it did is the handle's, so each thread has a handle of its own.
 */
import { invariant } from '../base/errors.ts';

/** Looks at the word before a thread goes to sleep: about two microseconds. */
const SPINS = 400;

export interface Lock {
  acquire(): void;
  /** The same where nobody has to be waited for; else nothing happens, and the answer is false. */
  tryAcquire(): boolean;
  release(): void;
  /** Does this thread hold it? */
  readonly isHeld: boolean;
  /** Hold it for the time of a call. */
  during<T>(task: () => T): T;
}

/** @param address of the word, a multiple of 4 */
export function createLock(words: Int32Array, address: number): Lock {
  const word = address >>> 2;
  let depth = 0;
  const take = (): boolean =>
    Atomics.load(words, word) === 0 && Atomics.compareExchange(words, word, 0, 1) === 0;
  const lock: Lock = {
    acquire() {
      depth += 1;
      if (depth > 1) return;
      for (let i = 0; i < SPINS; i++) if (take()) return;
      while (Atomics.exchange(words, word, 2) !== 0) Atomics.wait(words, word, 2);
    },
    tryAcquire() {
      if (depth === 0 && !take()) return false;
      depth += 1;
      return true;
    },
    release() {
      invariant(depth > 0, 'a lock that is not held is released');
      depth -= 1;
      if (depth === 0 && Atomics.exchange(words, word, 0) === 2) Atomics.notify(words, word, 1);
    },
    get isHeld() {
      return depth > 0;
    },
    during: task => hold(lock, task),
  };
  return lock;
}

/** Hold a lock for the time of a call: `Lock.during`. */
export function hold<T>(lock: Pick<Lock, 'acquire' | 'release'>, task: () => T): T {
  lock.acquire();
  try {
    return task();
  } finally {
    lock.release();
  }
}
