/**
 * Puts fragmented datagrams together again (RFC 791, 3.2; RFC 8200, 4.5; overlaps are refused, RFC 5722), and cuts
 * those that are longer than the link. What is kept is bounded in number, size and time.
 */
import { formatIp, type IpAddress } from './address.ts';
import { put16, put32 } from './bytes.ts';
import { IPV4_BYTES, IPV6_BYTES, type IpHeader, type IpPacket, writeIpHeader } from './ip.ts';

const DATAGRAMS_MAX = 64;
const PARTS_MAX = 128;
const DATAGRAM_BYTES_MAX = 65_535;
const LIFETIME_NS = 30e9;

interface Partial {
  readonly bornNs: number;
  readonly parts: { start: number; bytes: Uint8Array }[];
  /** Known once the last fragment is there. */
  totalBytes: number;
}

export interface Reassembled {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly payload: Uint8Array;
}

export class Reassembly {
  readonly #partials = new Map<string, Partial>();
  readonly #nowNs: () => number;

  constructor(nowNs: () => number) {
    this.#nowNs = nowNs;
  }

  /** Datagrams that wait for the rest of them. */
  get nrWaiting(): number {
    return this.#partials.size;
  }

  /** Take in a fragment; gives the payload once it is complete. */
  add(packet: IpPacket): Reassembled | undefined {
    const { fragment, source, destination, protocol } = packet;
    if (!fragment) return undefined;
    const bytes = packet.bytes.slice(packet.payloadStart, packet.payloadEnd);
    const end = fragment.offset + bytes.length;
    const isAligned = !fragment.hasMore || bytes.length % 8 === 0;
    if (end > DATAGRAM_BYTES_MAX || bytes.length === 0 || !isAligned) return undefined;
    this.#forgetOld();
    const key = `${formatIp(source)} ${formatIp(destination)} ${fragment.id} ${packet.version === 4 ? protocol : ''}`;
    let partial = this.#partials.get(key);
    if (!partial) {
      if (this.#partials.size >= DATAGRAMS_MAX) {
        const oldest = this.#partials.keys().next().value;
        if (oldest !== undefined) this.#partials.delete(oldest);
      }
      partial = { bornNs: this.#nowNs(), parts: [], totalBytes: -1 };
      this.#partials.set(key, partial);
    }
    const overlaps = partial.parts.some(
      part => fragment.offset < part.start + part.bytes.length && end > part.start,
    );
    const contradicts =
      (!fragment.hasMore && partial.totalBytes >= 0 && partial.totalBytes !== end) ||
      (partial.totalBytes >= 0 && end > partial.totalBytes);
    if (overlaps || contradicts || partial.parts.length >= PARTS_MAX) {
      this.#partials.delete(key);
      return undefined;
    }
    partial.parts.push({ start: fragment.offset, bytes });
    if (!fragment.hasMore) partial.totalBytes = end;
    const have = partial.parts.reduce((sum, part) => sum + part.bytes.length, 0);
    if (have !== partial.totalBytes) return undefined;
    this.#partials.delete(key);
    const payload = new Uint8Array(have);
    for (const part of partial.parts) {
      if (part.start + part.bytes.length > have) return undefined;
      payload.set(part.bytes, part.start);
    }
    return { source, destination, protocol, payload };
  }

  #forgetOld(): void {
    const deadline = this.#nowNs() - LIFETIME_NS;
    for (const [key, partial] of this.#partials) {
      if (partial.bornNs >= deadline) return;
      this.#partials.delete(key);
    }
  }
}

const FRAGMENT_HEADER_BYTES = 8;

/** The packets, from the IP header on, that carry `payload` over a link of `mtu`. Usually that is one. */
export function ipPackets(header: IpHeader, payload: Uint8Array, mtu: number, id: number): Uint8Array[] {
  const isV4 = header.source.length === 4;
  const headerBytes = isV4 ? IPV4_BYTES : IPV6_BYTES;
  if (headerBytes + payload.length <= mtu) {
    const packet = new Uint8Array(headerBytes + payload.length);
    writeIpHeader(packet, 0, header, payload.length);
    packet.set(payload, headerBytes);
    return [packet];
  }
  const room = mtu - headerBytes - (isV4 ? 0 : FRAGMENT_HEADER_BYTES);
  const step = room & ~7;
  const packets: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += step) {
    const part = payload.subarray(at, at + step);
    const hasMore = at + step < payload.length;
    if (isV4) {
      const packet = new Uint8Array(headerBytes + part.length);
      const fragmentWord = (at >> 3) | (hasMore ? 0x2000 : 0);
      writeIpHeader(packet, 0, { ...header, id: id & 0xffff, fragmentWord }, part.length);
      packet.set(part, headerBytes);
      packets.push(packet);
    } else {
      const packet = new Uint8Array(headerBytes + FRAGMENT_HEADER_BYTES + part.length);
      writeIpHeader(packet, 0, { ...header, protocol: 44 }, FRAGMENT_HEADER_BYTES + part.length);
      packet[headerBytes] = header.protocol;
      put16(packet, headerBytes + 2, at | (hasMore ? 1 : 0));
      put32(packet, headerBytes + 4, id);
      packet.set(part, headerBytes + FRAGMENT_HEADER_BYTES);
      packets.push(packet);
    }
  }
  return packets;
}
