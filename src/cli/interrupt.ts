/**
 * Ctrl-C, SIGTERM and hang-up during a run. The first request aborts the run, which destroys the guest and restores
 * the terminal in an orderly way; the second one ends the process at once.
 */
import { DomusError } from '../base/errors.ts';
import { endProcess } from '../platform/node/end-process.ts';
import { onEndRequest } from '../platform/node/signals.ts';

/** The user or the system asked for the end; `exitCode` is what a shell expects then. */
export class Interruption extends DomusError {
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super('E_INTERRUPTED', message);
    this.exitCode = exitCode;
  }
}

export interface Interrupts extends Disposable {
  readonly signal: AbortSignal;
  /** The user left the terminal with Ctrl-]. */
  leave(): void;
}

export function watchInterrupts(): Interrupts {
  const controller = new AbortController();
  const stop = onEndRequest(request => {
    if (request.count > 1) endProcess(request.exitCode);
    controller.abort(new Interruption(`ended by ${request.signal}`, request.exitCode));
  });
  return {
    signal: controller.signal,
    leave: () => controller.abort(new Interruption('left the terminal', 0)),
    [Symbol.dispose]: stop,
  };
}
