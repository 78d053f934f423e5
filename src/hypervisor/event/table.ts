/**
 * A domain's table of event channels: records in hypervisor frames, taken as ports come into use. Port 0 is never used.
 */

import { XEN_ENOSPC } from '../../abi/xen/errno.ts';
import { EVTCHN_FIFO_PRIORITY_DEFAULT } from '../../abi/xen/event-channel.ts';
import { frameAddress } from '../../base/brand.ts';
import type { Accessor, Domain } from '../hypervisor.ts';
import { takeFrame } from '../runs.ts';
import { CHANNELS_PER_FRAME, Channel, EventChannel, EventTable } from '../state.ts';
import { initialisePort, isBusy } from './port.ts';

export type ChannelRecord = Accessor<typeof EventChannel>;

export const eventTable = (domain: Domain) =>
  EventTable.at(domain.hypervisor.memory.view, domain.state.events);

/** The record of a port; the port must be below `nrPorts`. */
export function channelAt(domain: Domain, port: number): ChannelRecord {
  const { memory } = domain.hypervisor;
  const frame = memory.u32[domain.state.events / 4 + Math.floor(port / CHANNELS_PER_FRAME)]!;
  return EventChannel.at(memory.view, frame + (port % CHANNELS_PER_FRAME) * EventChannel.size);
}

/** Ports whose records are not as new ones are, zeros: most have never been used. */
export function usedPorts(domain: Domain): number[] {
  const { u32 } = domain.hypervisor.memory;
  const { events, nrPorts } = domain.state;
  const words = EventChannel.size / 4;
  const ports: number[] = [];
  for (let first = 0; first < nrPorts; first += CHANNELS_PER_FRAME) {
    const frame = u32[events / 4 + first / CHANNELS_PER_FRAME]! >>> 2;
    for (let i = 0; i < CHANNELS_PER_FRAME * words; i++) {
      if (u32[frame + i] === 0) continue;
      const record = Math.floor(i / words);
      ports.push(first + record);
      i = (record + 1) * words - 1;
    }
  }
  return ports;
}

/** The record of a port that came from a guest: undefined when there is no such port. */
export function channelOf(domain: Domain, port: number): ChannelRecord | undefined {
  return port > 0 && port < domain.state.nrPorts ? channelAt(domain, port) : undefined;
}

/** Have records for at least `count` ports. False when that is more than the domain may have, or memory is used up. */
export function growEventTable(domain: Domain, count: number): boolean {
  const { state, hypervisor } = domain;
  if (count > Math.ceil((state.maxPort + 1) / CHANNELS_PER_FRAME) * CHANNELS_PER_FRAME) return false;
  while (state.nrPorts < count) {
    if (hypervisor.frames.nrFree === 0) return false;
    const index = state.nrPorts / CHANNELS_PER_FRAME;
    eventTable(domain).channels.set(index, frameAddress(takeFrame(hypervisor)));
    state.nrPorts = (index + 1) * CHANNELS_PER_FRAME;
  }
  return true;
}

/** A free port, or -ENOSPC. The caller sets its state. */
export function takeFreePort(domain: Domain): number {
  const { state } = domain;
  for (let port = 1; port <= state.maxPort; port++) {
    if (port >= state.nrPorts && !growEventTable(domain, port + 1)) return -XEN_ENOSPC;
    const channel = channelAt(domain, port);
    if (channel.state !== Channel.free || isBusy(domain, port)) continue;
    channel.notifyVcpu = 0;
    channel.pending = 0;
    channel.priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
    initialisePort(domain, port);
    return port;
  }
  return -XEN_ENOSPC;
}
