/** Collecting garbage when the program knows that there is much, and V8 does not: memory that is shared counts for no thread. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What collects all garbage of this thread. */
export function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // Code that V8 keeps is good for the flags that it was made with.
  setFlagsFromString('--no-expose-gc');
  return () => collect();
}
