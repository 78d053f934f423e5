/** Threads that work for later: where processors are few they give way to those that somebody waits for. */
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/** The caller, and V8's threads: each of these has a twentieth of the weight, for there are several. */
const NICE = 2;
const NICE_OF_V8 = 15;
const NICE_MAX = 19;
/** V8's own threads, which compile and collect garbage, as Linux shows them: the name depends on Node's version. */
const V8_THREAD = /V8Worker$/;

/** This thread, and V8's own more than it, from now on. Where the system cannot do that for threads, nothing happens. */
export function giveWay(): void {
  if (process.platform !== 'linux') return;
  try {
    const usual = getPriority(0);
    setPriority(0, usual + NICE);
    for (const thread of readdirSync('/proc/self/task')) {
      const name = readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
      if (V8_THREAD.test(name)) setPriority(Number(thread), Math.min(usual + NICE_OF_V8, NICE_MAX));
    }
  } catch {
    // Without /proc, or in a sandbox that forbids it, all threads are alike.
  }
}
