/** UDP datagrams (RFC 768). */
import { get16, put16 } from './bytes.ts';

export const UDP_BYTES = 8;
export const UDP_CHECKSUM_OFFSET = 6;

export interface UdpDatagram {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly hasChecksum: boolean;
  readonly dataStart: number;
  readonly dataEnd: number;
}

export function parseUdp(bytes: Uint8Array, start: number, end: number): UdpDatagram | undefined {
  if (end - start < UDP_BYTES) return undefined;
  const length = get16(bytes, start + 4);
  if (length < UDP_BYTES || start + length > end) return undefined;
  return {
    sourcePort: get16(bytes, start),
    destinationPort: get16(bytes, start + 2),
    hasChecksum: get16(bytes, start + 6) !== 0,
    dataStart: start + UDP_BYTES,
    dataEnd: start + length,
  };
}

/** The checksum is left zero. */
export function writeUdpHeader(
  bytes: Uint8Array,
  at: number,
  sourcePort: number,
  destinationPort: number,
  dataBytes: number,
): void {
  put16(bytes, at, sourcePort);
  put16(bytes, at + 2, destinationPort);
  put16(bytes, at + 4, UDP_BYTES + dataBytes);
  put16(bytes, at + 6, 0);
}
