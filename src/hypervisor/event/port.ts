/**
 * What the two event layouts have in common: set, clear, mask and look at a port, by whichever layout the domain uses.
 */
import type { Domain, Vcpu } from '../hypervisor.ts';
import { wakePollers } from '../wake.ts';
import * as fifo from './fifo.ts';
import { type ChannelRecord, channelAt } from './table.ts';
import * as twoLevel from './two-level.ts';

/** Make a port pending and tell the vCPU that it notifies. */
export function setPending(domain: Domain, port: number, channel: ChannelRecord): void {
  if (domain.state.isControl) {
    if (channel.pending === 0) {
      channel.pending = 1;
      const { parallel, pendingCallbacks } = domain.hypervisor;
      if (parallel && parallel.pcpu !== 0) parallel.callControl();
      else pendingCallbacks.push(port);
    }
    return;
  }
  const vcpu = domain.vcpus[channel.notifyVcpu];
  if (vcpu === undefined) return;
  if (domain.state.usesFifo) fifo.setPending(domain, vcpu, port, channel);
  else twoLevel.setPending(domain, vcpu, port);
  wakePollers(domain, port);
}

export function clearPending(domain: Domain, port: number): void {
  channelAt(domain, port).pending = 0;
  if (domain.state.isControl) return;
  if (domain.state.usesFifo) fifo.clearPending(domain, port);
  else twoLevel.clearPending(domain, port);
}

export function unmask(domain: Domain, port: number, channel: ChannelRecord): void {
  const vcpu: Vcpu | undefined = domain.vcpus[channel.notifyVcpu];
  if (vcpu === undefined) return;
  if (domain.state.usesFifo) fifo.unmask(domain, vcpu, port, channel);
  else twoLevel.unmask(domain, vcpu, port);
}

export function isPending(domain: Domain, port: number): boolean {
  if (domain.state.isControl) return channelAt(domain, port).pending !== 0;
  return domain.state.usesFifo ? fifo.isPending(domain, port) : twoLevel.isPending(domain, port);
}

/** Still on a queue from an earlier life, so not to be handed out again. */
export const isBusy = (domain: Domain, port: number): boolean =>
  domain.state.usesFifo !== 0 && fifo.isLinked(domain, port);

/** A port begins a new life: no old event may be left on it. */
export function initialisePort(domain: Domain, port: number): void {
  if (domain.state.usesFifo) fifo.clearPending(domain, port);
}
