/**
 * UDP between guests and the outside. Each port of a guest has one socket of the host's, whoever it talks to; only those
 * it has talked to may answer. Forwarded ports give each outside peer a port of the gateway's, so that the guest can
 * tell them apart and answer them.
 */
import type { DatagramSocket, Peer } from '../../platform/sockets.ts';
import { formatIp, type IpAddress, parseIp, withoutMapping } from '../packet/address.ts';
import { equalBytes } from '../packet/bytes.ts';
import type { IpPacket } from '../packet/ip.ts';
import { parseUdp } from '../packet/udp.ts';
import { isGateway, isInside, outsideAddress } from './addresses.ts';
import { isClosed } from './closed.ts';
import { flowKey, type NatWiring } from './wiring.ts';

const FLOWS_MAX = 1024;
const PEERS_MAX = 256;
/** Datagrams that wait for their socket to open. */
const WAITING_MAX = 32;
const IDLE_MS = 60_000;
const SWEEP_MS = 5000;
const FIRST_PORT = 32_768;
/** Room of the largest datagram. */
const DATAGRAM_BYTES_MAX = 65_507;

interface Flow {
  readonly guest: IpAddress;
  readonly guestPort: number;
  socket: DatagramSocket | undefined;
  waiting: { bytes: Uint8Array; to: Peer }[];
  /** Outside peers, and the address under which the guest knows each. */
  readonly peers: Map<string, IpAddress>;
  usedAtMs: number;
  isClosed: boolean;
}

/** An outside peer of a forwarded port. */
interface Visitor {
  readonly key: string;
  readonly port: number;
  readonly guest: IpAddress;
  readonly guestPort: number;
  readonly answer: (bytes: Uint8Array) => void;
  usedAtMs: number;
}

const peerKey = (address: IpAddress, port: number): string => `${formatIp(address)} ${port}`;
const portKey = (guest: IpAddress, guestPort: number, port: number): string =>
  `${formatIp(guest)} ${guestPort} ${port}`;

export class UdpRelay {
  readonly #wiring: NatWiring;
  readonly #flows = new Map<string, Flow>();
  readonly #visitors = new Map<string, Visitor>();
  readonly #visitorsByPort = new Map<string, Visitor>();
  readonly #stopSweeping: () => void;
  #nextPort = FIRST_PORT;

  constructor(wiring: NatWiring) {
    this.#wiring = wiring;
    this.#stopSweeping = wiring.timers.every(SWEEP_MS, () => this.#sweep());
  }

  get nrFlows(): number {
    return this.#flows.size;
  }

  close(): void {
    this.#stopSweeping();
    for (const [key, flow] of [...this.#flows]) this.#drop(key, flow);
  }

  #nowMs(): number {
    return this.#wiring.clock.monotonicNs() / 1e6;
  }

  receive(packet: IpPacket): void {
    const { addresses, policy, outlet } = this.#wiring;
    const datagram = parseUdp(packet.bytes, packet.payloadStart, packet.payloadEnd);
    if (!datagram || datagram.destinationPort === 0) return;
    const { source, destination } = packet;
    const data = packet.bytes.slice(datagram.dataStart, datagram.dataEnd);
    const { sourcePort, destinationPort } = datagram;
    const visitor =
      equalBytes(destination, addresses.gateway) &&
      this.#visitorsByPort.get(portKey(source, sourcePort, destinationPort));
    if (visitor) {
      visitor.usedAtMs = this.#nowMs();
      visitor.answer(data);
      return;
    }
    const target = outsideAddress(addresses, destination);
    if (isInside(addresses, destination) && !isGateway(addresses, destination)) {
      // Nobody of that address, or a broadcast; neither is answered.
      return;
    }
    if (!policy.allowsAddress(target) || isClosed(policy, addresses, destination, destinationPort)) {
      outlet.sendUnreachable(packet, 'prohibited');
      return;
    }
    const flow = this.#flowOf(source, sourcePort);
    flow.usedAtMs = this.#nowMs();
    const key = peerKey(target, destinationPort);
    flow.peers.delete(key);
    flow.peers.set(key, destination);
    if (flow.peers.size > PEERS_MAX) flow.peers.delete(flow.peers.keys().next().value!);
    const to = { address: formatIp(target), port: destinationPort };
    if (flow.socket) flow.socket.send(data, to);
    else if (flow.waiting.length < WAITING_MAX) flow.waiting.push({ bytes: data, to });
  }

  #flowOf(guest: IpAddress, guestPort: number): Flow {
    const key = flowKey(guest, guestPort, guest.subarray(0, 0), 0);
    const known = this.#flows.get(key);
    if (known) {
      // The order is that of use: the first one is the one to give up.
      this.#flows.delete(key);
      this.#flows.set(key, known);
      return known;
    }
    if (this.#flows.size >= FLOWS_MAX) {
      const [oldestKey, oldest] = this.#flows.entries().next().value!;
      this.#drop(oldestKey, oldest);
    }
    const flow: Flow = {
      guest,
      guestPort,
      socket: undefined,
      waiting: [],
      peers: new Map(),
      usedAtMs: 0,
      isClosed: false,
    };
    this.#flows.set(key, flow);
    void this.#openSocket(key, flow);
    return flow;
  }

  async #openSocket(key: string, flow: Flow): Promise<void> {
    const { sockets, outlet } = this.#wiring;
    const family = flow.guest.length === 4 ? 4 : 6;
    const opened = await sockets.openDatagram(family, {
      message: (bytes, from) => {
        const address = parseIp(from.address);
        const known = address && flow.peers.get(peerKey(withoutMapping(address), from.port));
        if (!known || flow.isClosed) return;
        flow.usedAtMs = this.#nowMs();
        outlet.sendUdp(known, from.port, flow.guest, flow.guestPort, bytes);
      },
      // Of an unconnected socket, and nobody can say which datagram it was about.
      failed: () => {},
    });
    if ('reason' in opened) {
      this.#drop(key, flow);
      return;
    }
    if (flow.isClosed) {
      opened.socket.close();
      return;
    }
    flow.socket = opened.socket;
    for (const { bytes, to } of flow.waiting) flow.socket.send(bytes, to);
    flow.waiting = [];
  }

  /** A datagram that arrived at a forwarded port. */
  forward(
    guest: IpAddress,
    guestPort: number,
    from: Peer,
    bytes: Uint8Array,
    answer: (bytes: Uint8Array) => void,
  ): void {
    const { addresses, outlet } = this.#wiring;
    if (bytes.length > DATAGRAM_BYTES_MAX) return;
    const key = `${formatIp(guest)} ${guestPort} ${from.address} ${from.port}`;
    let visitor = this.#visitors.get(key);
    if (!visitor) {
      if (this.#visitors.size >= FLOWS_MAX) this.#forget(this.#visitors.values().next().value!);
      let port = this.#nextPort;
      while (this.#visitorsByPort.has(portKey(guest, guestPort, port))) {
        port = port === 65_535 ? FIRST_PORT : port + 1;
      }
      this.#nextPort = port === 65_535 ? FIRST_PORT : port + 1;
      visitor = { key, port, guest, guestPort, answer, usedAtMs: 0 };
      this.#visitors.set(key, visitor);
      this.#visitorsByPort.set(portKey(guest, guestPort, port), visitor);
    }
    visitor.usedAtMs = this.#nowMs();
    outlet.sendUdp(addresses.gateway, visitor.port, guest, guestPort, bytes);
  }

  #sweep(): void {
    const deadlineMs = this.#nowMs() - IDLE_MS;
    for (const [key, flow] of [...this.#flows]) if (flow.usedAtMs < deadlineMs) this.#drop(key, flow);
    for (const visitor of [...this.#visitors.values()]) {
      if (visitor.usedAtMs < deadlineMs) this.#forget(visitor);
    }
  }

  #drop(key: string, flow: Flow): void {
    flow.isClosed = true;
    flow.waiting = [];
    flow.socket?.close();
    if (this.#flows.get(key) === flow) this.#flows.delete(key);
  }

  #forget(visitor: Visitor): void {
    this.#visitors.delete(visitor.key);
    this.#visitorsByPort.delete(portKey(visitor.guest, visitor.guestPort, visitor.port));
  }
}
