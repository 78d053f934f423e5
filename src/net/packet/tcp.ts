/** TCP segments (RFC 9293): header and the options that this stack speaks, maximum segment size and window scale. */
import { get16, get32, put16, put32 } from './bytes.ts';

export const TCP_BYTES = 20;
export const TCP_CHECKSUM_OFFSET = 16;
export const TcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly window: number;
  /** Where the data lies in the bytes that were parsed. */
  readonly dataStart: number;
  readonly dataEnd: number;
  readonly mss?: number;
  /** Only counts with SYN. */
  readonly windowScale?: number;
}

export function parseTcp(bytes: Uint8Array, start: number, end: number): TcpSegment | undefined {
  if (end - start < TCP_BYTES) return undefined;
  const dataStart = start + (bytes[start + 12]! >> 4) * 4;
  if (dataStart < start + TCP_BYTES || dataStart > end) return undefined;
  const flags = bytes[start + 13]!;
  let mss: number | undefined;
  let windowScale: number | undefined;
  if ((flags & TcpFlag.syn) !== 0) {
    for (let at = start + TCP_BYTES; at < dataStart; ) {
      const kind = bytes[at]!;
      if (kind === 0) break;
      if (kind === 1) {
        at += 1;
        continue;
      }
      const length = at + 1 < dataStart ? bytes[at + 1]! : 0;
      if (length < 2 || at + length > dataStart) break;
      if (kind === 2 && length === 4) mss = get16(bytes, at + 2);
      if (kind === 3 && length === 3) windowScale = Math.min(14, bytes[at + 2]!);
      at += length;
    }
  }
  return {
    sourcePort: get16(bytes, start),
    destinationPort: get16(bytes, start + 2),
    sequence: get32(bytes, start + 4),
    acknowledgement: get32(bytes, start + 8),
    flags,
    window: get16(bytes, start + 14),
    dataStart,
    dataEnd: end,
    mss,
    windowScale,
  };
}

export interface TcpHeader {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly window: number;
  readonly mss?: number;
  readonly windowScale?: number;
}

export const tcpHeaderBytes = (header: TcpHeader): number =>
  TCP_BYTES + (header.mss === undefined ? 0 : 4) + (header.windowScale === undefined ? 0 : 4);

/** The checksum is left zero. */
export function writeTcpHeader(bytes: Uint8Array, at: number, header: TcpHeader): void {
  put16(bytes, at, header.sourcePort);
  put16(bytes, at + 2, header.destinationPort);
  put32(bytes, at + 4, header.sequence);
  put32(bytes, at + 8, header.acknowledgement);
  bytes[at + 12] = (tcpHeaderBytes(header) / 4) << 4;
  bytes[at + 13] = header.flags;
  put16(bytes, at + 14, header.window);
  put32(bytes, at + 16, 0);
  let option = at + TCP_BYTES;
  if (header.mss !== undefined) {
    bytes[option] = 2;
    bytes[option + 1] = 4;
    put16(bytes, option + 2, header.mss);
    option += 4;
  }
  if (header.windowScale !== undefined) {
    bytes[option] = 1;
    bytes[option + 1] = 3;
    bytes[option + 2] = 3;
    bytes[option + 3] = header.windowScale;
  }
}

/** Sequence numbers wrap around: how far `a` is ahead of `b`, negative when it is behind. */
export const sequenceDistance = (a: number, b: number): number => (a - b) | 0;
export const sequenceAdd = (a: number, n: number): number => (a + n) >>> 0;
