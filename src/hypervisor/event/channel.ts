/**
 * Event channel operations, for guests (hypercall/event-channel-op.ts) and for the TypeScript backends (backend.ts).
 * All return a port or 0, or a negative errno.
 */
import * as errno from '../../abi/xen/errno.ts';
import { EVTCHN_FIFO_PRIORITY_MIN } from '../../abi/xen/event-channel.ts';
import { NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU } from '../../abi/xen/xen.ts';
import type { Domain, Vcpu } from '../hypervisor.ts';
import { Channel } from '../state.ts';
import { leaveFifo } from './fifo.ts';
import { clearPending, setPending, unmask } from './port.ts';
import { channelAt, channelOf, takeFreePort } from './table.ts';

/** VIRQs that each vCPU has for itself; all others are bound once per domain, on vCPU 0. */
const isPerVcpu = (virq: number): boolean =>
  virq === VIRQ_TIMER || virq === VIRQ_DEBUG || virq === VIRQ_XENOPROF || virq === VIRQ_XENPMU;

/** A port of `domain` that `remote` may bind to. */
export function allocUnbound(domain: Domain, remote: number): number {
  const port = takeFreePort(domain);
  if (port < 0) return port;
  const channel = channelAt(domain, port);
  channel.state = Channel.unbound;
  channel.remoteDomain = remote;
  channel.remotePort = 0;
  return port;
}

/** Connect a new port of `domain` to an unbound port of `remote` that was allocated for it. */
export function bindInterdomain(domain: Domain, remote: Domain, remotePort: number): number {
  const other = channelOf(remote, remotePort);
  if (other === undefined) return -errno.XEN_EINVAL;
  if (other.state !== Channel.unbound || other.remoteDomain !== domain.id) return -errno.XEN_EINVAL;
  const port = takeFreePort(domain);
  if (port < 0) return port;
  const channel = channelAt(domain, port);
  channel.state = Channel.interdomain;
  channel.remoteDomain = remote.id;
  channel.remotePort = remotePort;
  other.state = Channel.interdomain;
  other.remoteDomain = domain.id;
  other.remotePort = port;
  // Notifications sent before the binding went nowhere: let the new end look once.
  setPending(domain, port, channel);
  return port;
}

export function bindVirq(domain: Domain, virq: number, vcpuId: number): number {
  if (virq >= NR_VIRQS) return -errno.XEN_EINVAL;
  if (!isPerVcpu(virq) && vcpuId !== 0) return -errno.XEN_EINVAL;
  const vcpu = domain.vcpus[vcpuId];
  if (vcpu === undefined) return -errno.XEN_ENOENT;
  if (vcpu.state.virqPort.get(virq) !== 0) return -errno.XEN_EEXIST;
  const port = takeFreePort(domain);
  if (port < 0) return port;
  const channel = channelAt(domain, port);
  channel.state = Channel.virq;
  channel.notifyVcpu = vcpuId;
  channel.remotePort = virq;
  vcpu.state.virqPort.set(virq, port);
  return port;
}

export function bindIpi(domain: Domain, vcpuId: number): number {
  if (domain.vcpus[vcpuId] === undefined) return -errno.XEN_ENOENT;
  const port = takeFreePort(domain);
  if (port < 0) return port;
  const channel = channelAt(domain, port);
  channel.state = Channel.ipi;
  channel.notifyVcpu = vcpuId;
  return port;
}

export function closePort(domain: Domain, port: number): number {
  const channel = channelOf(domain, port);
  if (channel === undefined) return -errno.XEN_EINVAL;
  switch (channel.state) {
    case Channel.free:
    case Channel.reserved:
      return -errno.XEN_EINVAL;
    case Channel.virq: {
      const vcpu = domain.vcpus[channel.notifyVcpu];
      const bound = vcpu?.state.virqPort.get(channel.remotePort) === port ? vcpu : domain.vcpus[0];
      if (bound?.state.virqPort.get(channel.remotePort) === port) {
        bound.state.virqPort.set(channel.remotePort, 0);
      }
      break;
    }
    case Channel.interdomain: {
      const remote = domain.hypervisor.domains.get(channel.remoteDomain);
      const other = remote && channelOf(remote, channel.remotePort);
      if (other?.state === Channel.interdomain) {
        other.state = Channel.unbound;
        other.remoteDomain = domain.id;
        other.remotePort = 0;
      }
      break;
    }
  }
  clearPending(domain, port);
  channel.state = Channel.free;
  channel.notifyVcpu = 0;
  channel.remoteDomain = 0;
  channel.remotePort = 0;
  return 0;
}

/** Notify the other end of a port. */
export function send(domain: Domain, port: number): number {
  const channel = channelOf(domain, port);
  if (channel === undefined) return -errno.XEN_EINVAL;
  switch (channel.state) {
    case Channel.interdomain: {
      const remote = domain.hypervisor.domains.get(channel.remoteDomain);
      const other = remote && channelOf(remote, channel.remotePort);
      if (remote !== undefined && other !== undefined) setPending(remote, channel.remotePort, other);
      return 0;
    }
    case Channel.ipi:
      setPending(domain, port, channel);
      return 0;
    case Channel.unbound:
      return 0;
    default:
      return -errno.XEN_EINVAL;
  }
}

export function bindVcpu(domain: Domain, port: number, vcpuId: number): number {
  if (domain.vcpus[vcpuId] === undefined) return -errno.XEN_ENOENT;
  const channel = channelOf(domain, port);
  if (channel === undefined) return -errno.XEN_EINVAL;
  switch (channel.state) {
    case Channel.virq:
      if (isPerVcpu(channel.remotePort)) return -errno.XEN_EINVAL;
      break;
    case Channel.unbound:
    case Channel.interdomain:
      break;
    default:
      return -errno.XEN_EINVAL;
  }
  channel.notifyVcpu = vcpuId;
  return 0;
}

export function unmaskPort(domain: Domain, port: number): number {
  const channel = channelOf(domain, port);
  if (channel === undefined) return -errno.XEN_EINVAL;
  unmask(domain, port, channel);
  return 0;
}

export function setPriority(domain: Domain, port: number, priority: number): number {
  const channel = channelOf(domain, port);
  if (channel === undefined) return -errno.XEN_EINVAL;
  if (!domain.state.usesFifo) return -errno.XEN_ENOSYS;
  if (priority > EVTCHN_FIFO_PRIORITY_MIN) return -errno.XEN_EINVAL;
  // An event that is already queued stays where it is.
  channel.priority = priority;
  return 0;
}

/** Close all ports and go back to the 2-level layout. */
export function resetChannels(domain: Domain): number {
  for (let port = 1; port < domain.state.nrPorts; port++) {
    if (channelAt(domain, port).state !== Channel.free) closePort(domain, port);
  }
  if (domain.state.usesFifo) leaveFifo(domain);
  return 0;
}

/** Raise a VIRQ on a vCPU, if the guest has bound it. */
export function sendVirq(vcpu: Vcpu, virq: number): void {
  const port = vcpu.state.virqPort.get(virq);
  const channel = channelOf(vcpu.domain, port);
  if (channel?.state === Channel.virq) setPending(vcpu.domain, port, channel);
}
