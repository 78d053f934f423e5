/**
 * Networking without privileges: a router on a guest's cable that carries on the guest's connections with the host's own
 * sockets. It answers ARP, neighbour discovery, DHCP, pings to itself, and names; it knows no other way outside than TCP
 * and UDP, so an echo request to the outside is answered as prohibited.
 *
 * Everything that arrives is a guest's and checked: a malformed packet is dropped, what is kept for a guest is bounded.
 */
import type { Peer } from '../../platform/sockets.ts';
import { FRAME_BYTES_MAX, type Frame, plainFrame, type Station } from '../frame.ts';
import {
  BROADCAST_MAC,
  type IpAddress,
  ip,
  isWithin,
  type MacAddress,
  parseCidr,
} from '../packet/address.ts';
import { equalBytes, put16 } from '../packet/bytes.ts';
import { checksum, fold, pseudoSum, sumWords, writeTransportChecksum } from '../packet/checksum.ts';
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT } from '../packet/dhcp.ts';
import { DNS_PORT } from '../packet/dns.ts';
import { ETHERNET_BYTES, EtherType, ethernetHeader, etherType, sourceMac } from '../packet/ethernet.ts';
import {
  echoReplyTo,
  type IcmpMessage,
  icmpPayload,
  icmpProtocol,
  parseIcmp,
  type UnreachableReason,
  unreachableMessage,
} from '../packet/icmp.ts';
import { type IpPacket, ipHeaderBytes, Protocol, parseIpPacket, writeIpHeader } from '../packet/ip.ts';
import { ipPackets, Reassembly } from '../packet/reassembly.ts';
import { TCP_CHECKSUM_OFFSET } from '../packet/tcp.ts';
import { parseUdp, UDP_BYTES, UDP_CHECKSUM_OFFSET, writeUdpHeader } from '../packet/udp.ts';
import { EgressPolicy, type PolicyOptions } from '../policy.ts';
import { isGateway, isInside, isNameserver, type NatAddresses, natAddresses } from './addresses.ts';
import { Budget } from './budget.ts';
import { isClosed } from './closed.ts';
import { DhcpServer } from './dhcp-server.ts';
import { DnsForwarder } from './dns-forwarder.ts';
import { type OpenForward, openForward, type PortForward } from './forwards.ts';
import { Neighbours } from './neighbours.ts';
import { TcpRelay } from './tcp-relay.ts';
import { UdpRelay } from './udp-relay.ts';
import type { NatEnvironment, NatWiring, Outlet } from './wiring.ts';

export const MTU_DEFAULT = 1500;

export interface NatOptions extends PolicyOptions {
  /** The private network; see addresses.ts. */
  readonly network?: string;
  readonly mtu?: number;
  /** Name servers in place of the host's. */
  readonly nameservers?: readonly Peer[];
}

export class Nat implements Station {
  readonly addresses: NatAddresses;
  readonly policy: EgressPolicy;
  readonly #environment: NatEnvironment;
  readonly #mtu: number;
  readonly #tcp: TcpRelay;
  readonly #udp: UdpRelay;
  readonly #dns: DnsForwarder;
  readonly #dhcp: DhcpServer;
  readonly #neighbours: Neighbours;
  readonly #reassembly: Reassembly;
  readonly #forwards = new Set<OpenForward>();
  #cable: Station | undefined;
  #nextId = 1;
  /** For one large segment after the other; whoever gets it has it only for the call. Made for the first. */
  #room: Uint8Array | undefined;
  #isLent = false;
  #isClosed = false;

  /** @throws DomusError E_NET_RULE, E_NET_ADDRESS */
  constructor(environment: NatEnvironment, options: NatOptions = {}) {
    this.#environment = environment;
    this.#mtu = options.mtu ?? MTU_DEFAULT;
    this.addresses = natAddresses(options.network);
    const nowNs = () => environment.clock.monotonicNs();
    this.policy = new EgressPolicy(options, nowNs);
    const wiring: NatWiring = {
      ...environment,
      addresses: this.addresses,
      policy: this.policy,
      budget: new Budget(),
      mtu: this.#mtu,
      outlet: this.#outlet(),
    };
    this.#dns = new DnsForwarder(wiring, () => options.nameservers ?? environment.sockets.nameservers());
    this.#tcp = new TcpRelay(wiring, (address, port) =>
      this.#isForNameserver(address, port) ? events => this.#dns.stream(events) : undefined,
    );
    this.#udp = new UdpRelay(wiring);
    this.#dhcp = new DhcpServer(this.addresses, this.#mtu);
    this.#reassembly = new Reassembly(nowNs);
    this.#neighbours = new Neighbours(this.addresses, this.#mtu, {
      sendFrame: bytes => this.#send(plainFrame(bytes)),
      sendIcmpv6: (source, destination, mac, message, hops) => {
        const payload = icmpPayload(message, source, destination);
        const header = { source, destination, protocol: Protocol.icmpv6, hops };
        for (const packet of ipPackets(header, payload, this.#mtu, 0)) this.#sendPacket(mac, packet);
      },
    });
  }

  /** Plug the other end of the cable in. */
  connect(cable: Station): void {
    this.#cable = cable;
  }

  /** The address that a guest has, whether it asks for one or is told. */
  lease(mac: MacAddress): IpAddress | undefined {
    return this.#dhcp.lease(mac);
  }

  /** Open a port of the host's that leads to a guest. @throws DomusError E_NET_FORWARD, E_NET_LISTEN */
  async forward(forward: PortForward, guest: IpAddress): Promise<OpenForward> {
    const { sockets } = this.#environment;
    const open = await openForward(forward, guest, { sockets, tcp: this.#tcp, udp: this.#udp });
    if (this.#isClosed) open.close();
    else this.#forwards.add(open);
    return open;
  }

  /** Connections and UDP ports that are open. */
  get nrFlows(): number {
    return this.#tcp.nrFlows + this.#udp.nrFlows;
  }

  /** End everything: connections are reset, ports given back. */
  close(): void {
    if (this.#isClosed) return;
    for (const open of this.#forwards) open.close();
    this.#tcp.close();
    this.#udp.close();
    this.#dns.close();
    this.#isClosed = true;
    this.#cable = undefined;
  }

  // ---- from the guests ----

  receive(frame: Frame): void {
    const { bytes } = frame;
    if (this.#isClosed || bytes.length < ETHERNET_BYTES) return;
    // A switch floods what it cannot place: only what is meant for the router, or for all, is.
    const isForUs = equalBytes(bytes.subarray(0, 6), this.addresses.mac) || (bytes[0]! & 1) !== 0;
    if (!isForUs) return;
    const type = etherType(bytes);
    if (type === EtherType.arp) {
      this.#neighbours.receiveArp(bytes);
      return;
    }
    if (type !== EtherType.ipv4 && type !== EtherType.ipv6) return;
    let packet = parseIpPacket(bytes, ETHERNET_BYTES);
    if (!packet || (packet.version === 4) !== (type === EtherType.ipv4)) return;
    const mac = sourceMac(bytes);
    if (packet.fragment) {
      const whole = this.#reassembly.add(packet);
      if (!whole) return;
      packet = asPacket(whole);
      if (!packet) return;
    }
    if (!frame.lacksChecksum && !hasGoodChecksum(packet)) return;
    this.#dispatch(packet, mac);
  }

  #dispatch(packet: IpPacket, mac: MacAddress): void {
    const { destination, protocol } = packet;
    if (protocol === Protocol.udp && this.#isDhcp(packet)) return;
    const isMulticast =
      packet.version === 4
        ? destination[0]! >= 224 || (destination[3] === 255 && isWithin(destination, this.addresses.network))
        : destination[0] === 0xff;
    if (!isMulticast || packet.version === 6) this.#neighbours.learn(packet.source, mac);
    if (protocol === icmpProtocol(destination)) {
      this.#icmp(packet, mac);
      return;
    }
    if (isMulticast || !this.#isGuest(packet.source)) return;
    if (protocol === Protocol.tcp) this.#tcp.receive(packet);
    else if (protocol === Protocol.udp) this.#receiveUdp(packet);
    else this.#outlet().sendUnreachable(packet, 'prohibited');
  }

  #isDhcp(packet: IpPacket): boolean {
    if (packet.version !== 4) return false;
    const datagram = parseUdp(packet.bytes, packet.payloadStart, packet.payloadEnd);
    if (datagram?.destinationPort !== DHCP_SERVER_PORT) return false;
    const answer = this.#dhcp.receive(packet.bytes.subarray(datagram.dataStart, datagram.dataEnd));
    if (answer) {
      const payload = udpPayload(
        this.addresses.gateway,
        DHCP_SERVER_PORT,
        BROADCAST_IP,
        DHCP_CLIENT_PORT,
        answer.message,
      );
      const header = { source: this.addresses.gateway, destination: BROADCAST_IP, protocol: Protocol.udp };
      // To everybody: a client without an address may be unable to take what is sent to one.
      for (const bytes of ipPackets(header, payload, this.#mtu, 0)) this.#sendPacket(BROADCAST_MAC, bytes);
    }
    return true;
  }

  #icmp(packet: IpPacket, mac: MacAddress): void {
    const message = parseIcmp(packet);
    if (!message) return;
    if (packet.version === 6 && this.#neighbours.receiveIcmpv6(packet, message, mac)) return;
    const { source, destination } = packet;
    const reply = echoReplyTo(message, packet.version);
    if (!reply || !this.#isGuest(source)) return;
    const isOurs = isGateway(this.addresses, destination) || isNameserver(this.addresses, destination);
    if (isOurs && !isClosed(this.policy, this.addresses, destination)) {
      this.#sendIcmp(destination, source, reply);
    } else if (destination[0] !== 0xff) {
      this.#outlet().sendUnreachable(packet, 'prohibited');
    }
  }

  /** An address that can be a guest's own: nobody is answered under another one. */
  #isGuest(source: IpAddress): boolean {
    const { addresses } = this;
    if (isGateway(addresses, source) || isNameserver(addresses, source)) return false;
    return isInside(addresses, source) || isWithin(source, LINK_LOCAL6);
  }

  #isForNameserver(address: IpAddress, port: number): boolean {
    if (port !== DNS_PORT) return false;
    // With names in the policy, other name servers are asked through ours, or they would tell what it hides.
    return (
      isNameserver(this.addresses, address) || isGateway(this.addresses, address) || this.policy.hasNames
    );
  }

  #receiveUdp(packet: IpPacket): void {
    const datagram = parseUdp(packet.bytes, packet.payloadStart, packet.payloadEnd);
    if (!datagram) return;
    const { source, destination } = packet;
    if (this.#isForNameserver(destination, datagram.destinationPort)) {
      if (isClosed(this.policy, this.addresses, destination, DNS_PORT)) {
        this.#outlet().sendUnreachable(packet, 'prohibited');
        return;
      }
      const query = packet.bytes.slice(datagram.dataStart, datagram.dataEnd);
      this.#dns.ask(query, 'udp', reply => {
        this.#outlet().sendUdp(destination, datagram.destinationPort, source, datagram.sourcePort, reply);
      });
      return;
    }
    if (isNameserver(this.addresses, destination)) this.#outlet().sendUnreachable(packet, 'port');
    else this.#udp.receive(packet);
  }

  // ---- to the guests ----

  #sendIcmp(source: IpAddress, destination: IpAddress, message: IcmpMessage): void {
    this.#outlet().sendPayload(
      source,
      destination,
      icmpProtocol(destination),
      icmpPayload(message, source, destination),
    );
  }

  #send(frame: Frame): void {
    this.#cable?.receive(frame);
  }

  #sendPacket(mac: MacAddress, packet: Uint8Array): void {
    const type = packet[0]! >> 4 === 4 ? EtherType.ipv4 : EtherType.ipv6;
    const bytes = new Uint8Array(ETHERNET_BYTES + packet.length);
    bytes.set(ethernetHeader(mac, this.addresses.mac, type));
    bytes.set(packet, ETHERNET_BYTES);
    this.#send(plainFrame(bytes));
  }

  #cachedOutlet: Outlet | undefined;

  #outlet(): Outlet {
    this.#cachedOutlet ??= {
      sendPayload: (source, destination, protocol, payload) => {
        const id = this.#nextId++;
        this.#neighbours.resolve(destination, mac => {
          const header = { source, destination, protocol };
          for (const packet of ipPackets(header, payload, this.#mtu, id)) this.#sendPacket(mac, packet);
        });
      },
      sendTcp: (source, destination, segmentBytes, mss, fill) =>
        this.#sendTcp(source, destination, segmentBytes, mss, fill),
      sendUdp: (source, sourcePort, destination, destinationPort, data) => {
        const payload = udpPayload(source, sourcePort, destination, destinationPort, data);
        this.#outlet().sendPayload(source, destination, Protocol.udp, payload);
      },
      sendUnreachable: (packet, reason) => this.#unreachable(packet, reason),
    };
    return this.#cachedOutlet;
  }

  /** The checksum is left to the other end of the cable, and so is the cutting of what is too long. */
  #sendTcp(
    source: IpAddress,
    destination: IpAddress,
    segmentBytes: number,
    mss: number,
    fill: (bytes: Uint8Array, at: number) => void,
  ): void {
    const headerBytes = ipHeaderBytes(destination);
    const at = ETHERNET_BYTES + headerBytes;
    const mac = this.#neighbours.find(destination);
    // Not for a segment that the sending of this one leads to.
    const lent = mac && !this.#isLent ? this.#ownRoom() : undefined;
    if (lent) this.#isLent = true;
    const bytes = lent?.subarray(0, at + segmentBytes) ?? new Uint8Array(at + segmentBytes);
    const header = { source, destination, protocol: Protocol.tcp, id: this.#nextId++ & 0xffff };
    const addressSum = writeIpHeader(bytes, ETHERNET_BYTES, header, segmentBytes);
    fill(bytes, at);
    put16(bytes, at + TCP_CHECKSUM_OFFSET, fold(pseudoSum(addressSum, Protocol.tcp, segmentBytes)));
    const type = destination.length === 4 ? EtherType.ipv4 : EtherType.ipv6;
    const send = (to: MacAddress) => {
      bytes.set(to, 0);
      bytes.set(this.addresses.mac, 6);
      put16(bytes, 12, type);
      this.#send({ bytes, lacksChecksum: true, segmentBytes: mss, isLent: lent !== undefined });
    };
    if (mac) send(mac);
    else this.#neighbours.resolve(destination, send);
    if (lent) this.#isLent = false;
  }

  #ownRoom(): Uint8Array {
    this.#room ??= new Uint8Array(FRAME_BYTES_MAX);
    return this.#room;
  }

  #unreachable(packet: IpPacket, reason: UnreachableReason): void {
    const source = packet.version === 4 ? this.addresses.gateway : this.addresses.gateway6;
    if (!this.#isGuest(packet.source)) return;
    this.#sendIcmp(source, packet.source, unreachableMessage(packet, reason));
  }
}

const BROADCAST_IP = ip('255.255.255.255');
const LINK_LOCAL6 = parseCidr('fe80::/10')!;

/** A UDP payload of an IP packet with its checksum. */
function udpPayload(
  source: IpAddress,
  sourcePort: number,
  destination: IpAddress,
  destinationPort: number,
  data: Uint8Array,
): Uint8Array {
  const payload = new Uint8Array(UDP_BYTES + data.length);
  writeUdpHeader(payload, 0, sourcePort, destinationPort, data.length);
  payload.set(data, UDP_BYTES);
  const addressSum = sumWords(source, 0, source.length) + sumWords(destination, 0, destination.length);
  writeTransportChecksum(payload, 0, payload.length, UDP_CHECKSUM_OFFSET, Protocol.udp, addressSum);
  return payload;
}

/** A packet whose fragments were put together. */
function asPacket(whole: {
  source: IpAddress;
  destination: IpAddress;
  protocol: number;
  payload: Uint8Array;
}): IpPacket | undefined {
  const { source, destination, protocol, payload } = whole;
  const headerBytes = ipHeaderBytes(source);
  if (headerBytes + payload.length > 65_535) return undefined;
  const bytes = new Uint8Array(headerBytes + payload.length);
  writeIpHeader(bytes, 0, { source, destination, protocol }, payload.length);
  bytes.set(payload, headerBytes);
  return parseIpPacket(bytes, 0);
}

/** TCP always has one, UDP over IPv4 perhaps. */
function hasGoodChecksum(packet: IpPacket): boolean {
  const { bytes, payloadStart, payloadEnd, protocol, addressSum } = packet;
  const length = payloadEnd - payloadStart;
  if (protocol === Protocol.udp) {
    const datagram = parseUdp(bytes, payloadStart, payloadEnd);
    if (!datagram) return false;
    if (!datagram.hasChecksum) return packet.version === 4;
    const end = datagram.dataEnd;
    return checksum(bytes, payloadStart, end, pseudoSum(addressSum, protocol, end - payloadStart)) === 0;
  }
  if (protocol !== Protocol.tcp) return true;
  return checksum(bytes, payloadStart, payloadEnd, pseudoSum(addressSum, protocol, length)) === 0;
}
