/** CRC-16 with polynomial 0x8005, reflected: what guards ext4's group descriptors. */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let i = 0; i < 8; i++) value = value & 1 ? (value >>> 1) ^ 0xa001 : value >>> 1;
  return value;
});

export function crc16(seed: number, bytes: Uint8Array): number {
  let crc = seed;
  for (const byte of bytes) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 0xff]!;
  return crc;
}
