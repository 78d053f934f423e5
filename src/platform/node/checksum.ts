/** Checksums by the runtime's own code. */
import { crc32 as zlibCrc32 } from 'node:zlib';

/** CRC-32 as in zip and Ethernet. @param before that of what comes before these bytes */
export const crc32 = (bytes: Uint8Array, before = 0): number => zlibCrc32(bytes, before);
