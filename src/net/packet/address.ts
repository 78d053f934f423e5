/**
 * Addresses: MAC, IPv4, IPv6 and ranges of these. An IP address is its bytes, four or sixteen; text is for people,
 * sockets and map keys.
 */
import { get16, put16 } from './bytes.ts';

export type MacAddress = Uint8Array;
export type IpAddress = Uint8Array;

export const BROADCAST_MAC: MacAddress = new Uint8Array(6).fill(0xff);

export const formatMac = (mac: MacAddress): string =>
  Array.from(mac, byte => byte.toString(16).padStart(2, '0')).join(':');

export function parseMac(text: string): MacAddress | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), part => Number.parseInt(part, 16));
}

export const isMulticastMac = (bytes: Uint8Array, at = 0): boolean => (bytes[at]! & 1) !== 0;

/** A map key for an address of six bytes. */
export const macKey = (bytes: Uint8Array, at: number): number =>
  get16(bytes, at) * 2 ** 32 + get16(bytes, at + 2) * 2 ** 16 + get16(bytes, at + 4);

function parseIpv4(text: string): IpAddress | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every(part => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) {
    return undefined;
  }
  return Uint8Array.from(parts, Number);
}

/** Eight groups, `::` for a run of zeros, perhaps IPv4 at the end (RFC 4291, 2.2). */
function parseIpv6(text: string): IpAddress | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groupsOf = (half: string): number[] | undefined => {
    if (half === '') return [];
    const groups: number[] = [];
    const parts = half.split(':');
    for (const [index, part] of parts.entries()) {
      if (index === parts.length - 1 && part.includes('.')) {
        const last = parseIpv4(part);
        if (!last) return undefined;
        groups.push(get16(last, 0), get16(last, 2));
      } else {
        if (!/^[0-9a-f]{1,4}$/i.test(part)) return undefined;
        groups.push(Number.parseInt(part, 16));
      }
    }
    return groups;
  };
  const head = groupsOf(halves[0]!);
  const tail = halves.length === 2 ? groupsOf(halves[1]!) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const address = new Uint8Array(16);
  [...head, ...Array<number>(missing).fill(0), ...tail].forEach((group, i) => {
    put16(address, 2 * i, group);
  });
  return address;
}

/** Undefined if the text is no address. A zone (`%eth0`) is none of an address's business. */
export const parseIp = (text: string): IpAddress | undefined =>
  text.includes(':') ? parseIpv6(text) : parseIpv4(text);

/** @throws TypeError; for addresses in our own code */
export function ip(text: string): IpAddress {
  const address = parseIp(text);
  if (!address) throw new TypeError(`${text} is no address`);
  return address;
}

/** As RFC 5952 wants it: lower case, the longest run of two and more zero groups shortened. */
export function formatIp(address: IpAddress): string {
  if (address.length === 4) return address.join('.');
  const groups = Array.from({ length: 8 }, (_, i) => get16(address, 2 * i));
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end += 1;
    if (end - start > bestLength) {
      bestStart = start;
      bestLength = end - start;
    }
  }
  const hex = (part: number[]) => part.map(group => group.toString(16)).join(':');
  if (bestStart < 0) return hex(groups);
  return `${hex(groups.slice(0, bestStart))}::${hex(groups.slice(bestStart + bestLength))}`;
}

/** `::ffff:a.b.c.d`, as sockets of both families report IPv4. */
export const withoutMapping = (address: IpAddress): IpAddress =>
  address.length === 16 && address.subarray(0, 10).every(byte => byte === 0) && get16(address, 10) === 0xffff
    ? address.slice(12)
    : address;

export interface Cidr {
  readonly address: IpAddress;
  readonly prefixBits: number;
}

/** An address, or an address and the number of its bits that count. */
export function parseCidr(text: string): Cidr | undefined {
  const [host = '', bits, ...rest] = text.split('/');
  const address = parseIp(host);
  if (!address || rest.length > 0) return undefined;
  if (bits === undefined) return { address, prefixBits: address.length * 8 };
  if (!/^\d{1,3}$/.test(bits) || Number(bits) > address.length * 8) return undefined;
  return { address, prefixBits: Number(bits) };
}

export function isWithin(address: IpAddress, range: Cidr): boolean {
  if (address.length !== range.address.length) return false;
  const whole = range.prefixBits >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== range.address[i]) return false;
  const rest = range.prefixBits & 7;
  if (rest === 0) return true;
  return ((address[whole]! ^ range.address[whole]!) & (0xff00 >> rest) & 0xff) === 0;
}

/** Whether every address of `inner` is in `outer`. */
export const isRangeWithin = (inner: Cidr, outer: Cidr): boolean =>
  inner.prefixBits >= outer.prefixBits && isWithin(inner.address, outer);

/** The multicast MAC address of an IPv6 multicast address (RFC 2464, 7). */
export const multicastMac = (address: IpAddress): MacAddress =>
  Uint8Array.of(0x33, 0x33, ...address.subarray(12, 16));
