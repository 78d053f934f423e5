/**
 * IPv4 (RFC 791) and IPv6 (RFC 8200) headers, read and written through one description: who, to whom, which protocol,
 * where the payload lies. Everything is checked against the bytes that are there; what does not fit is no packet.
 */
import type { IpAddress } from './address.ts';
import { get16, get32, put16, put32 } from './bytes.ts';
import { checksum, sumWords } from './checksum.ts';

export const Protocol = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;
export const IPV4_BYTES = 20;
export const IPV6_BYTES = 40;
const DEFAULT_HOPS = 64;

export interface Fragment {
  /** Offset of the payload in the whole datagram. */
  readonly offset: number;
  readonly hasMore: boolean;
  readonly id: number;
}

export interface IpPacket {
  readonly version: 4 | 6;
  /** What the header and everything behind it lies in. */
  readonly bytes: Uint8Array;
  /** Where the header begins. */
  readonly start: number;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** Of the payload, behind extension headers. */
  readonly protocol: number;
  readonly payloadStart: number;
  readonly payloadEnd: number;
  readonly hops: number;
  /** Sum of both addresses, for checksums. */
  readonly addressSum: number;
  readonly fragment?: Fragment;
}

function parseIpv4(bytes: Uint8Array, start: number): IpPacket | undefined {
  if (bytes.length < start + IPV4_BYTES) return undefined;
  const headerBytes = (bytes[start]! & 15) * 4;
  const totalBytes = get16(bytes, start + 2);
  if (headerBytes < IPV4_BYTES || totalBytes < headerBytes || start + totalBytes > bytes.length)
    return undefined;
  if (checksum(bytes, start, start + headerBytes) !== 0) return undefined;
  const word = get16(bytes, start + 6);
  const offset = (word & 0x1fff) * 8;
  const hasMore = (word & 0x2000) !== 0;
  return {
    version: 4,
    bytes,
    start,
    source: bytes.slice(start + 12, start + 16),
    destination: bytes.slice(start + 16, start + 20),
    protocol: bytes[start + 9]!,
    payloadStart: start + headerBytes,
    payloadEnd: start + totalBytes,
    hops: bytes[start + 8]!,
    addressSum: sumWords(bytes, start + 12, start + 20),
    ...((offset > 0 || hasMore) && { fragment: { offset, hasMore, id: get16(bytes, start + 4) } }),
  };
}

/** Hop-by-hop options, routing, destination options: their length is in units of eight bytes. */
const SKIPPED_EXTENSIONS = new Set([0, 43, 60]);
const FRAGMENT_EXTENSION = 44;
const EXTENSIONS_MAX = 8;

function parseIpv6(bytes: Uint8Array, start: number): IpPacket | undefined {
  if (bytes.length < start + IPV6_BYTES) return undefined;
  const end = start + IPV6_BYTES + get16(bytes, start + 4);
  if (end > bytes.length) return undefined;
  let protocol = bytes[start + 6]!;
  let at = start + IPV6_BYTES;
  let fragment: Fragment | undefined;
  for (let nr = 0; SKIPPED_EXTENSIONS.has(protocol) || protocol === FRAGMENT_EXTENSION; nr++) {
    if (nr === EXTENSIONS_MAX || at + 8 > end || fragment) return undefined;
    if (protocol === FRAGMENT_EXTENSION) {
      const word = get16(bytes, at + 2);
      fragment = { offset: word & 0xfff8, hasMore: (word & 1) !== 0, id: get32(bytes, at + 4) };
    }
    const length = protocol === FRAGMENT_EXTENSION ? 8 : (bytes[at + 1]! + 1) * 8;
    protocol = bytes[at]!;
    at += length;
    if (at > end) return undefined;
    // Behind the first fragment's header there may be more; of the others nobody knows.
    if (fragment && fragment.offset > 0) break;
  }
  return {
    version: 6,
    bytes,
    start,
    source: bytes.slice(start + 8, start + 24),
    destination: bytes.slice(start + 24, start + 40),
    protocol,
    payloadStart: at,
    payloadEnd: end,
    hops: bytes[start + 7]!,
    addressSum: sumWords(bytes, start + 8, start + 40),
    ...(fragment && { fragment }),
  };
}

/** The packet that begins at `start`. Undefined if there is none. */
export function parseIpPacket(bytes: Uint8Array, start: number): IpPacket | undefined {
  const version = bytes.length > start ? bytes[start]! >> 4 : 0;
  if (version === 4) return parseIpv4(bytes, start);
  if (version === 6) return parseIpv6(bytes, start);
  return undefined;
}

export interface IpHeader {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly hops?: number;
  /** IPv4 only. */
  readonly id?: number;
  /** IPv4 only: flags and offset as they stand in the header. Default: may not be fragmented. */
  readonly fragmentWord?: number;
}

export const ipHeaderBytes = (address: IpAddress): number => (address.length === 4 ? IPV4_BYTES : IPV6_BYTES);

/** Write the header for `payloadBytes` at `at`; the family is that of the addresses. Returns the sum of the addresses. */
export function writeIpHeader(bytes: Uint8Array, at: number, header: IpHeader, payloadBytes: number): number {
  const { source, destination, protocol, hops = DEFAULT_HOPS } = header;
  if (source.length === 4) {
    bytes[at] = 0x45;
    bytes[at + 1] = 0;
    put16(bytes, at + 2, IPV4_BYTES + payloadBytes);
    put16(bytes, at + 4, header.id ?? 0);
    put16(bytes, at + 6, header.fragmentWord ?? 0x4000);
    bytes[at + 8] = hops;
    bytes[at + 9] = protocol;
    put16(bytes, at + 10, 0);
    bytes.set(source, at + 12);
    bytes.set(destination, at + 16);
    put16(bytes, at + 10, checksum(bytes, at, at + IPV4_BYTES));
    return sumWords(bytes, at + 12, at + 20);
  }
  put32(bytes, at, 0x6000_0000);
  put16(bytes, at + 4, payloadBytes);
  bytes[at + 6] = protocol;
  bytes[at + 7] = hops;
  bytes.set(source, at + 8);
  bytes.set(destination, at + 24);
  return sumWords(bytes, at + 8, at + 40);
}
