/**
 * The Internet checksum (RFC 1071): the one's complement sum of 16-bit words. Sums are kept as plain numbers and folded
 * at the end, so that they can be added up from parts, each of which begins at an even offset of what is summed.
 */
import { get16, put16 } from './bytes.ts';

/** Sum of the big-endian words from `start` to `end`; an odd last byte counts as the upper half of a word. */
export function sumWords(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  let at = start;
  for (; at + 7 < end; at += 8) {
    sum +=
      ((bytes[at]! + bytes[at + 2]! + bytes[at + 4]! + bytes[at + 6]!) << 8) +
      bytes[at + 1]! +
      bytes[at + 3]! +
      bytes[at + 5]! +
      bytes[at + 7]!;
  }
  for (; at + 1 < end; at += 2) sum += get16(bytes, at);
  if (at < end) sum += bytes[at]! << 8;
  return sum;
}

export function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

export const checksum = (bytes: Uint8Array, start: number, end: number, initial = 0): number =>
  ~fold(sumWords(bytes, start, end) + initial) & 0xffff;

/** The part of a pseudo header that does not depend on where the addresses lie. */
export const pseudoSum = (addressSum: number, protocol: number, length: number): number =>
  addressSum + protocol + (length >>> 16) + (length & 0xffff);

/**
 * Complete the checksum of a TCP or UDP segment whose checksum field holds anything: `addressSum` is the sum of both
 * addresses. A UDP checksum of zero is sent as all ones, because zero means that there is none.
 */
export function writeTransportChecksum(
  bytes: Uint8Array,
  start: number,
  end: number,
  fieldAt: number,
  protocol: number,
  addressSum: number,
): void {
  put16(bytes, fieldAt, 0);
  const value = checksum(bytes, start, end, pseudoSum(addressSum, protocol, end - start));
  put16(bytes, fieldAt, value === 0 && protocol === 17 ? 0xffff : value);
}
