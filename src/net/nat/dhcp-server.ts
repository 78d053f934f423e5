/** Gives every guest its address by DHCP: the same for as long as the network exists, by its MAC address. */
import type { IpAddress, MacAddress } from '../packet/address.ts';
import { formatMac } from '../packet/address.ts';
import { equalBytes } from '../packet/bytes.ts';
import { DhcpOption, DhcpType, dhcpReply, parseDhcpRequest } from '../packet/dhcp.ts';
import { GUESTS_MAX, type NatAddresses } from './addresses.ts';

const LEASE_SECONDS = 86_400;
const encoder = new TextEncoder();

const u32 = (value: number): Uint8Array =>
  Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);

export interface DhcpAnswer {
  readonly message: Uint8Array;
  /** Where to: the client cannot be asked for by ARP yet. */
  readonly clientMac: MacAddress;
}

export class DhcpServer {
  readonly #addresses: NatAddresses;
  readonly #mtu: number;
  readonly #leases = new Map<string, IpAddress>();

  constructor(addresses: NatAddresses, mtu: number) {
    this.#addresses = addresses;
    this.#mtu = mtu;
  }

  /** The address of a guest, also when it never asks for it; undefined when there are no more. */
  lease(mac: MacAddress): IpAddress | undefined {
    const key = formatMac(mac);
    const known = this.#leases.get(key);
    if (known || this.#leases.size >= GUESTS_MAX) return known;
    const address = this.#addresses.guest(this.#leases.size);
    this.#leases.set(key, address);
    return address;
  }

  receive(bytes: Uint8Array): DhcpAnswer | undefined {
    const request = parseDhcpRequest(bytes);
    if (!request) return undefined;
    const { clientMac } = request;
    const address = this.lease(clientMac);
    if (!address) return undefined;
    const { gateway, nameserver } = this.#addresses;
    const server = request.options.get(DhcpOption.serverId);
    if (server && !equalBytes(server, gateway)) return undefined;
    const answer = (type: number, yours: IpAddress, options: [number, Uint8Array][]): DhcpAnswer => ({
      clientMac,
      message: dhcpReply(request, yours, gateway, [
        [DhcpOption.messageType, Uint8Array.of(type)],
        [DhcpOption.serverId, gateway],
        ...options,
      ]),
    });
    const facts: [number, Uint8Array][] = [
      [DhcpOption.subnetMask, Uint8Array.of(255, 255, 255, 0)],
      [DhcpOption.router, gateway],
      [DhcpOption.nameserver, nameserver],
      [DhcpOption.mtu, Uint8Array.of(this.#mtu >> 8, this.#mtu & 255)],
      [DhcpOption.domainName, encoder.encode('domus.internal')],
    ];
    const leased: [number, Uint8Array][] = [[DhcpOption.leaseTime, u32(LEASE_SECONDS)], ...facts];
    switch (request.type) {
      case DhcpType.discover:
        return answer(DhcpType.offer, address, leased);
      case DhcpType.request: {
        const asked = request.options.get(DhcpOption.requestedAddress) ?? request.clientAddress;
        const isRight = equalBytes(asked, address);
        return isRight ? answer(DhcpType.ack, address, leased) : answer(DhcpType.nak, new Uint8Array(4), []);
      }
      case DhcpType.inform:
        return answer(DhcpType.ack, new Uint8Array(4), facts);
      default:
        return undefined;
    }
  }
}
