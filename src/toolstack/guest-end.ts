/** How a guest has ended, and what that tells those who still wait for something of it: no wait outlasts the guest, and each learns why. */
import { DomusError } from '../base/errors.ts';
import { type CrashReport, GuestFailure, MachineFailure } from './crash-report.ts';
import type { Shutdown } from './machine.ts';

export type End =
  | { readonly kind: 'shutdown'; readonly shutdown: Shutdown }
  | { readonly kind: 'failure'; readonly error: unknown }
  | { readonly kind: 'destroyed' };

export const isCrash = (shutdown: Shutdown) => shutdown.reason === 'crash' || shutdown.reason === 'watchdog';

/** For a command whose guest goes on as another machine. */
export const rebooted = () =>
  new DomusError(
    'E_GUEST_STOPPED',
    'the guest rebooted before the command had ended',
    'run it again when the guest is up',
  );

export class GuestEnd {
  readonly #report: (reason: string) => CrashReport;
  readonly #ended = Promise.withResolvers<End>();
  #end: End | undefined;

  /** @param report tells what is known of the guest at that moment */
  constructor(report: (reason: string) => CrashReport) {
    this.#report = report;
  }

  get hasCome(): boolean {
    return this.#end !== undefined;
  }

  /** Settles with the end; rejects never. */
  get ended(): Promise<End> {
    return this.#ended.promise;
  }

  /** This is it. Called once. */
  come(end: End): void {
    this.#end = end;
    this.#ended.resolve(end);
  }

  /** `promise`, or the guest's failure when its end comes first. */
  orFailure<T>(promise: Promise<T>): Promise<T> {
    const stopped = this.ended.then((end): never => {
      throw this.failureOf(end);
    });
    return Promise.race([promise, stopped]);
  }

  /** What an end is reported with to who waited for something else. */
  failureOf(end: End): Error {
    if (end.kind === 'destroyed') {
      return new DomusError('E_DESTROYED', 'the guest has been destroyed', 'create another one');
    }
    if (end.kind === 'failure') {
      const { error } = end;
      const reason = error instanceof Error ? error.message : String(error);
      const failure = error instanceof MachineFailure ? error : undefined;
      return new GuestFailure(
        failure?.code ?? 'E_MACHINE_FAILED',
        `the machine could not go on: ${reason}`,
        error instanceof DomusError ? error.remedy : 'this is a defect of Domus: please report it',
        { ...this.#report(reason), ...(failure && { details: failure.details }) },
        error,
      );
    }
    const { reason, detail } = end.shutdown;
    const why = detail ? `${reason}: ${detail}` : reason;
    if (isCrash(end.shutdown)) {
      return new GuestFailure('E_GUEST_CRASHED', `the guest crashed (${why})`, '', this.#report(why));
    }
    return new GuestFailure(
      'E_GUEST_STOPPED',
      `the guest stopped (${why}) before the command had ended`,
      'see its console with --console FILE',
      this.#report(why),
    );
  }

  /**
   * What to throw for an error that ended a wait. A time-out alone helps nobody: say where the guest was and what it said last.
   * @param hasCommand whether the guest had come so far as to be given a command
   */
  explain(error: unknown, hasCommand: boolean): unknown {
    // The channel only knows that it is closed; why the guest stopped is known here.
    const isClosed = error instanceof DomusError && error.code === 'E_RUN_NO_EXIT';
    if (isClosed) return this.#end ? this.failureOf(this.#end) : rebooted();
    if (!(error instanceof DomusError) || error.code !== 'E_TIMEOUT' || error instanceof GuestFailure)
      return error;
    const during = hasCommand ? 'while the command was running' : 'while the guest was booting';
    const message = `${error.message} ${during}`;
    return new GuestFailure(error.code, message, error.remedy, this.#report(message), error);
  }
}
