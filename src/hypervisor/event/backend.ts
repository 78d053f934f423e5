/**
 * Event channels for the TypeScript backends, which are ports of the control domain (domain 0).
 *
 * A callback runs from `deliverEvents`, never from inside the hypercall that sent the event: the scheduler calls it
 * between two slices, and whoever destroys a domain afterwards.
 */
import { invariant } from '../../base/errors.ts';
import type { Domain, Hypervisor } from '../hypervisor.ts';
import { Channel } from '../state.ts';
import { allocUnbound, bindInterdomain, closePort, send } from './channel.ts';
import { channelOf } from './table.ts';

/** Touch the hypervisor's state: backends act whenever their own input comes, and vCPUs may run at the same time. */
export function locked<T>(hypervisor: Hypervisor, task: () => T): T {
  const { parallel } = hypervisor;
  return parallel ? parallel.lock.during(task) : task();
}

export function controlDomain(hypervisor: Hypervisor): Domain {
  const domain = hypervisor.domains.get(0);
  invariant(domain?.state.isControl, 'there is no control domain');
  return domain;
}

/** A port of `guest` that domain 0 may bind: what the toolstack puts into STORE_EVTCHN and CONSOLE_EVTCHN. */
export const allocUnboundFor = (guest: Domain): number =>
  locked(guest.hypervisor, () => allocUnbound(guest, 0));

/** Bind a new port of the control domain to a guest's unbound port. Negative errno if that is none. */
export function bindToGuest(guest: Domain, guestPort: number, callback?: () => void): number {
  return locked(guest.hypervisor, () => {
    const control = controlDomain(guest.hypervisor);
    const port = bindInterdomain(control, guest, guestPort);
    if (port > 0 && callback) onEvent(guest.hypervisor, port, callback);
    return port;
  });
}

/** Call `callback` whenever the port has been notified (once for any number of notifications in between). */
export function onEvent(hypervisor: Hypervisor, port: number, callback: () => void): void {
  hypervisor.callbacks.set(port, callback);
}

/** Notify the guest at the other end. Returns 0 or a negative errno. */
export const notify = (hypervisor: Hypervisor, port: number): number =>
  locked(hypervisor, () => send(controlDomain(hypervisor), port));

export function unbind(hypervisor: Hypervisor, port: number): void {
  hypervisor.callbacks.delete(port);
  locked(hypervisor, () => closePort(controlDomain(hypervisor), port));
}

/** Take back that a port was notified. False if it was not, or is free. */
function takePending(hypervisor: Hypervisor, port: number): boolean {
  return locked(hypervisor, () => {
    const channel = channelOf(controlDomain(hypervisor), port);
    if (channel === undefined || channel.pending === 0) return false;
    channel.pending = 0;
    return channel.state !== Channel.free;
  });
}

/**
 * Run the callbacks of all notified ports, without the lock: what a backend does may take long, and vCPUs do not wait for it.
 * Notifications that these cause are delivered too, up to a bound.
 */
export function deliverEvents(hypervisor: Hypervisor): void {
  const { pendingCallbacks, callbacks } = hypervisor;
  for (let budget = 1024; budget > 0; budget--) {
    const port = pendingCallbacks.shift();
    if (port === undefined) return;
    if (takePending(hypervisor, port)) callbacks.get(port)?.();
  }
}
