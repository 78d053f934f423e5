/**
 * The guests' name server: passes questions on to the host's name servers as they are, so that every type of record works,
 * and answers itself only what policy forbids and the host's own name.
 *
 * A name that is not allowed does not exist. Addresses in answers to allowed questions become allowed for as long as
 * the answer is valid (policy.ts). Answers are taken only from the server that was asked, with the same question.
 */
import type { DatagramSocket, Peer, StreamEvents, StreamSocket } from '../../platform/sockets.ts';
import type { IpAddress } from '../packet/address.ts';
import { get16, put16 } from '../packet/bytes.ts';
import {
  DNS_HEADER_BYTES,
  DnsCode,
  type DnsMessage,
  DnsType,
  dnsAnswer,
  isReverseName,
  parseDns,
  reverseAddress,
} from '../packet/dns.ts';
import { isGatewayClosed } from './closed.ts';
import { type NatWiring, randomNumber } from './wiring.ts';

/** The host, under a name. */
export const HOST_NAME = 'host.domus.internal';
const HOST_TTL_SECONDS = 60;
const QUESTIONS_MAX = 256;
const TRY_MS = 2500;
const TRIES = 3;
const MESSAGE_BYTES_MAX = 65_535;

export type Transport = 'udp' | 'tcp';

export class DnsForwarder {
  readonly #wiring: NatWiring;
  readonly #listServers: () => readonly Peer[];
  #known: readonly Peer[] | undefined;
  #nrOpen = 0;
  #isClosed = false;

  /** @param listServers asked with the first question: many guests have none */
  constructor(wiring: NatWiring, listServers: () => readonly Peer[]) {
    this.#wiring = wiring;
    this.#listServers = listServers;
  }

  get #servers(): readonly Peer[] {
    this.#known ??= this.#listServers();
    return this.#known;
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Answer a question, sooner or later or never. */
  ask(query: Uint8Array, transport: Transport, answer: (reply: Uint8Array) => void): void {
    const parsed = parseDns(query);
    if (!parsed) {
      if (query.length >= DNS_HEADER_BYTES && (query[2]! & 0x80) === 0) answer(malformed(query));
      return;
    }
    if (parsed.isResponse) return;
    const own = this.#ownAnswer(query, parsed);
    if (own) {
      answer(own);
      return;
    }
    if (this.#nrOpen >= QUESTIONS_MAX || this.#servers.length === 0) {
      answer(dnsAnswer(query, parsed, DnsCode.serverFailure));
      return;
    }
    this.#nrOpen += 1;
    void this.#forward(query, parsed, transport).then(reply => {
      this.#nrOpen -= 1;
      if (!this.#isClosed) answer(reply ?? dnsAnswer(query, parsed, DnsCode.serverFailure));
    });
  }

  #ownAnswer(query: Uint8Array, parsed: DnsMessage): Uint8Array | undefined {
    const { policy, addresses } = this.#wiring;
    const { name, type } = parsed.question;
    const isHidden = () => policy.deniesName(name) || isGatewayClosed(policy, addresses, addresses.gateway);
    if (name === HOST_NAME && !isHidden()) {
      const record = (data: IpAddress) => [{ type, ttlSeconds: HOST_TTL_SECONDS, data }];
      if (type === DnsType.a) return dnsAnswer(query, parsed, DnsCode.ok, record(addresses.gateway));
      if (type === DnsType.aaaa) return dnsAnswer(query, parsed, DnsCode.ok, record(addresses.gateway6));
      return dnsAnswer(query, parsed, DnsCode.ok);
    }
    const reversed = isReverseName(name) ? reverseAddress(name) : undefined;
    const isAllowed = reversed
      ? policy.allowsAddress(reversed)
      : name !== HOST_NAME && policy.allowsName(name);
    return isAllowed ? undefined : dnsAnswer(query, parsed, DnsCode.noSuchName);
  }

  async #forward(
    query: Uint8Array,
    parsed: DnsMessage,
    transport: Transport,
  ): Promise<Uint8Array | undefined> {
    for (let attempt = 0; attempt < TRIES && !this.#isClosed; attempt++) {
      const server = this.#servers[attempt % this.#servers.length]!;
      const sent = query.slice();
      put16(sent, 0, randomNumber(this.#wiring.entropy) & 0xffff);
      const reply =
        transport === 'udp' ? await this.#askByDatagram(sent, server) : await this.#askByStream(sent, server);
      if (!reply) continue;
      const message = parseDns(reply);
      if (message?.code === DnsCode.ok) {
        for (const record of message.answers) {
          const length = record.type === DnsType.a ? 4 : record.type === DnsType.aaaa ? 16 : 0;
          if (length > 0 && record.data.length === length) {
            this.#wiring.policy.learn(record.data, record.ttlSeconds);
          }
        }
      }
      const result = reply.slice();
      put16(result, 0, parsed.id);
      return result;
    }
    return undefined;
  }

  /** Wait for a reply, at most as long as a try may take. */
  #withDeadline(
    start: (settle: (reply?: Uint8Array) => void) => () => void,
  ): Promise<Uint8Array | undefined> {
    return new Promise(resolve => {
      let isSettled = false;
      let stop: (() => void) | undefined;
      const settle = (reply?: Uint8Array) => {
        if (isSettled) return;
        isSettled = true;
        cancel();
        stop?.();
        resolve(reply);
      };
      const cancel = this.#wiring.timers.after(TRY_MS, () => settle());
      stop = start(settle);
      if (isSettled) stop();
    });
  }

  #askByDatagram(query: Uint8Array, server: Peer): Promise<Uint8Array | undefined> {
    return this.#withDeadline(settle => {
      let socket: DatagramSocket | undefined;
      let isStopped = false;
      const events = {
        message: (bytes: Uint8Array, from: Peer) => {
          if (from.port === server.port && from.address === server.address && isReplyTo(query, bytes))
            settle(bytes);
        },
        failed: () => settle(),
      };
      void this.#wiring.sockets.openDatagram(server.address.includes(':') ? 6 : 4, events).then(opened => {
        if ('reason' in opened) {
          settle();
          return;
        }
        if (isStopped) {
          opened.socket.close();
          return;
        }
        socket = opened.socket;
        socket.send(query, server);
      });
      return () => {
        isStopped = true;
        socket?.close();
      };
    });
  }

  #askByStream(query: Uint8Array, server: Peer): Promise<Uint8Array | undefined> {
    return this.#withDeadline(settle => {
      const framer = new MessageFramer(reply => settle(isReplyTo(query, reply) ? reply : undefined));
      const socket = this.#wiring.sockets.connect(server, {
        connected: () => socket.write(framed(query)),
        data: chunk => framer.push(chunk),
        ended: () => settle(),
        written: () => {},
        closed: () => settle(),
      });
      return () => socket.destroy();
    });
  }

  /** The other side of a guest's TCP connection to the name server. */
  stream(events: StreamEvents): StreamSocket {
    let isOver = false;
    let nrOpen = 0;
    let isEnding = false;
    const later = (task: () => void) =>
      this.#wiring.timers.after(0, () => {
        if (!isOver) task();
      });
    const close = () => {
      if (isOver || !isEnding || nrOpen > 0) return;
      events.ended();
      later(() => {
        isOver = true;
        events.closed();
      });
    };
    const framer = new MessageFramer(query => {
      nrOpen += 1;
      let isAnswered = false;
      this.ask(query, 'tcp', reply => {
        if (isOver || isAnswered) return;
        isAnswered = true;
        nrOpen -= 1;
        later(() => {
          events.data(framed(reply));
          close();
        });
      });
    });
    later(() => events.connected?.());
    return {
      write(bytes, done) {
        framer.push(bytes);
        done?.();
        later(() => events.written());
      },
      bufferedBytes: 0,
      end() {
        isEnding = true;
        later(close);
      },
      pause() {},
      resume() {},
      destroy() {
        isOver = true;
      },
    };
  }
}

/** Messages over a stream have their length in front (RFC 1035, 4.2.2). */
function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + message.length);
  put16(bytes, 0, message.length);
  bytes.set(message, 2);
  return bytes;
}

class MessageFramer {
  #pending = new Uint8Array(0);
  readonly #onMessage: (message: Uint8Array) => void;

  constructor(onMessage: (message: Uint8Array) => void) {
    this.#onMessage = onMessage;
  }

  push(chunk: Uint8Array): void {
    const joined = new Uint8Array(this.#pending.length + chunk.length);
    joined.set(this.#pending);
    joined.set(chunk, this.#pending.length);
    let at = 0;
    while (joined.length - at >= 2 && joined.length - at - 2 >= get16(joined, at)) {
      const length = get16(joined, at);
      this.#onMessage(joined.slice(at + 2, at + 2 + length));
      at += 2 + length;
    }
    // Never more than one message that is not complete.
    this.#pending = joined.slice(at, at + MESSAGE_BYTES_MAX + 2);
  }
}

/** Same identifier, a response, the same question. */
function isReplyTo(query: Uint8Array, reply: Uint8Array): boolean {
  const asked = parseDns(query);
  const told = parseDns(reply);
  if (!asked || !told) return false;
  const { name, type } = asked.question;
  return (
    told.isResponse && told.id === asked.id && told.question.name === name && told.question.type === type
  );
}

function malformed(query: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(DNS_HEADER_BYTES);
  bytes.set(query.subarray(0, 2));
  put16(bytes, 2, 0x8080 | DnsCode.formatError);
  return bytes;
}
