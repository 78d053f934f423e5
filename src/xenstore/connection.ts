/**
 * A domain's connection: requests are assembled from its ring in whatever pieces they come, replies and watch events are
 * queued and put into the ring as there is room.
 *
 * Nothing a domain does grows memory without bound: while too many replies wait, no request is read; watch events
 * beyond a number of bytes are lost, and one equal to a waiting event is not queued again. A ring with impossible
 * indices or a message longer than the protocol allows ends the conversation: the ring's error field says why, watches
 * and transactions are gone, and only a reconnection (the domain asks for it, or it is introduced again) revives it.
 */
import type { Defer, Faults } from './faults.ts';
import { type DomainControl, errorReply, handleRequest } from './request.ts';
import { ConnectionState, Ring, type RingAttachment, RingError, ServerFeature } from './ring.ts';
import { Session } from './session.ts';
import type { Store } from './store.ts';
import {
  bytesToString,
  encodeMessage,
  MessageHeader,
  MessageType,
  PAYLOAD_MAX,
  packStrings,
} from './wire.ts';

/** Requests served in one go; then other work gets its turn. */
const BATCH_MAX = 64;

interface Outgoing {
  readonly message: Uint8Array;
  sent: number;
  /** What identifies a watch event; undefined for a reply. */
  readonly event: string | undefined;
}

export type XenstoreTransfer = 'request' | 'reply' | 'event';

export interface ConnectionEnvironment {
  readonly store: Store;
  readonly domains: DomainControl;
  readonly defer: Defer;
  readonly faults: Faults<XenstoreTransfer> | undefined;
}

/** What save and restore keep of a connection besides its session. */
export interface ConnectionBuffers {
  /** The part of a message that has come so far. */
  readonly input: Uint8Array;
  /** Messages, and rests of messages, that wait for room in the ring; those with an event key are watch events. */
  readonly output: readonly {
    readonly message: Uint8Array;
    readonly sent: number;
    readonly event: string | undefined;
  }[];
  /** A `RingError`. */
  readonly error: number;
}

export class Connection {
  readonly session: Session;
  readonly #environment: ConnectionEnvironment;
  #ring: Ring;
  #notify: () => void;
  /** The header, then the payload behind it. */
  readonly #input = new Uint8Array(MessageHeader.size + PAYLOAD_MAX);
  readonly #header = MessageHeader.at(new DataView(this.#input.buffer), 0);
  #inputUsed = 0;
  #output: Outgoing[] = [];
  #waitingReplies = 0;
  #waitingEventBytes = 0;
  readonly #waitingEvents = new Set<string>();
  #error: number = RingError.none;
  #busy = false;
  #closed = false;
  #retryScheduled = false;
  /** Watch events that were lost because the domain did not read. */
  lostEvents = 0;

  constructor(environment: ConnectionEnvironment, domid: number, attachment: RingAttachment) {
    this.#environment = environment;
    this.#ring = new Ring(attachment);
    this.#notify = () => attachment.notify();
    this.session = new Session(domid, (path, token) => this.#deliver(path, token));
    environment.store.sessions.add(this.session);
  }

  /** Why the conversation ended (`RingError`), 0 while it goes on. */
  get error(): number {
    return this.#error;
  }

  /** Announce xenstore in the ring page, as a domain expects it before it probes. */
  announce(): void {
    this.#ring.store('server_features', ServerFeature.reconnection | ServerFeature.error);
    this.#ring.store('error', RingError.none);
    this.#ring.store('connection', ConnectionState.connected);
  }

  /** Start again with an empty ring; also at another place, after the domain was introduced again. */
  reset(attachment?: RingAttachment): void {
    if (attachment) {
      this.#ring = new Ring(attachment);
      this.#notify = () => attachment.notify();
    }
    this.#forget();
    this.#error = RingError.none;
    this.#ring.resetIndices();
    this.announce();
    this.#notify();
  }

  /** The domain raised the event channel: take its requests, and put out what waits for room. */
  onEvent(): void {
    if (this.#closed || this.#busy) return;
    if (this.#ring.load('connection') === ConnectionState.reconnect) this.reset();
    if (this.#error !== RingError.none) return;
    this.#busy = true;
    let moved = false;
    let left = BATCH_MAX;
    do {
      moved = this.#flush() || moved;
      if (this.#waitingReplies >= this.#environment.store.quotas.outstandingReplies) break;
      const taken = this.#takeRequest();
      if (taken === 'none') break;
      moved = true;
      left -= 1;
    } while (left > 0 && !this.#closed && this.#error === RingError.none);
    moved = this.#flush() || moved;
    this.#busy = false;
    if (this.#closed) return;
    if (left === 0) this.#retry();
    if (moved) this.#notify();
  }

  close(): void {
    this.#closed = true;
    this.#forget();
    this.#environment.store.sessions.delete(this.session);
  }

  /** Watches, transactions and everything half-way are gone. */
  #forget(): void {
    this.session.reset();
    this.#inputUsed = 0;
    this.#output = [];
    this.#waitingReplies = 0;
    this.#waitingEventBytes = 0;
    this.#waitingEvents.clear();
  }

  #fail(error: number): void {
    this.#forget();
    this.#error = error;
    this.#ring.store('error', error);
  }

  #retry(): void {
    if (this.#retryScheduled) return;
    this.#retryScheduled = true;
    this.#environment.defer(() => {
      this.#retryScheduled = false;
      this.onEvent();
    });
  }

  /** Read until `until` bytes of the message are there. */
  #fill(until: number): boolean {
    const wanted = until - this.#inputUsed;
    if (wanted <= 0) return true;
    const got = this.#ring.receive(this.#input.subarray(this.#inputUsed, until));
    if (got < 0) {
      this.#fail(RingError.ringIndex);
      return false;
    }
    this.#inputUsed += got;
    return got === wanted;
  }

  /** Take and serve one request if a whole one is there. */
  #takeRequest(): 'none' | 'part' | 'served' {
    const before = this.#inputUsed;
    if (!this.#fill(MessageHeader.size)) return this.#inputUsed > before ? 'part' : 'none';
    const { type, req_id: requestId, tx_id: txId, len } = this.#header;
    if (len > PAYLOAD_MAX) {
      this.#fail(RingError.protocol);
      return 'none';
    }
    if (!this.#fill(MessageHeader.size + len)) return this.#inputUsed > before ? 'part' : 'none';
    const { store, domains, faults } = this.#environment;
    const { domid } = this.session;
    const fault = faults?.onTransfer('request', domid, len) ?? 'none';
    if (fault === 'delay') {
      this.#retry();
      return 'none';
    }
    this.#inputUsed = 0;
    if (fault === 'lose') return 'served';
    const payload = this.#input.subarray(MessageHeader.size, MessageHeader.size + len);
    const reply =
      fault === 'fail' ? errorReply('EIO') : handleRequest(store, domains, this.session, type, txId, payload);
    if (this.#closed) return 'served';
    this.#output.push({
      message: encodeMessage(reply.type, requestId, txId, reply.payload),
      sent: 0,
      event: undefined,
    });
    this.#waitingReplies += 1;
    reply.after?.();
    return 'served';
  }

  /** Queue a watch event. */
  #deliver(path: string, token: string): void {
    const payload = packStrings(path, token);
    if (payload.length > PAYLOAD_MAX || this.#closed || this.#error !== RingError.none) return;
    const key = bytesToString(payload);
    const special = path[0] === '@';
    if (!special && this.#waitingEvents.has(key)) return;
    const message = encodeMessage(MessageType.WATCH_EVENT, 0, 0, payload);
    if (this.#waitingEventBytes + message.length > this.#environment.store.quotas.outstandingEventBytes) {
      this.lostEvents += 1;
      return;
    }
    this.#waitingEventBytes += message.length;
    if (!special) this.#waitingEvents.add(key);
    this.#output.push({ message, sent: 0, event: key });
    if (!this.#busy && this.#flush()) this.#notify();
  }

  /** Put waiting messages into the ring. Whether bytes moved. */
  #flush(): boolean {
    let moved = false;
    let done = 0;
    for (const outgoing of this.#output) {
      const fault = outgoing.sent === 0 ? this.#faultOf(outgoing) : 'none';
      if (fault === 'delay') {
        this.#retry();
        break;
      }
      if (fault === 'fail') {
        this.#fail(RingError.communication);
        return moved;
      }
      if (fault === 'none') {
        const rest = outgoing.message.subarray(outgoing.sent);
        const count = this.#ring.send(rest);
        if (count < 0) {
          this.#fail(RingError.ringIndex);
          return moved;
        }
        outgoing.sent += count;
        moved ||= count > 0;
        if (count < rest.length) break;
      }
      done += 1;
      this.#settle(outgoing);
    }
    if (done > 0) this.#output.splice(0, done);
    return moved;
  }

  #faultOf({ event, message }: Outgoing): 'none' | 'delay' | 'lose' | 'fail' {
    const { faults } = this.#environment;
    if (!faults) return 'none';
    return faults.onTransfer(event === undefined ? 'reply' : 'event', this.session.domid, message.length);
  }

  /** A message is out, or lost: it no longer counts. */
  #settle({ event, message }: Outgoing): void {
    if (event === undefined) {
      this.#waitingReplies -= 1;
    } else {
      this.#waitingEventBytes -= message.length;
      this.#waitingEvents.delete(event);
    }
  }

  saveBuffers(): ConnectionBuffers {
    return {
      input: this.#input.slice(0, this.#inputUsed),
      output: this.#output.map(({ message, sent, event }) => ({ message, sent, event })),
      error: this.#error,
    };
  }

  restoreBuffers({ input, output, error }: ConnectionBuffers): void {
    this.#input.set(input);
    this.#inputUsed = input.length;
    this.#error = error;
    for (const { message, sent, event } of output) {
      this.#output.push({ message, sent, event });
      if (event === undefined) {
        this.#waitingReplies += 1;
      } else {
        this.#waitingEventBytes += message.length;
        if (event[0] !== '@') this.#waitingEvents.add(event);
      }
    }
  }
}
