/** CRC-64 as in ECMA-182, reflected: the checksum of XZ files by default. Kept as two 32-bit halves, four bytes at a step. */

const POLYNOMIAL_HIGH = 0xc96c_5795;
const POLYNOMIAL_LOW = 0xd787_0f42;

/** Four tables of 256 entries each: table k is for a byte that k more bytes follow. */
const LOW = new Int32Array(1024);
const HIGH = new Int32Array(1024);
for (let byte = 0; byte < 256; byte++) {
  let low = byte;
  let high = 0;
  for (let bit = 0; bit < 8; bit++) {
    const carry = low & 1;
    low = (low >>> 1) | (high << 31);
    high >>>= 1;
    if (carry) {
      low ^= POLYNOMIAL_LOW;
      high ^= POLYNOMIAL_HIGH;
    }
  }
  LOW[byte] = low;
  HIGH[byte] = high;
}
for (let i = 256; i < 1024; i++) {
  const low = LOW[i - 256]!;
  const high = HIGH[i - 256]!;
  LOW[i] = (low >>> 8) ^ (high << 24) ^ LOW[low & 0xff]!;
  HIGH[i] = (high >>> 8) ^ HIGH[low & 0xff]!;
}

/** The checksum of `bytes[start, end)` as [low, high]. */
export function crc64(bytes: Uint8Array, start: number, end: number): readonly [number, number] {
  let low = -1;
  let high = -1;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    const a = (low ^ bytes[at]!) & 0xff;
    const b = ((low >>> 8) ^ bytes[at + 1]!) & 0xff;
    const c = ((low >>> 16) ^ bytes[at + 2]!) & 0xff;
    const d = (low >>> 24) ^ bytes[at + 3]!;
    low = high ^ LOW[768 + a]! ^ LOW[512 + b]! ^ LOW[256 + c]! ^ LOW[d]!;
    high = HIGH[768 + a]! ^ HIGH[512 + b]! ^ HIGH[256 + c]! ^ HIGH[d]!;
  }
  for (; at < end; at++) {
    const index = (low ^ bytes[at]!) & 0xff;
    low = (low >>> 8) ^ (high << 24) ^ LOW[index]!;
    high = (high >>> 8) ^ HIGH[index]!;
  }
  return [~low >>> 0, ~high >>> 0];
}
