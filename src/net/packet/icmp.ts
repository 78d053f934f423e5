/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443): echo and destination unreachable, in both families, as payloads of IP packets.
 */
import { type IpAddress, ip } from './address.ts';
import { get16, put16 } from './bytes.ts';
import { checksum, pseudoSum, sumWords } from './checksum.ts';
import { type IpPacket, Protocol } from './ip.ts';

export const ICMP_BYTES = 8;

export const Icmp = { echoReply: 0, unreachable: 3, echoRequest: 8, timeExceeded: 11 } as const;
export const Icmpv6 = {
  unreachable: 1,
  timeExceeded: 3,
  echoRequest: 128,
  echoReply: 129,
  routerSolicitation: 133,
  routerAdvertisement: 134,
  neighbourSolicitation: 135,
  neighbourAdvertisement: 136,
} as const;

/** Why a packet does not get there, with the code that each family has for it. */
export const Unreachable = {
  host: { v4: 1, v6: 3 },
  port: { v4: 3, v6: 4 },
  /** By policy. */
  prohibited: { v4: 13, v6: 1 },
} as const;
export type UnreachableReason = keyof typeof Unreachable;

export interface IcmpMessage {
  readonly type: number;
  readonly code: number;
  /** Everything behind type, code and checksum. */
  readonly body: Uint8Array;
}

/** The message in an IP packet; undefined if it is none or its checksum is wrong. */
export function parseIcmp(packet: IpPacket): IcmpMessage | undefined {
  const { bytes, payloadStart, payloadEnd } = packet;
  const length = payloadEnd - payloadStart;
  if (length < ICMP_BYTES) return undefined;
  const initial = packet.version === 6 ? pseudoSum(packet.addressSum, Protocol.icmpv6, length) : 0;
  if (checksum(bytes, payloadStart, payloadEnd, initial) !== 0) return undefined;
  return {
    type: bytes[payloadStart]!,
    code: bytes[payloadStart + 1]!,
    body: bytes.slice(payloadStart + 4, payloadEnd),
  };
}

/** A message with its checksum, which covers the addresses in IPv6. */
export function icmpPayload(message: IcmpMessage, source: IpAddress, destination: IpAddress): Uint8Array {
  const bytes = new Uint8Array(4 + message.body.length);
  bytes[0] = message.type;
  bytes[1] = message.code;
  bytes.set(message.body, 4);
  let initial = 0;
  if (source.length === 16) {
    const addressSum = sumWords(source, 0, 16) + sumWords(destination, 0, 16);
    initial = pseudoSum(addressSum, Protocol.icmpv6, bytes.length);
  }
  put16(bytes, 2, checksum(bytes, 0, bytes.length, initial));
  return bytes;
}

export const icmpProtocol = (address: IpAddress): number =>
  address.length === 4 ? Protocol.icmp : Protocol.icmpv6;

/** Destination unreachable for a packet: as much of it as the message may carry is sent back. */
export function unreachableMessage(packet: IpPacket, reason: UnreachableReason): IcmpMessage {
  const isV4 = packet.version === 4;
  // RFC 1812, 4.3.2.3: up to 576 bytes; RFC 4443, 3.1: up to the smallest MTU.
  const most = isV4 ? 576 - 28 : 1280 - 48;
  const quoted = packet.bytes.subarray(packet.start, Math.min(packet.payloadEnd, packet.start + most));
  const body = new Uint8Array(4 + quoted.length);
  body.set(quoted, 4);
  const code = Unreachable[reason];
  return {
    type: isV4 ? Icmp.unreachable : Icmpv6.unreachable,
    code: isV4 ? code.v4 : code.v6,
    body,
  };
}

/** The reply to an echo request; undefined if the message is none. */
export function echoReplyTo(message: IcmpMessage, version: 4 | 6): IcmpMessage | undefined {
  const request = version === 4 ? Icmp.echoRequest : Icmpv6.echoRequest;
  if (message.type !== request || message.code !== 0) return undefined;
  return { type: version === 4 ? Icmp.echoReply : Icmpv6.echoReply, code: 0, body: message.body };
}

/** Who is asked for in a neighbour solicitation or told of in an advertisement. */
export const neighbourTarget = (message: IcmpMessage): IpAddress | undefined =>
  message.body.length >= 20 ? message.body.slice(4, 20) : undefined;

/** The link-layer address option of neighbour discovery (RFC 4861, 4.6.1): 1 is the source's, 2 the target's. */
export function linkLayerOption(
  message: IcmpMessage,
  optionsAt: number,
  wanted: number,
): Uint8Array | undefined {
  const { body } = message;
  for (let at = optionsAt; at + 8 <= body.length; ) {
    const length = body[at + 1]! * 8;
    if (length === 0 || at + length > body.length) return undefined;
    if (body[at] === wanted && length === 8) return body.slice(at + 2, at + 8);
    at += length;
  }
  return undefined;
}

/** A neighbour advertisement (RFC 4861, 4.4) by a router. */
export function neighbourAdvertisement(
  target: IpAddress,
  mac: Uint8Array,
  isSolicited: boolean,
): IcmpMessage {
  const body = new Uint8Array(28);
  body[0] = 0x80 | (isSolicited ? 0x40 : 0) | 0x20;
  body.set(target, 4);
  body[20] = 2;
  body[21] = 1;
  body.set(mac, 22);
  return { type: Icmpv6.neighbourAdvertisement, code: 0, body };
}

export interface RouterFacts {
  readonly mac: Uint8Array;
  /** A prefix of 64 bits from which hosts make their addresses. */
  readonly prefix: IpAddress;
  readonly nameserver: IpAddress;
  readonly mtu: number;
}

const ROUTER_LIFETIME_SECONDS = 9000;
const PREFIX_LIFETIME_SECONDS = 86_400;

/** A router advertisement (RFC 4861, 4.2) with the prefix, the MTU and the name server (RFC 8106). */
export function routerAdvertisement({ mac, prefix, nameserver, mtu }: RouterFacts): IcmpMessage {
  const body = new Uint8Array(12 + 8 + 8 + 32 + 24);
  const view = new DataView(body.buffer);
  body[0] = 64;
  view.setUint16(2, ROUTER_LIFETIME_SECONDS);
  let at = 12;
  body.set([1, 1, ...mac], at);
  at += 8;
  body.set([5, 1], at);
  view.setUint32(at + 4, mtu);
  at += 8;
  // On-link and for autonomous address configuration.
  body.set([3, 4, 64, 0xc0], at);
  view.setUint32(at + 4, PREFIX_LIFETIME_SECONDS);
  view.setUint32(at + 8, PREFIX_LIFETIME_SECONDS);
  body.set(prefix, at + 16);
  at += 32;
  body.set([25, 3], at);
  view.setUint32(at + 4, ROUTER_LIFETIME_SECONDS);
  body.set(nameserver, at + 8);
  return { type: Icmpv6.routerAdvertisement, code: 0, body };
}

export const ALL_NODES = ip('ff02::1');
export const ALL_ROUTERS = ip('ff02::2');

/** Identifier and sequence number of an echo. */
export const echoIdentity = (message: IcmpMessage): { id: number; sequence: number } => ({
  id: get16(message.body, 0),
  sequence: get16(message.body, 2),
});
