/** CRC-32C (Castagnoli), bytewise, as VHDX has it. Source: RFC 3720, appendix B.4. */

const POLYNOMIAL = 0x82f6_3b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  return value >>> 0;
});

/** Of `bytes`, with the four bytes of the checksum itself, at `fieldOffset`, taken as zero. */
export function crc32c(bytes: Uint8Array, fieldOffset: number): number {
  let crc = 0xffff_ffff;
  for (let i = 0; i < bytes.length; i++) {
    const byte = i >= fieldOffset && i < fieldOffset + 4 ? 0 : (bytes[i] as number);
    crc = (TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
