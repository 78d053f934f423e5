/** What the parts of the NAT share: the world outside, time, and the way to the guests. */
import type { Clock, Entropy, Timers } from '../../platform/platform.ts';
import type { Sockets } from '../../platform/sockets.ts';
import type { IpAddress } from '../packet/address.ts';
import type { UnreachableReason } from '../packet/icmp.ts';
import type { IpPacket } from '../packet/ip.ts';
import type { EgressPolicy } from '../policy.ts';
import type { NatAddresses } from './addresses.ts';
import type { Budget } from './budget.ts';

export interface NatEnvironment {
  readonly sockets: Sockets;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly entropy: Entropy;
  /** Runs a task when the burst of frames at hand is done. */
  readonly defer: (task: () => void) => void;
}

/** Towards the guests. */
export interface Outlet {
  /** Send an IP payload; its checksum is complete. Cut into fragments where the link asks for it. */
  sendPayload(source: IpAddress, destination: IpAddress, protocol: number, payload: Uint8Array): void;
  /**
   * Send a TCP segment: room for `segmentBytes` behind the IP header is given to `fill`, with the offset where it begins.
   * `mss` above zero: the segment is to be cut so, if it is longer.
   */
  sendTcp(
    source: IpAddress,
    destination: IpAddress,
    segmentBytes: number,
    mss: number,
    fill: (bytes: Uint8Array, at: number) => void,
  ): void;
  sendUdp(
    source: IpAddress,
    sourcePort: number,
    destination: IpAddress,
    destinationPort: number,
    data: Uint8Array,
  ): void;
  /** Tell the sender of a packet that it did not get there. */
  sendUnreachable(packet: IpPacket, reason: UnreachableReason): void;
}

export interface NatWiring extends NatEnvironment {
  readonly addresses: NatAddresses;
  readonly policy: EgressPolicy;
  readonly outlet: Outlet;
  readonly budget: Budget;
  readonly mtu: number;
}

/** Text that is equal for equal flows, and cheap to make. */
export function flowKey(guest: IpAddress, guestPort: number, remote: IpAddress, remotePort: number): string {
  let key = String.fromCharCode(guestPort, remotePort);
  for (let i = 0; i < guest.length; i += 2) key += String.fromCharCode((guest[i]! << 8) | guest[i + 1]!);
  for (let i = 0; i < remote.length; i += 2) key += String.fromCharCode((remote[i]! << 8) | remote[i + 1]!);
  return key;
}

export function randomNumber(entropy: Entropy): number {
  const bytes = new Uint8Array(4);
  entropy.fill(bytes);
  return new DataView(bytes.buffer).getUint32(0);
}
