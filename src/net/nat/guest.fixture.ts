/** A guest in a test: the other end of a NAT's cable, with just enough of a network stack to talk to it. */
import type { Clock, Timers } from '../../platform/platform.ts';
import { createSimulatedClock, type SimulatedClock } from '../../platform/sim/clock.ts';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { createSimulatedSockets, type SimulatedNetwork } from '../../platform/sim/sockets.ts';
import { createSimulatedTimers, type SimulatedTimers } from '../../platform/sim/timers.ts';
import type { Peer, StreamEvents, StreamSocket } from '../../platform/sockets.ts';
import { BlockPool } from '../block-pool.ts';
import { type Frame, packetOf, plainFrame, type Station, segments } from '../frame.ts';
import { createLine, type Line } from '../impairment.ts';
import { formatIp, type IpAddress, ip } from '../packet/address.ts';
import { concatBytes } from '../packet/bytes.ts';
import { sumWords, writeTransportChecksum } from '../packet/checksum.ts';
import {
  ArpOperation,
  arpFrame,
  EtherType,
  ethernetHeader,
  etherType,
  parseArp,
} from '../packet/ethernet.ts';
import { type IcmpMessage, icmpPayload, icmpProtocol, parseIcmp } from '../packet/icmp.ts';
import { ipHeaderBytes, Protocol, writeIpHeader } from '../packet/ip.ts';
import { ipPackets } from '../packet/reassembly.ts';
import { parseTcp, type TcpHeader, type TcpSegment, tcpHeaderBytes, writeTcpHeader } from '../packet/tcp.ts';
import { parseUdp, UDP_BYTES, UDP_CHECKSUM_OFFSET, writeUdpHeader } from '../packet/udp.ts';
import { GATEWAY_MAC } from './addresses.ts';
import { Nat, type NatOptions } from './nat.ts';
import { TcpConnection } from './tcp-connection.ts';

export const GUEST_MAC = Uint8Array.of(2, 0, 0, 0, 0, 15);
export const GUEST_IP = ip('10.0.2.15');
export const GUEST_IP6 = ip('fd00:646f:6d75:73::15');
export const WEB = { address: '93.184.216.34', port: 80 };
export const NAMESERVER: Peer = { address: '192.0.2.53', port: 53 };

export interface GuestStream {
  readonly tcp: TcpConnection;
  received: Uint8Array;
  hasEnded: boolean;
  isConnected: boolean;
  /** Undefined while it lives. */
  end: 'clean' | 'broken' | undefined;
  /** How much the guest's program takes. */
  room: number;
}

export class TestGuest implements Station {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly out: Line;
  /** Everything that arrived, and what of it was for this guest. */
  readonly frames: Uint8Array[] = [];
  readonly icmp: { from: string; message: IcmpMessage }[] = [];
  readonly datagrams: { from: string; port: number; toPort: number; data: Uint8Array }[] = [];
  readonly resets: TcpSegment[] = [];
  readonly streams = new Map<string, GuestStream>();
  /** Ports that take connections. */
  readonly services = new Map<number, (stream: GuestStream) => void>();
  readonly #blocks = new BlockPool(16_384);
  largestFrame = 0;
  answersArp = true;
  mtu = 1500;

  constructor(to: Station, world: { clock: Clock; timers: Timers }, seed: number) {
    this.clock = world.clock;
    this.timers = world.timers;
    // A guest answers when it runs, never inside of what it answers.
    const later: Station = { receive: frame => void this.timers.after(0.05, () => to.receive(frame)) };
    this.out = createLine(later, { ...world, entropy: createSeededEntropy(seed) });
  }

  send(bytes: Uint8Array): void {
    this.out.receive(plainFrame(bytes));
  }

  sendIp(destination: IpAddress, protocol: number, payload: Uint8Array, mtu = this.mtu): void {
    const source = destination.length === 4 ? GUEST_IP : GUEST_IP6;
    const type = destination.length === 4 ? EtherType.ipv4 : EtherType.ipv6;
    for (const packet of ipPackets({ source, destination, protocol, hops: 255 }, payload, mtu, 77)) {
      this.send(concatBytes(ethernetHeader(GATEWAY_MAC, GUEST_MAC, type), packet));
    }
  }

  sendIcmp(destination: IpAddress, message: IcmpMessage): void {
    const source = destination.length === 4 ? GUEST_IP : GUEST_IP6;
    this.sendIp(destination, icmpProtocol(destination), icmpPayload(message, source, destination));
  }

  sendUdp(destination: IpAddress, port: number, data: Uint8Array, sourcePort = 5000): void {
    const source = destination.length === 4 ? GUEST_IP : GUEST_IP6;
    const payload = new Uint8Array(UDP_BYTES + data.length);
    writeUdpHeader(payload, 0, sourcePort, port, data.length);
    payload.set(data, UDP_BYTES);
    const sum = sumWords(source, 0, source.length) + sumWords(destination, 0, destination.length);
    writeTransportChecksum(payload, 0, payload.length, UDP_CHECKSUM_OFFSET, Protocol.udp, sum);
    this.sendIp(destination, Protocol.udp, payload);
  }

  /** A segment as it is, for what no good stack would send. */
  sendTcp(destination: IpAddress, header: TcpHeader, data = new Uint8Array(0)): void {
    const source = destination.length === 4 ? GUEST_IP : GUEST_IP6;
    const headerBytes = tcpHeaderBytes(header);
    const at = 14 + ipHeaderBytes(destination);
    const bytes = new Uint8Array(at + headerBytes + data.length);
    bytes.set(
      ethernetHeader(GATEWAY_MAC, GUEST_MAC, destination.length === 4 ? EtherType.ipv4 : EtherType.ipv6),
    );
    writeIpHeader(bytes, 14, { source, destination, protocol: Protocol.tcp }, headerBytes + data.length);
    writeTcpHeader(bytes, at, header);
    bytes.set(data, at + headerBytes);
    this.out.receive({ bytes, lacksChecksum: true, segmentBytes: 0 });
  }

  #stream(remote: IpAddress, remotePort: number, port: number): GuestStream {
    const isV4 = remote.length === 4;
    const tcp = new TcpConnection({
      clock: this.clock,
      timers: this.timers,
      defer: task => task(),
      initialSequence: 0xffff_f000,
      mss: this.mtu - (isV4 ? 40 : 60),
      largeSegmentBytes: 1 << 15,
      blocks: this.#blocks,
      user: {
        emit: (header, queue, offset, count) => {
          const data = new Uint8Array(count);
          queue.copyTo(data, 0, offset, count);
          this.sendTcp(remote, { ...header, sourcePort: port, destinationPort: remotePort }, data);
        },
        connected: () => {
          stream.isConnected = true;
        },
        data: bytes => {
          stream.received = concatBytes(stream.received, bytes);
          stream.room = Math.max(0, stream.room - bytes.length);
        },
        ended: () => {
          stream.hasEnded = true;
        },
        progressed: () => {},
        closed: broken => {
          stream.end = broken ? 'broken' : 'clean';
        },
        receiveRoom: () => Math.min(1 << 20, stream.room),
      },
    });
    const stream: GuestStream = {
      tcp,
      received: new Uint8Array(0),
      hasEnded: false,
      isConnected: false,
      end: undefined,
      room: Number.POSITIVE_INFINITY,
    };
    this.streams.set(`${formatIp(remote)} ${remotePort} ${port}`, stream);
    return stream;
  }

  connect(to: Peer, port = 40_000): GuestStream {
    const stream = this.#stream(ip(to.address), to.port, port);
    stream.tcp.connect();
    return stream;
  }

  receive(frame: Frame): void {
    this.largestFrame = Math.max(this.largestFrame, frame.bytes.length);
    for (const each of segments(frame)) this.#receive(each.bytes);
  }

  #receive(bytes: Uint8Array): void {
    this.frames.push(bytes);
    if (etherType(bytes) === EtherType.arp) {
      const arp = parseArp(bytes);
      if (
        this.answersArp &&
        arp?.operation === ArpOperation.request &&
        formatIp(arp.targetIp) === formatIp(GUEST_IP)
      ) {
        const sender = { mac: GUEST_MAC, ip: GUEST_IP };
        this.send(
          arpFrame(arp.senderMac, ArpOperation.reply, sender, { mac: arp.senderMac, ip: arp.senderIp }),
        );
      }
      return;
    }
    const packet = packetOf(bytes);
    if (!packet) return;
    const from = formatIp(packet.source);
    if (packet.protocol === Protocol.udp) {
      const datagram = parseUdp(bytes, packet.payloadStart, packet.payloadEnd);
      if (!datagram) return;
      const data = bytes.slice(datagram.dataStart, datagram.dataEnd);
      this.datagrams.push({ from, port: datagram.sourcePort, toPort: datagram.destinationPort, data });
    } else if (packet.protocol === Protocol.tcp) {
      const segment = parseTcp(bytes, packet.payloadStart, packet.payloadEnd);
      if (!segment) return;
      if ((segment.flags & 4) !== 0) this.resets.push(segment);
      const key = `${from} ${segment.sourcePort} ${segment.destinationPort}`;
      const stream = this.streams.get(key);
      const service = this.services.get(segment.destinationPort);
      if (stream) {
        stream.tcp.receive(segment, bytes);
      } else if (service && (segment.flags & 2) !== 0) {
        const made = this.#stream(packet.source, segment.sourcePort, segment.destinationPort);
        made.tcp.accept(segment);
        service(made);
      } else if ((segment.flags & 4) === 0) {
        this.sendTcp(packet.source, {
          sourcePort: segment.destinationPort,
          destinationPort: segment.sourcePort,
          sequence: segment.acknowledgement,
          acknowledgement: segment.sequence + 1,
          flags: 4 | 16,
          window: 0,
        });
      }
    } else {
      const message = parseIcmp(packet);
      if (message) this.icmp.push({ from, message });
    }
  }
}

export interface TestWorld {
  readonly clock: SimulatedClock;
  readonly timers: SimulatedTimers;
  readonly network: SimulatedNetwork;
  readonly nat: Nat;
  readonly guest: TestGuest;
  /** From the NAT to the guest. */
  readonly inward: Line;
  /** Let time pass, and what is asynchronous with it. */
  pass(ms: number): Promise<void>;
}

export function createTestWorld(options: NatOptions = {}, seed = 1): TestWorld {
  const clock = createSimulatedClock();
  const timers = createSimulatedTimers(clock);
  const network = createSimulatedSockets(timers, { nameservers: [NAMESERVER] });
  const nat = new Nat(
    {
      sockets: network,
      clock,
      timers,
      entropy: createSeededEntropy(seed),
      defer: task => void timers.after(0, task),
    },
    options,
  );
  const guest = new TestGuest(nat, { clock, timers }, seed + 1);
  const inward = createLine(guest, { clock, timers, entropy: createSeededEntropy(seed + 2) });
  nat.connect(inward);
  guest.send(
    arpFrame(
      new Uint8Array(6).fill(0xff),
      ArpOperation.request,
      { mac: GUEST_MAC, ip: GUEST_IP },
      { mac: new Uint8Array(6), ip: nat.addresses.gateway },
    ),
  );
  return {
    clock,
    timers,
    network,
    nat,
    guest,
    inward,
    async pass(ms) {
      for (let left = ms; left > 0; left -= 10) {
        timers.advance(Math.min(10, left));
        for (let i = 0; i < 4; i++) await Promise.resolve();
      }
    },
  };
}

/** A server of the outside that keeps what it hears. */
export interface TestServer {
  readonly connections: {
    readonly socket: StreamSocket;
    received: Uint8Array;
    hasEnded: boolean;
    closed: boolean;
    reason: string | undefined;
  }[];
}

export async function serve(
  network: SimulatedNetwork,
  at: Peer,
  options: { readonly echoes?: boolean; readonly reads?: boolean } = {},
): Promise<TestServer> {
  const { echoes = false, reads = true } = options;
  const server: TestServer = { connections: [] };
  await network.listen(at, socket => {
    const connection = {
      socket,
      received: new Uint8Array(0) as Uint8Array,
      hasEnded: false,
      closed: false,
      reason: undefined as string | undefined,
    };
    server.connections.push(connection);
    if (reads) socket.resume();
    const events: StreamEvents = {
      data: chunk => {
        connection.received = concatBytes(connection.received, chunk);
        if (echoes) socket.write(chunk);
      },
      ended: () => {
        connection.hasEnded = true;
        if (echoes) socket.end();
      },
      written: () => {},
      closed: reason => {
        connection.closed = true;
        connection.reason = reason;
      },
    };
    return events;
  });
  return server;
}

/** Bytes in which every position can be told from every other near it. */
export function pattern(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  createSeededEntropy(seed).fill(bytes);
  return bytes;
}
