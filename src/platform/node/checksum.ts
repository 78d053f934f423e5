/** Checksums by the runtime's own code. */
import { crc32 as zlibCrc32 } from 'node:zlib';

/** CRC-32 as in zip and Ethernet. */
export const crc32 = (bytes: Uint8Array): number => zlibCrc32(bytes);
