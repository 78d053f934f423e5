/** Ethernet II frames without their checksum, and ARP for IPv4 over them (RFC 826). */
import type { IpAddress, MacAddress } from './address.ts';
import { concatBytes, get16, put16 } from './bytes.ts';

export const ETHERNET_BYTES = 14;
export const EtherType = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd } as const;

export function ethernetHeader(destination: MacAddress, source: MacAddress, type: number): Uint8Array {
  return concatBytes(destination, source, Uint8Array.of(type >> 8, type & 0xff));
}

export const etherType = (frame: Uint8Array): number =>
  frame.length >= ETHERNET_BYTES ? get16(frame, 12) : 0;
export const destinationMac = (frame: Uint8Array): MacAddress => frame.subarray(0, 6);
export const sourceMac = (frame: Uint8Array): MacAddress => frame.subarray(6, 12);

export const ArpOperation = { request: 1, reply: 2 } as const;
const ARP_BYTES = 28;

export interface Arp {
  readonly operation: number;
  readonly senderMac: MacAddress;
  readonly senderIp: IpAddress;
  readonly targetIp: IpAddress;
}

/** Undefined if it is no ARP for IPv4 over Ethernet. */
export function parseArp(frame: Uint8Array): Arp | undefined {
  const at = ETHERNET_BYTES;
  if (frame.length < at + ARP_BYTES) return undefined;
  const isOurs =
    get16(frame, at) === 1 &&
    get16(frame, at + 2) === EtherType.ipv4 &&
    frame[at + 4] === 6 &&
    frame[at + 5] === 4;
  if (!isOurs) return undefined;
  return {
    operation: get16(frame, at + 6),
    senderMac: frame.slice(at + 8, at + 14),
    senderIp: frame.slice(at + 14, at + 18),
    targetIp: frame.slice(at + 24, at + 28),
  };
}

export function arpFrame(
  destination: MacAddress,
  operation: number,
  sender: { mac: MacAddress; ip: IpAddress },
  target: { mac: MacAddress; ip: IpAddress },
): Uint8Array {
  const fixed = new Uint8Array(8);
  put16(fixed, 0, 1);
  put16(fixed, 2, EtherType.ipv4);
  fixed[4] = 6;
  fixed[5] = 4;
  put16(fixed, 6, operation);
  return concatBytes(
    ethernetHeader(destination, sender.mac, EtherType.arp),
    fixed,
    sender.mac,
    sender.ip,
    target.mac,
    target.ip,
  );
}
