/**
 * Who is who on the cable: answers ARP and neighbour discovery for the gateway's addresses, announces the router, and
 * remembers the guests' MAC addresses. A packet for a guest that was not heard of yet waits for its answer, a few at most.
 */
import { BROADCAST_MAC, formatIp, type IpAddress, type MacAddress, multicastMac } from '../packet/address.ts';
import { equalBytes } from '../packet/bytes.ts';
import { ArpOperation, arpFrame, parseArp } from '../packet/ethernet.ts';
import {
  ALL_NODES,
  type IcmpMessage,
  Icmpv6,
  linkLayerOption,
  neighbourAdvertisement,
  neighbourTarget,
  routerAdvertisement,
} from '../packet/icmp.ts';
import type { IpPacket } from '../packet/ip.ts';
import { isGateway, isInside, isNameserver, type NatAddresses } from './addresses.ts';

const NEIGHBOURS_MAX = 512;
/** Guests that are asked for, and packets that wait for each. */
const UNRESOLVED_MAX = 32;
const WAITING_MAX = 16;

export interface NeighbourOutlet {
  sendFrame(bytes: Uint8Array): void;
  /** An ICMPv6 message to a known MAC address. */
  sendIcmpv6(
    source: IpAddress,
    destination: IpAddress,
    mac: MacAddress,
    message: IcmpMessage,
    hops: number,
  ): void;
}

export class Neighbours {
  readonly #addresses: NatAddresses;
  readonly #mtu: number;
  readonly #outlet: NeighbourOutlet;
  readonly #known = new Map<string, MacAddress>();
  readonly #waiting = new Map<string, ((mac: MacAddress) => void)[]>();

  constructor(addresses: NatAddresses, mtu: number, outlet: NeighbourOutlet) {
    this.#addresses = addresses;
    this.#mtu = mtu;
    this.#outlet = outlet;
  }

  #isOurs(address: IpAddress): boolean {
    return isGateway(this.#addresses, address) || isNameserver(this.#addresses, address);
  }

  /** A guest was heard under this address. */
  learn(address: IpAddress, mac: MacAddress): void {
    const isLinkLocal = address.length === 16 && address[0] === 0xfe && (address[1]! & 0xc0) === 0x80;
    if ((mac[0]! & 1) !== 0 || this.#isOurs(address)) return;
    if (!isLinkLocal && !isInside(this.#addresses, address)) return;
    const key = formatIp(address);
    const before = this.#known.get(key);
    if (before && equalBytes(before, mac)) return;
    this.#known.delete(key);
    this.#known.set(key, mac.slice());
    if (this.#known.size > NEIGHBOURS_MAX) this.#known.delete(this.#known.keys().next().value!);
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    for (const send of waiting ?? []) send(mac);
  }

  /** The MAC address of a guest that has been heard. */
  find(address: IpAddress): MacAddress | undefined {
    return this.#known.get(formatIp(address));
  }

  /** Call `send` with the MAC address of a guest, now or once it has answered. */
  resolve(address: IpAddress, send: (mac: MacAddress) => void): void {
    const key = formatIp(address);
    const known = this.#known.get(key);
    if (known) {
      send(known);
      return;
    }
    const waiting = this.#waiting.get(key) ?? [];
    if (this.#waiting.size >= UNRESOLVED_MAX && waiting.length === 0) return;
    waiting.push(send);
    if (waiting.length > WAITING_MAX) waiting.shift();
    this.#waiting.set(key, waiting);
    const { mac, gateway, linkLocal6 } = this.#addresses;
    if (address.length === 4) {
      const target = { mac: new Uint8Array(6), ip: address };
      this.#outlet.sendFrame(arpFrame(BROADCAST_MAC, ArpOperation.request, { mac, ip: gateway }, target));
      return;
    }
    const solicitation = new Uint8Array(28);
    solicitation.set(address, 4);
    solicitation.set([1, 1, ...mac], 20);
    const message = { type: Icmpv6.neighbourSolicitation, code: 0, body: solicitation };
    const group = solicitedNode(address);
    this.#outlet.sendIcmpv6(linkLocal6, group, multicastMac(group), message, 255);
  }

  receiveArp(frame: Uint8Array): void {
    const arp = parseArp(frame);
    if (!arp) return;
    this.learn(arp.senderIp, arp.senderMac);
    if (arp.operation !== ArpOperation.request || !this.#isOurs(arp.targetIp)) return;
    const sender = { mac: this.#addresses.mac, ip: arp.targetIp };
    const target = { mac: arp.senderMac, ip: arp.senderIp };
    this.#outlet.sendFrame(arpFrame(arp.senderMac, ArpOperation.reply, sender, target));
  }

  /** Neighbour and router discovery. False if the message is something else. */
  receiveIcmpv6(packet: IpPacket, message: IcmpMessage, mac: MacAddress): boolean {
    const { source } = packet;
    const isUnspecified = source.every(byte => byte === 0);
    switch (message.type) {
      case Icmpv6.neighbourSolicitation: {
        const target = neighbourTarget(message);
        // Only what comes from this cable has all its hops (RFC 4861, 7.1.1).
        if (!target || packet.hops !== 255) return true;
        const told = linkLayerOption(message, 20, 1);
        if (told && !isUnspecified) this.learn(source, told);
        if (!this.#isOurs(target)) return true;
        const to = isUnspecified ? ALL_NODES : source;
        const advertisement = neighbourAdvertisement(target, this.#addresses.mac, !isUnspecified);
        this.#outlet.sendIcmpv6(target, to, isUnspecified ? multicastMac(to) : mac, advertisement, 255);
        return true;
      }
      case Icmpv6.neighbourAdvertisement: {
        const target = neighbourTarget(message);
        const told = linkLayerOption(message, 20, 2);
        if (target && told && packet.hops === 255) this.learn(target, told);
        return true;
      }
      case Icmpv6.routerSolicitation:
        if (packet.hops === 255) this.advertiseRouter(isUnspecified ? undefined : { source, mac });
        return true;
      case Icmpv6.routerAdvertisement:
        return true;
      default:
        return false;
    }
  }

  /** Tell one guest, or all, that there is a router, which prefix to use and where names are resolved. */
  advertiseRouter(to?: { source: IpAddress; mac: MacAddress }): void {
    const { mac, network6, nameserver6, linkLocal6 } = this.#addresses;
    const message = routerAdvertisement({
      mac,
      prefix: network6.address,
      nameserver: nameserver6,
      mtu: this.#mtu,
    });
    const destination = to?.source ?? ALL_NODES;
    this.#outlet.sendIcmpv6(linkLocal6, destination, to?.mac ?? multicastMac(ALL_NODES), message, 255);
  }
}

/** The multicast group in which an address is asked for (RFC 4291, 2.7.1). */
function solicitedNode(address: IpAddress): IpAddress {
  const group = new Uint8Array(16);
  group.set([0xff, 2]);
  group.set([1, 0xff], 11);
  group.set(address.subarray(13), 13);
  return group;
}
