/**
 * Signals that ask Domus to end, as one stream of requests.
 *
 * A terminal sends Ctrl-C to every process of the foreground group, and bin/domus.js passes signals on to the
 * bundled runtime: one press can arrive twice. Two within a moment are therefore one request.
 */
import { constants } from 'node:os';
import { nowMs } from './clock.ts';

export interface EndRequest {
  readonly signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP';
  /** 128 + the signal's number: the exit code that a shell expects. */
  readonly exitCode: number;
  /** 1 for the first request, 2 for the second (which forces), and so on. */
  readonly count: number;
}

const SAME_PRESS_MS = 150;

/** Report requests to end until the returned function is called; the process no longer dies of them by itself. */
export function onEndRequest(listener: (request: EndRequest) => void): () => void {
  let count = 0;
  let lastMs = Number.NEGATIVE_INFINITY;
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const handlers = names.map(signal => {
    const handler = () => {
      const pressMs = nowMs();
      const isSamePress = pressMs - lastMs < SAME_PRESS_MS;
      lastMs = pressMs;
      if (isSamePress) return;
      count += 1;
      listener({ signal, exitCode: 128 + constants.signals[signal], count });
    };
    process.on(signal, handler);
    return () => process.removeListener(signal, handler);
  });
  return () => {
    for (const remove of handlers) remove();
  };
}
