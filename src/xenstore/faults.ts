/**
 * Fault injection: a hook that is asked before each transfer between a backend and a guest.
 *
 * `delay` leaves the transfer undone until the backend is called again (an event, or the deferred retry that the backend
 * schedules itself), `lose` drops it silently, `fail` makes it an error of the kind the protocol has.
 */
export type Fault = 'none' | 'delay' | 'lose' | 'fail';

export interface Faults<Transfer extends string = string> {
  /** `sizeBytes` are about to move for domain `domid`. */
  onTransfer(transfer: Transfer, domid: number, sizeBytes: number): Fault;
}

/** Runs a task soon, but never inside the caller. */
export type Defer = (task: () => void) => void;
