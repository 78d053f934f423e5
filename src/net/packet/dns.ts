/**
 * DNS messages (RFC 1035): as much as a forwarder needs to know of a question and of the addresses in an answer. Names
 * are compared in lower case; compression pointers may only point backwards, so that every name ends.
 */
import { get16, get32, put16 } from './bytes.ts';

export const DNS_PORT = 53;
export const DNS_HEADER_BYTES = 12;
export const DnsType = {
  a: 1,
  ns: 2,
  cname: 5,
  soa: 6,
  ptr: 12,
  mx: 15,
  txt: 16,
  aaaa: 28,
  opt: 41,
} as const;
export const DnsCode = {
  ok: 0,
  formatError: 1,
  serverFailure: 2,
  noSuchName: 3,
  notImplemented: 4,
  refused: 5,
} as const;
const CLASS_IN = 1;
const NAME_BYTES_MAX = 255;

export interface DnsQuestion {
  /** In lower case, without the last dot; the root is ''. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface DnsRecord {
  readonly name: string;
  readonly type: number;
  readonly ttlSeconds: number;
  readonly data: Uint8Array;
}

export interface DnsMessage {
  readonly id: number;
  readonly isResponse: boolean;
  readonly isTruncated: boolean;
  readonly code: number;
  readonly question: DnsQuestion;
  /** Where the question section ends. */
  readonly questionEnd: number;
  readonly answers: readonly DnsRecord[];
}

/** The name at `at` and where the text behind it goes on; undefined if it is malformed. */
export function readName(bytes: Uint8Array, at: number): { name: string; end: number } | undefined {
  const labels: string[] = [];
  let length = 0;
  let end = -1;
  let from = at;
  for (let pointerLimit = at; ; ) {
    if (from >= bytes.length) return undefined;
    const size = bytes[from]!;
    if (size === 0) return { name: labels.join('.'), end: end < 0 ? from + 1 : end };
    if (size >= 0xc0) {
      if (from + 1 >= bytes.length) return undefined;
      const target = get16(bytes, from) & 0x3fff;
      // Each jump goes further back than the one before.
      if (target >= pointerLimit) return undefined;
      if (end < 0) end = from + 2;
      pointerLimit = target;
      from = target;
      continue;
    }
    if (size > 63 || from + 1 + size > bytes.length) return undefined;
    length += size + 1;
    if (length >= NAME_BYTES_MAX) return undefined;
    let label = '';
    for (let i = from + 1; i <= from + size; i++) {
      const byte = bytes[i]!;
      // A dot inside a label must not look like the end of one.
      label += byte === 0x2e || byte <= 0x20 || byte >= 0x7f ? `\\${byte}` : String.fromCharCode(byte);
    }
    labels.push(label.toLowerCase());
    from += size + 1;
  }
}

/** A message with exactly one question, which is what everybody sends. */
export function parseDns(bytes: Uint8Array): DnsMessage | undefined {
  if (bytes.length < DNS_HEADER_BYTES || get16(bytes, 4) !== 1) return undefined;
  const flags = get16(bytes, 2);
  const named = readName(bytes, DNS_HEADER_BYTES);
  if (!named || named.end + 4 > bytes.length) return undefined;
  const questionEnd = named.end + 4;
  const answers: DnsRecord[] = [];
  let at = questionEnd;
  for (let left = get16(bytes, 6); left > 0; left--) {
    const owner = readName(bytes, at);
    if (!owner || owner.end + 10 > bytes.length) return undefined;
    const dataAt = owner.end + 10;
    const length = get16(bytes, owner.end + 8);
    if (dataAt + length > bytes.length) return undefined;
    answers.push({
      name: owner.name,
      type: get16(bytes, owner.end),
      ttlSeconds: get32(bytes, owner.end + 4),
      data: bytes.slice(dataAt, dataAt + length),
    });
    at = dataAt + length;
  }
  return {
    id: get16(bytes, 0),
    isResponse: (flags & 0x8000) !== 0,
    isTruncated: (flags & 0x0200) !== 0,
    code: flags & 15,
    question: { name: named.name, type: get16(bytes, named.end), class: get16(bytes, named.end + 2) },
    questionEnd,
    answers,
  };
}

function writeName(name: string): number[] {
  const bytes: number[] = [];
  for (const label of name === '' ? [] : name.split('.')) {
    bytes.push(label.length, ...Array.from(label, character => character.charCodeAt(0)));
  }
  return [...bytes, 0];
}

export function dnsQuery(id: number, name: string, type: number): Uint8Array {
  const header = new Uint8Array(DNS_HEADER_BYTES);
  put16(header, 0, id);
  put16(header, 2, 0x0100);
  put16(header, 4, 1);
  return Uint8Array.of(...header, ...writeName(name), 0, type, 0, CLASS_IN);
}

/** An answer of our own to `query`: a code alone, or with addresses. */
export function dnsAnswer(
  query: Uint8Array,
  parsed: DnsMessage,
  code: number,
  records: readonly { readonly type: number; readonly ttlSeconds: number; readonly data: Uint8Array }[] = [],
): Uint8Array {
  const size = records.reduce((sum, record) => sum + 12 + record.data.length, parsed.questionEnd);
  const bytes = new Uint8Array(size);
  bytes.set(query.subarray(0, parsed.questionEnd));
  // Response, recursion desired as asked, recursion available.
  put16(bytes, 2, 0x8080 | (get16(query, 2) & 0x7900) | code);
  put16(bytes, 4, 1);
  put16(bytes, 6, records.length);
  put16(bytes, 8, 0);
  put16(bytes, 10, 0);
  let at = parsed.questionEnd;
  for (const { type, ttlSeconds, data } of records) {
    put16(bytes, at, 0xc000 | DNS_HEADER_BYTES);
    put16(bytes, at + 2, type);
    put16(bytes, at + 4, CLASS_IN);
    put16(bytes, at + 6, ttlSeconds >>> 16);
    put16(bytes, at + 8, ttlSeconds & 0xffff);
    put16(bytes, at + 10, data.length);
    bytes.set(data, at + 12);
    at += 12 + data.length;
  }
  return bytes;
}

/** Does a question's answer depend on a name that a policy speaks of? A reverse look-up's does not. */
export const isReverseName = (name: string): boolean => /\.(?:in-addr|ip6)\.arpa$/.test(name);

/** The address that `4.3.2.1.in-addr.arpa` and its like in IPv6 ask for; undefined if it is not that. */
export function reverseAddress(name: string): Uint8Array | undefined {
  const labels = name.split('.').slice(0, -2).reverse();
  if (name.endsWith('.in-addr.arpa')) {
    if (labels.length !== 4 || !labels.every(label => /^\d{1,3}$/.test(label) && Number(label) < 256))
      return undefined;
    return Uint8Array.from(labels, Number);
  }
  if (labels.length !== 32 || !labels.every(label => /^[0-9a-f]$/.test(label))) return undefined;
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(labels[2 * i]! + labels[2 * i + 1]!, 16));
}
