/**
 * The private network behind a NAT: 10.0.2.0/24 and fd00:646f:6d75:73::/64 unless told otherwise, with the gateway at 2 and
 * the name server at 3 in both, guests from 15 on. The gateway's own addresses also stand for the host.
 */
import { DomusError } from '../../base/errors.ts';
import { type Cidr, type IpAddress, ip, isWithin, type MacAddress, parseCidr } from '../packet/address.ts';
import { equalBytes } from '../packet/bytes.ts';

export const NETWORK_DEFAULT = '10.0.2.0/24';
const NETWORK6_DEFAULT = 'fd00:646f:6d75:73::/64';
/** Locally administered: 52:54:00 as virtual network cards have it, then ours. */
export const GATEWAY_MAC: MacAddress = Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x02);
const LINK_LOCAL6 = parseCidr('fe80::/10')!;
const GATEWAY = 2;
const NAMESERVER = 3;
export const FIRST_GUEST = 15;
export const GUESTS_MAX = 200;

export interface NatAddresses {
  readonly network: Cidr;
  readonly network6: Cidr;
  /** Where its own addresses are, and nothing of the outside's. */
  readonly networks: readonly Cidr[];
  readonly gateway: IpAddress;
  readonly gateway6: IpAddress;
  readonly linkLocal6: IpAddress;
  readonly nameserver: IpAddress;
  readonly nameserver6: IpAddress;
  readonly mac: MacAddress;
  /** Guest number `index`, from 0. */
  guest(index: number): IpAddress;
}

/** @throws DomusError E_NET_ADDRESS */
export function natAddresses(networkText = NETWORK_DEFAULT): NatAddresses {
  const network = parseCidr(networkText);
  if (network?.address.length !== 4 || network.prefixBits !== 24) {
    throw new DomusError(
      'E_NET_ADDRESS',
      `${networkText} cannot be the network behind a NAT`,
      `choose an IPv4 network of 24 bits, such as ${NETWORK_DEFAULT}`,
    );
  }
  const network6 = parseCidr(NETWORK6_DEFAULT)!;
  const host = (range: Cidr, number: number): IpAddress => {
    const address = range.address.slice();
    address[address.length - 1] = number;
    return address;
  };
  return {
    network,
    network6,
    networks: [network, network6, LINK_LOCAL6],
    gateway: host(network, GATEWAY),
    gateway6: host(network6, GATEWAY),
    linkLocal6: ip('fe80::2'),
    nameserver: host(network, NAMESERVER),
    nameserver6: host(network6, NAMESERVER),
    mac: GATEWAY_MAC,
    guest: index => host(network, FIRST_GUEST + index),
  };
}

export const isGateway = (addresses: NatAddresses, address: IpAddress): boolean =>
  equalBytes(address, addresses.gateway) ||
  equalBytes(address, addresses.gateway6) ||
  equalBytes(address, addresses.linkLocal6);

export const isNameserver = (addresses: NatAddresses, address: IpAddress): boolean =>
  equalBytes(address, addresses.nameserver) || equalBytes(address, addresses.nameserver6);

/** Whether an address belongs to the private network: guests reach each other without the gateway. */
export const isInside = (addresses: NatAddresses, address: IpAddress): boolean =>
  isWithin(address, addresses.network) || isWithin(address, addresses.network6);

const LOOPBACK = ip('127.0.0.1');
const LOOPBACK6 = ip('::1');

/** Where a guest's packet really goes: what is sent to the gateway is meant for the host. */
export function outsideAddress(addresses: NatAddresses, address: IpAddress): IpAddress {
  if (!isGateway(addresses, address)) return address;
  return address.length === 4 ? LOOPBACK : LOOPBACK6;
}
