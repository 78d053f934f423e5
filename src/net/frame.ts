/**
 * What goes over a cable: an Ethernet frame, and what its sender has left to the receiver, as network cards do:
 * the TCP or UDP checksum, and the cutting of a large TCP segment. Between two ends that both can do without, neither
 * is ever done; `withChecksum` and `segments` do it for those that cannot.
 */
import { formatIp } from './packet/address.ts';
import { put16, put32 } from './packet/bytes.ts';
import { checksum, writeTransportChecksum } from './packet/checksum.ts';
import { ETHERNET_BYTES, EtherType, etherType } from './packet/ethernet.ts';
import { IPV4_BYTES, type IpPacket, Protocol, parseIpPacket } from './packet/ip.ts';
import { parseTcp, sequenceAdd, TCP_CHECKSUM_OFFSET, TcpFlag } from './packet/tcp.ts';
import { UDP_CHECKSUM_OFFSET } from './packet/udp.ts';

/** The longest packet: 64 KiB with its Ethernet header. */
export const FRAME_BYTES_MAX = 65_535 + ETHERNET_BYTES;

export interface Frame {
  /** Without the frame check sequence. Whoever has handed a frame on changes it no more. */
  readonly bytes: Uint8Array;
  /** The TCP or UDP checksum is not complete yet. */
  readonly lacksChecksum: boolean;
  /** A TCP segment to be cut into pieces with so many bytes of data; 0 if it is to go as it is. */
  readonly segmentBytes: number;
  /** The sender uses the bytes for something else as soon as `receive` returns: who wants them for longer takes what `kept` gives. */
  readonly isLent?: boolean;
}

/** The frame with bytes of its own. */
export const kept = (frame: Frame): Frame =>
  frame.isLent ? { ...frame, bytes: frame.bytes.slice(), isLent: false } : frame;

export const plainFrame = (bytes: Uint8Array): Frame => ({ bytes, lacksChecksum: false, segmentBytes: 0 });

/** Where a frame ends: another end of a cable, a switch, a domain. */
export interface Station {
  /** Take a frame, or drop it if there is no room. */
  receive(frame: Frame): void;
}

/** The packet in a frame, unless it is a later fragment, whose transport header lies elsewhere. */
export function packetOf(bytes: Uint8Array): IpPacket | undefined {
  const type = etherType(bytes);
  if (type !== EtherType.ipv4 && type !== EtherType.ipv6) return undefined;
  return parseIpPacket(bytes, ETHERNET_BYTES);
}

const checksumField = (packet: IpPacket): number => {
  const length = packet.payloadEnd - packet.payloadStart;
  if (packet.protocol === Protocol.tcp && length >= 20) return packet.payloadStart + TCP_CHECKSUM_OFFSET;
  if (packet.protocol === Protocol.udp && length >= 8) return packet.payloadStart + UDP_CHECKSUM_OFFSET;
  return -1;
};

/** The same frame with its checksum complete. A frame that has none to complete stays as it is. */
export function withChecksum(frame: Frame): Frame {
  if (!frame.lacksChecksum) return frame;
  const bytes = frame.bytes.slice();
  const packet = packetOf(bytes);
  const field = packet && !packet.fragment ? checksumField(packet) : -1;
  if (packet && field >= 0) {
    const { payloadStart, payloadEnd, protocol, addressSum } = packet;
    writeTransportChecksum(bytes, payloadStart, payloadEnd, field, protocol, addressSum);
  }
  return { bytes, lacksChecksum: false, segmentBytes: frame.segmentBytes };
}

/**
 * The frames that a large segment stands for, each with its own headers and checksum; the frame itself if it is none.
 * One that claims to be large and is no TCP segment gives nothing.
 */
export function segments(frame: Frame): Frame[] {
  if (frame.segmentBytes === 0) return [withChecksum(frame)];
  const packet = packetOf(frame.bytes);
  if (!packet || packet.protocol !== Protocol.tcp || packet.fragment) return [];
  const tcp = parseTcp(packet.bytes, packet.payloadStart, packet.payloadEnd);
  if (!tcp) return [];
  const { bytes } = frame;
  const result: Frame[] = [];
  for (let at = tcp.dataStart; at < tcp.dataEnd || result.length === 0; at += frame.segmentBytes) {
    const data = bytes.subarray(at, Math.min(at + frame.segmentBytes, tcp.dataEnd));
    const isFirst = at === tcp.dataStart;
    const isLast = at + frame.segmentBytes >= tcp.dataEnd;
    const piece = new Uint8Array(tcp.dataStart + data.length);
    piece.set(bytes.subarray(0, tcp.dataStart));
    piece.set(data, tcp.dataStart);
    if (packet.version === 4) {
      put16(piece, packet.start + 2, piece.length - packet.start);
      put16(
        piece,
        packet.start + 4,
        (((bytes[packet.start + 4]! << 8) | bytes[packet.start + 5]!) + result.length) & 0xffff,
      );
      put16(piece, packet.start + 10, 0);
      put16(piece, packet.start + 10, checksum(piece, packet.start, packet.payloadStart));
    } else {
      put16(piece, packet.start + 4, piece.length - packet.start - 40);
    }
    put32(piece, packet.payloadStart + 4, sequenceAdd(tcp.sequence, at - tcp.dataStart));
    // What marks the end is for the last piece, what marks the beginning (CWR) for the first.
    let flags = bytes[packet.payloadStart + 13]!;
    if (!isLast) flags &= ~(TcpFlag.fin | TcpFlag.psh);
    if (!isFirst) flags &= ~0x80;
    piece[packet.payloadStart + 13] = flags;
    const field = packet.payloadStart + TCP_CHECKSUM_OFFSET;
    writeTransportChecksum(piece, packet.payloadStart, piece.length, field, Protocol.tcp, packet.addressSum);
    result.push(plainFrame(piece));
  }
  return result;
}

/** One line for people: what a frame is. */
export function describeFrame(frame: Frame): string {
  const packet = packetOf(frame.bytes);
  if (!packet) return `ethertype ${etherType(frame.bytes).toString(16)}, ${frame.bytes.length} bytes`;
  return `${formatIp(packet.source)} > ${formatIp(packet.destination)} protocol ${packet.protocol}, ${frame.bytes.length} bytes`;
}

export const IPV4_HEADER_END = ETHERNET_BYTES + IPV4_BYTES;
