/**
 * Work in steps: what the host can do at once is done in the same turn, and what takes longer goes on when it is done. Such work is
 * written once, as a generator that yields whatever it may have to wait for.
 */
import type { Awaitable } from '../../platform/block-files.ts';

export type Steps<T> = Generator<Awaitable<unknown>, T, unknown>;

/** Inside of steps: the value, now or when it is there. */
export function* wait<T>(value: Awaitable<T>): Steps<T> {
  return (value instanceof Promise ? yield value : value) as T;
}

/** Take all steps. A promise only if one of them has to be waited for; what the steps throw, this throws, or rejects with. */
export function take<T>(steps: Steps<T>): Awaitable<T> {
  const step = steps.next();
  return step.done ? step.value : takeLater(steps, step.value);
}

async function takeLater<T>(steps: Steps<T>, first: Awaitable<unknown>): Promise<T> {
  let waiting = first;
  for (;;) {
    const settled = await Promise.resolve(waiting).then(
      value => () => steps.next(value),
      error => () => steps.throw(error),
    );
    const step = settled();
    if (step.done) return step.value;
    waiting = step.value;
  }
}
