/**
 * TCP between guests and the outside: each connection of a guest becomes one of the host's, and each one that arrives at
 * a forwarded port becomes one towards a guest. Both sides hold each other back: what one does not take, the other is
 * not asked for.
 */
import type { Peer, StreamEvents, StreamSocket } from '../../platform/sockets.ts';
import { BlockPool } from '../block-pool.ts';
import { formatIp, type IpAddress } from '../packet/address.ts';
import { type IpPacket, ipHeaderBytes, parseIpPacket } from '../packet/ip.ts';
import {
  parseTcp,
  sequenceAdd,
  TCP_BYTES,
  TcpFlag,
  type TcpHeader,
  type TcpSegment,
  tcpHeaderBytes,
  writeTcpHeader,
} from '../packet/tcp.ts';
import { isGateway, isInside, outsideAddress } from './addresses.ts';
import { CONNECTIONS_MAX } from './budget.ts';
import { isClosed } from './closed.ts';
import { TcpConnection } from './tcp-connection.ts';
import type { TcpUser } from './tcp-user.ts';
import { flowKey, type NatWiring, randomNumber } from './wiring.ts';

/** What a pending write costs besides its bytes: a guest must not fill memory with single bytes. */
const WRITE_COST_BYTES = 256;
/** One packet with its headers has to fit into 64 KiB. */
const LARGE_SEGMENT_BYTES = 65_535 - 60 - 20;
/** What waits for the guest is in these, and what waits for the host's system in those: each takes a large segment. */
const QUEUED_BLOCK_BYTES = 16_384;
const WRITTEN_BLOCK_BYTES = 65_536;
/** Smaller writes have memory of their own. */
const BLOCK_WRITE_BYTES_MIN = 8192;
/** Ports of the gateway from which forwarded connections come. */
const FIRST_PORT = 32_768;

/** Errors of a host's connect that mean: nobody listens there. */
const REFUSED = new Set(['ECONNREFUSED', 'ECONNRESET']);

interface Ends {
  readonly guest: IpAddress;
  readonly guestPort: number;
  /** As the guest sees the other side. */
  readonly remote: IpAddress;
  readonly remotePort: number;
}

interface Flow extends Ends {
  readonly key: string;
  readonly tcp: TcpConnection;
  socket: StreamSocket | undefined;
  /** The guest's SYN, until the host is connected. */
  syn: { packet: IpPacket; segment: TcpSegment } | undefined;
  nrWrites: number;
  isPaused: boolean;
  /** What is on account of this flow in the budget. */
  heldBytes: number;
  socketIsClosed: boolean;
  usedAtMs: number;
}

/** Makes the other side of a connection to a port of the gateway's own. */
export type Service = (
  address: IpAddress,
  port: number,
) => ((events: StreamEvents) => StreamSocket) | undefined;

export class TcpRelay {
  readonly #wiring: NatWiring;
  readonly #service: Service;
  readonly #flows = new Map<string, Flow>();
  readonly #queued = new BlockPool(QUEUED_BLOCK_BYTES);
  readonly #written = new BlockPool(WRITTEN_BLOCK_BYTES);
  #nextPort = FIRST_PORT;

  constructor(wiring: NatWiring, service: Service) {
    this.#wiring = wiring;
    this.#service = service;
  }

  get nrFlows(): number {
    return this.#flows.size;
  }

  close(): void {
    for (const flow of [...this.#flows.values()]) {
      flow.socket?.destroy();
      flow.socketIsClosed = true;
      this.#forget(flow);
    }
  }

  // ---- from a guest ----

  receive(packet: IpPacket): void {
    const segment = parseTcp(packet.bytes, packet.payloadStart, packet.payloadEnd);
    if (!segment) return;
    const { source, destination } = packet;
    const key = flowKey(source, segment.sourcePort, destination, segment.destinationPort);
    const isSyn = (segment.flags & (TcpFlag.syn | TcpFlag.ack | TcpFlag.rst)) === TcpFlag.syn;
    let flow = this.#flows.get(key);
    if (flow && isSyn && flow.tcp.state === 'time-wait') {
      flow.tcp.reset();
      flow = undefined;
    }
    if (!flow) {
      if (isSyn) this.#open(key, packet, segment);
      else if ((segment.flags & TcpFlag.rst) === 0) this.#refuse(packet, segment);
      return;
    }
    if (flow.syn) {
      // The host is still connecting; a guest that gives up is believed.
      if ((segment.flags & TcpFlag.rst) !== 0) {
        flow.socket?.destroy();
        flow.socketIsClosed = true;
        this.#forget(flow);
      }
      return;
    }
    flow.tcp.receive(segment, packet.bytes);
    this.#settle(flow);
  }

  #open(key: string, packet: IpPacket, segment: TcpSegment): void {
    const { addresses, policy, sockets, outlet } = this.#wiring;
    const { destination } = packet;
    const ends: Ends = {
      guest: packet.source,
      guestPort: segment.sourcePort,
      remote: destination,
      remotePort: segment.destinationPort,
    };
    const service = this.#service(destination, segment.destinationPort);
    if (!service && isInside(addresses, destination) && !isGateway(addresses, destination)) {
      outlet.sendUnreachable(packet, 'host');
      return;
    }
    const target = outsideAddress(addresses, destination);
    const isAllowed = service !== undefined || policy.allowsAddress(target);
    if (!isAllowed || isClosed(policy, addresses, destination, segment.destinationPort)) {
      outlet.sendUnreachable(packet, 'prohibited');
      return;
    }
    const flow = this.#create(key, ends);
    // Its bytes may be a large segment's, which are lent.
    flow.syn = { packet: parseIpPacket(packet.bytes.slice(), packet.start) ?? packet, segment };
    const events = this.#socketEvents(flow);
    flow.socket = service
      ? service(events)
      : sockets.connect({ address: formatIp(target), port: segment.destinationPort }, events);
  }

  /** Nobody is there. */
  #refuse(packet: IpPacket, segment: TcpSegment): void {
    const hasAck = (segment.flags & TcpFlag.ack) !== 0;
    const span =
      segment.dataEnd - segment.dataStart + ((segment.flags & (TcpFlag.syn | TcpFlag.fin)) !== 0 ? 1 : 0);
    const header: TcpHeader = {
      sourcePort: segment.destinationPort,
      destinationPort: segment.sourcePort,
      sequence: hasAck ? segment.acknowledgement : 0,
      acknowledgement: hasAck ? 0 : sequenceAdd(segment.sequence, span),
      flags: TcpFlag.rst | (hasAck ? 0 : TcpFlag.ack),
      window: 0,
    };
    this.#wiring.outlet.sendTcp(packet.destination, packet.source, TCP_BYTES, 0, (bytes, at) =>
      writeTcpHeader(bytes, at, header),
    );
  }

  // ---- to a guest ----

  /** A connection that arrived at a forwarded port. It is paused. */
  forward(guest: IpAddress, guestPort: number, socket: StreamSocket, _from: Peer): StreamEvents {
    const remote = this.#wiring.addresses.gateway;
    const remotePort = this.#freePort(guest, guestPort, remote);
    if (remotePort === undefined) {
      socket.destroy();
      return { data() {}, ended() {}, written() {}, closed() {} };
    }
    const key = flowKey(guest, guestPort, remote, remotePort);
    const flow = this.#create(key, { guest, guestPort, remote, remotePort });
    flow.socket = socket;
    flow.isPaused = true;
    flow.tcp.connect();
    return this.#socketEvents(flow);
  }

  #freePort(guest: IpAddress, guestPort: number, remote: IpAddress): number | undefined {
    for (let tries = 0; tries < CONNECTIONS_MAX + 1; tries++) {
      const port = this.#nextPort;
      this.#nextPort = port === 65_535 ? FIRST_PORT : port + 1;
      if (!this.#flows.has(flowKey(guest, guestPort, remote, port))) return port;
    }
    return undefined;
  }

  // ---- the two halves of a flow ----

  #nowMs(): number {
    return this.#wiring.clock.monotonicNs() / 1e6;
  }

  /** Room for one more: the connection that has been silent for longest is reset. */
  #makeRoom(): void {
    if (this.#flows.size < CONNECTIONS_MAX) return;
    let oldest: Flow | undefined;
    for (const flow of this.#flows.values()) {
      if (oldest === undefined || flow.usedAtMs < oldest.usedAtMs) oldest = flow;
    }
    if (!oldest) return;
    oldest.socket?.destroy();
    oldest.socketIsClosed = true;
    this.#forget(oldest);
  }

  #create(key: string, ends: Ends): Flow {
    this.#makeRoom();
    const { clock, timers, defer, entropy, mtu } = this.#wiring;
    const tcp = new TcpConnection({
      clock,
      timers,
      defer,
      initialSequence: randomNumber(entropy),
      mss: mtu - ipHeaderBytes(ends.guest) - TCP_BYTES,
      largeSegmentBytes: LARGE_SEGMENT_BYTES,
      blocks: this.#queued,
      user: this.#tcpUser(() => flow),
    });
    const flow: Flow = {
      ...ends,
      key,
      tcp,
      socket: undefined,
      syn: undefined,
      nrWrites: 0,
      isPaused: false,
      heldBytes: 0,
      socketIsClosed: false,
      usedAtMs: this.#nowMs(),
    };
    this.#flows.set(key, flow);
    return flow;
  }

  #tcpUser(get: () => Flow): TcpUser {
    const { outlet, budget, mtu } = this.#wiring;
    return {
      emit: (header, queue, dataOffset, dataBytes) => {
        const { guest, guestPort, remote, remotePort } = get();
        const full: TcpHeader = { ...header, sourcePort: remotePort, destinationPort: guestPort };
        const headerBytes = tcpHeaderBytes(full);
        const mss = Math.min(get().tcp.mss, mtu - ipHeaderBytes(guest) - TCP_BYTES);
        outlet.sendTcp(remote, guest, headerBytes + dataBytes, dataBytes > mss ? mss : 0, (bytes, at) => {
          writeTcpHeader(bytes, at, full);
          queue.copyTo(bytes, at + headerBytes, dataOffset, dataBytes);
        });
      },
      connected: () => {
        const flow = get();
        if (flow.isPaused) {
          flow.isPaused = false;
          flow.socket?.resume();
        }
      },
      data: bytes => {
        const flow = get();
        if (!flow.socket) return;
        flow.nrWrites += 1;
        this.#write(flow.socket, bytes);
      },
      ended: () => get().socket?.end(),
      progressed: () => this.#settle(get()),
      closed: isBroken => {
        const flow = get();
        if (isBroken && !flow.socketIsClosed) {
          flow.socketIsClosed = true;
          flow.socket?.destroy();
        }
        this.#settle(flow);
      },
      receiveRoom: () => {
        const flow = get();
        const held = (flow.socket?.bufferedBytes ?? 0) + flow.nrWrites * WRITE_COST_BYTES;
        return Math.max(0, budget.shareBytes - held);
      },
    };
  }

  #write(socket: StreamSocket, bytes: Uint8Array): void {
    if (bytes.length < BLOCK_WRITE_BYTES_MIN || bytes.length > WRITTEN_BLOCK_BYTES) {
      socket.write(bytes.slice());
      return;
    }
    const block = this.#written.take();
    block.set(bytes);
    socket.write(block.subarray(0, bytes.length), () => this.#written.give(block));
  }

  #socketEvents(flow: Flow): StreamEvents {
    return {
      connected: () => {
        const { syn } = flow;
        if (!syn) return;
        flow.syn = undefined;
        flow.tcp.accept(syn.segment);
      },
      data: chunk => {
        flow.tcp.send(chunk);
        this.#settle(flow);
      },
      ended: () => flow.tcp.finish(),
      written: () => {
        flow.nrWrites = Math.max(0, flow.nrWrites - 1);
        flow.tcp.roomChanged();
        this.#settle(flow);
      },
      closed: reason => this.#socketClosed(flow, reason),
    };
  }

  #socketClosed(flow: Flow, reason: string | undefined): void {
    flow.socketIsClosed = true;
    flow.nrWrites = 0;
    const { syn } = flow;
    if (syn) {
      flow.syn = undefined;
      if (reason === undefined || REFUSED.has(reason)) this.#refuse(syn.packet, syn.segment);
      else this.#wiring.outlet.sendUnreachable(syn.packet, 'host');
    } else if (reason !== undefined) {
      flow.tcp.reset();
    } else {
      flow.tcp.finish();
    }
    this.#settle(flow);
  }

  /** After anything happened: hold back or let go, keep the accounts, forget what is over. */
  #settle(flow: Flow): void {
    const { budget } = this.#wiring;
    const { tcp, socket } = flow;
    flow.usedAtMs = this.#nowMs();
    const queued = tcp.queuedBytes;
    const held = queued + tcp.earlyBytes + (socket?.bufferedBytes ?? 0);
    budget.heldBytes += held - flow.heldBytes;
    flow.heldBytes = held;
    if (!flow.socketIsClosed && socket && (tcp.state === 'established' || flow.isPaused)) {
      const share = budget.shareBytes;
      if (!flow.isPaused && queued > share) {
        flow.isPaused = true;
        socket.pause();
      } else if (flow.isPaused && queued < share / 2 && tcp.state === 'established') {
        flow.isPaused = false;
        socket.resume();
      }
    }
    const tcpIsOver = tcp.state === 'closed' && !flow.syn;
    if (tcpIsOver && flow.socketIsClosed) this.#forget(flow);
    // The guest has everything and said everything: what is left is the host's to send.
    else if (tcpIsOver && socket && !flow.socketIsClosed) socket.end();
  }

  #forget(flow: Flow): void {
    if (this.#flows.get(flow.key) !== flow) return;
    this.#flows.delete(flow.key);
    this.#wiring.budget.heldBytes -= flow.heldBytes;
    flow.heldBytes = 0;
    flow.tcp.reset();
  }
}
