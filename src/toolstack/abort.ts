/** Waiting that can be called off: time-outs, Ctrl-C and a caller's own AbortSignal are all the same thing here. */
import { DomusError } from '../base/errors.ts';
import type { Timers } from '../platform/platform.ts';

/** What to throw for an aborted signal: its reason when that is an error, else E_INTERRUPTED. */
export function abortError(signal: AbortSignal): Error {
  if (signal.reason instanceof DomusError) return signal.reason;
  return new DomusError('E_INTERRUPTED', 'the run was interrupted', '', { cause: signal.reason });
}

/** `promise`, or the signal's error if that comes first. A late outcome of `promise` is ignored. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(abortError(signal));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

export interface Deadline {
  readonly signal: AbortSignal;
  [Symbol.dispose](): void;
}

/** One signal for the caller's own and a time limit (undefined: none). The time-out's error has code E_TIMEOUT. */
export function createDeadline(
  timers: Timers,
  timeoutMs: number | undefined,
  outer: AbortSignal | undefined,
): Deadline {
  const controller = new AbortController();
  const follow = () => controller.abort(outer?.reason);
  if (outer?.aborted) follow();
  outer?.addEventListener('abort', follow, { once: true });
  const cancel =
    timeoutMs === undefined
      ? () => {}
      : timers.after(timeoutMs, () =>
          controller.abort(
            new DomusError(
              'E_TIMEOUT',
              `timed out after ${timeoutMs / 1000} s`,
              'allow more time with --timeout, or see what the guest waits for with --console FILE',
            ),
          ),
        );
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      cancel();
      outer?.removeEventListener('abort', follow);
    },
  };
}
