/** Threads that work for later: where processors are few they give way to those that somebody waits for. */
import { readdirSync, readFileSync } from 'node:fs';
import { setPriority } from 'node:os';

/** How much: a thread that is asked for has three times the weight. */
const NICE = 5;
/** V8's own threads, which compile and collect garbage, as Linux shows them: the name depends on Node's version. */
const V8_THREAD = /V8Worker$/;

/** This thread, and V8's own, from now on. Where the system cannot do that for threads, nothing happens. */
export function giveWay(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(0, NICE);
    for (const thread of readdirSync('/proc/self/task')) {
      const name = readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
      if (V8_THREAD.test(name)) setPriority(Number(thread), NICE);
    }
  } catch {
    // Without /proc, or in a sandbox that forbids it, all threads are alike.
  }
}
