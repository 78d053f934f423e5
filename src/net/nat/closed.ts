/** Rules about the router itself: the gateway, and the name server, under all addresses that they have. */
import type { IpAddress } from '../packet/address.ts';
import { DNS_PORT } from '../packet/dns.ts';
import type { EgressPolicy } from '../policy.ts';
import { isGateway, isNameserver, type NatAddresses } from './addresses.ts';

/** Whether rules keep the gateway from a guest. */
export function isGatewayClosed(policy: EgressPolicy, addresses: NatAddresses, to: IpAddress): boolean {
  const { gateway, gateway6, linkLocal6, networks } = addresses;
  return policy.denies(to) || [gateway, gateway6, linkLocal6].some(own => policy.denies(own, networks));
}

/**
 * Whether rules keep a guest from what the router offers itself at an address. Names have rules of their own: their server is closed by a
 * rule for an address or range inside of the guest's network, and not by one for a wider range, which is about what lies outside.
 * @param port where it is asked; none for a ping
 */
export function isClosed(
  policy: EgressPolicy,
  addresses: NatAddresses,
  to: IpAddress,
  port?: number,
): boolean {
  if (isGateway(addresses, to)) return isGatewayClosed(policy, addresses, to);
  if (!isNameserver(addresses, to)) return false;
  const { nameserver, nameserver6, networks } = addresses;
  if (port !== DNS_PORT && policy.denies(to)) return true;
  return [nameserver, nameserver6].some(own => policy.denies(own, networks));
}
