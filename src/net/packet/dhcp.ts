/** DHCP messages (RFC 2131, 2132), as a server needs them. */
import type { IpAddress } from './address.ts';
import { get32, put16, put32 } from './bytes.ts';

export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;
const FIXED_BYTES = 236;
const COOKIE = 0x6382_5363;
/** Clients may drop what is shorter (RFC 1542, 2.1). */
const REPLY_BYTES_MIN = 300;

export const DhcpType = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;

export const DhcpOption = {
  subnetMask: 1,
  router: 3,
  nameserver: 6,
  hostname: 12,
  domainName: 15,
  mtu: 26,
  requestedAddress: 50,
  leaseTime: 51,
  messageType: 53,
  serverId: 54,
  end: 255,
} as const;

export interface DhcpRequest {
  readonly transaction: number;
  readonly flags: number;
  readonly clientAddress: IpAddress;
  readonly clientMac: Uint8Array;
  /** Where the fixed part of the request says so. */
  readonly relayAddress: IpAddress;
  readonly type: number;
  readonly options: ReadonlyMap<number, Uint8Array>;
}

/** A client's message; undefined if it is none. */
export function parseDhcpRequest(bytes: Uint8Array): DhcpRequest | undefined {
  if (bytes.length < FIXED_BYTES + 4 || bytes[0] !== 1 || bytes[1] !== 1 || bytes[2] !== 6) return undefined;
  if (get32(bytes, FIXED_BYTES) !== COOKIE) return undefined;
  const options = new Map<number, Uint8Array>();
  for (let at = FIXED_BYTES + 4; at < bytes.length && bytes[at] !== DhcpOption.end; ) {
    if (bytes[at] === 0) {
      at += 1;
      continue;
    }
    if (at + 2 > bytes.length || at + 2 + bytes[at + 1]! > bytes.length) return undefined;
    options.set(bytes[at]!, bytes.slice(at + 2, at + 2 + bytes[at + 1]!));
    at += 2 + bytes[at + 1]!;
  }
  const type = options.get(DhcpOption.messageType);
  if (type?.length !== 1) return undefined;
  return {
    transaction: get32(bytes, 4),
    flags: (bytes[10]! << 8) | bytes[11]!,
    clientAddress: bytes.slice(12, 16),
    relayAddress: bytes.slice(24, 28),
    clientMac: bytes.slice(28, 34),
    type: type[0]!,
    options,
  };
}

export function dhcpReply(
  request: DhcpRequest,
  yourAddress: IpAddress,
  serverAddress: IpAddress,
  options: readonly (readonly [code: number, value: Uint8Array])[],
): Uint8Array {
  const optionBytes = options.reduce((sum, [, value]) => sum + 2 + value.length, 0);
  const bytes = new Uint8Array(Math.max(REPLY_BYTES_MIN, FIXED_BYTES + 4 + optionBytes + 1));
  bytes.set([2, 1, 6, 0]);
  put32(bytes, 4, request.transaction);
  put16(bytes, 10, request.flags);
  bytes.set(request.clientAddress, 12);
  bytes.set(yourAddress, 16);
  bytes.set(serverAddress, 20);
  bytes.set(request.relayAddress, 24);
  bytes.set(request.clientMac, 28);
  put32(bytes, FIXED_BYTES, COOKIE);
  let at = FIXED_BYTES + 4;
  for (const [code, value] of options) {
    bytes[at] = code;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  }
  bytes[at] = DhcpOption.end;
  return bytes;
}
