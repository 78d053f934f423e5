/**
 * A domain's side of the xenstore ring, for tests: sends requests and collects replies and watch events through a real
 * ring page in machine memory, in pieces if the test wants it so.
 */
import { type MachineAddress, maddr, PAGE_SIZE } from '../base/brand.ts';
import { createMachineMemory, type MachineMemory } from '../machine/memory.ts';
import type { Connection } from './connection.ts';
import { RING_BYTES, XenstoreRing } from './ring.ts';
import {
  bytesToString,
  encodeMessage,
  MessageHeader,
  MessageType,
  packStrings,
  stringToBytes,
} from './wire.ts';
import type { Xenstored } from './xenstored.ts';

export interface Message {
  readonly type: number;
  readonly requestId: number;
  readonly txId: number;
  readonly payload: Uint8Array;
}

export class TestGuest {
  readonly memory: MachineMemory;
  readonly ringAddress: MachineAddress;
  connection: Connection;
  readonly domid: number;
  /** How often xenstore raised the event channel. */
  notified = 0;
  /** Watch events that came, as `path token`. */
  events: string[] = [];
  #requestId = 0;
  #received: number[] = [];
  readonly #messages: Message[] = [];

  constructor(
    xenstored: Xenstored,
    domid: number,
    memory = createMachineMemory(1 << 16),
    ringAddress = PAGE_SIZE,
  ) {
    this.domid = domid;
    this.memory = memory;
    this.ringAddress = maddr(ringAddress);
    this.connection = xenstored.introduceDomain({
      domid,
      memory,
      ringAddress: this.ringAddress,
      notify: () => {
        this.notified += 1;
      },
    });
  }

  get ring(): ReturnType<typeof XenstoreRing.at> {
    return XenstoreRing.at(this.memory.view, this.ringAddress);
  }

  /** Put bytes into the request ring as far as there is room; returns how many. Does not raise the event. */
  put(bytes: Uint8Array): number {
    const { ring } = this;
    const room = RING_BYTES - ((ring.req_prod - ring.req_cons) >>> 0);
    const count = Math.min(room, bytes.length);
    for (let i = 0; i < count; i++) ring.req[(ring.req_prod + i) % RING_BYTES] = bytes[i]!;
    ring.req_prod += count;
    return count;
  }

  /** Take what is in the reply ring and sort it into replies and events. */
  take(max = RING_BYTES): void {
    const { ring } = this;
    const count = Math.min(max, (ring.rsp_prod - ring.rsp_cons) >>> 0);
    for (let i = 0; i < count; i++) this.#received.push(ring.rsp[(ring.rsp_cons + i) % RING_BYTES]!);
    ring.rsp_cons += count;
    for (;;) {
      if (this.#received.length < MessageHeader.size) return;
      const bytes = Uint8Array.from(this.#received);
      const header = MessageHeader.at(new DataView(bytes.buffer), 0);
      const end = MessageHeader.size + header.len;
      if (bytes.length < end) return;
      this.#received = this.#received.slice(end);
      const payload = bytes.slice(MessageHeader.size, end);
      if (header.type === MessageType.WATCH_EVENT) {
        this.events.push(bytesToString(payload).replace('\0', ' ').replace('\0', ''));
      } else {
        this.#messages.push({ type: header.type, requestId: header.req_id, txId: header.tx_id, payload });
      }
    }
  }

  /** Send without waiting for the reply. */
  send(type: number, payload: Uint8Array | string, txId = 0): number {
    const body = typeof payload === 'string' ? stringToBytes(payload) : payload;
    const requestId = ++this.#requestId;
    let message = encodeMessage(type, requestId, txId, body);
    for (let turns = 0; message.length > 0; turns++) {
      if (turns > 100) throw new Error('xenstore does not take the request');
      message = message.subarray(this.put(message));
      this.connection.onEvent();
    }
    return requestId;
  }

  /** Replies that have come. */
  replies(): Message[] {
    for (let turns = 0; turns < 100; turns++) {
      const before = this.ring.rsp_cons;
      this.take();
      this.connection.onEvent();
      if (this.ring.rsp_cons === before && this.ring.rsp_prod === before) break;
    }
    return this.#messages.splice(0);
  }

  /** Send one request and return its reply's payload as text, or the error's name. */
  request(type: number, payload: Uint8Array | string, txId = 0): string {
    const requestId = this.send(type, payload, txId);
    const [reply, ...more] = this.replies();
    if (reply?.requestId !== requestId || more.length > 0)
      throw new Error('not the one reply to the request');
    if (reply.type !== type && reply.type !== MessageType.ERROR)
      throw new Error(`reply of type ${reply.type}`);
    const text = bytesToString(reply.payload);
    return reply.type === MessageType.ERROR ? text.replace('\0', '') : text;
  }

  read(path: string, txId = 0): string {
    return this.request(MessageType.READ, packStrings(path), txId);
  }

  write(path: string, value: string, txId = 0): string {
    return this.request(MessageType.WRITE, `${path}\0${value}`, txId);
  }

  remove(path: string, txId = 0): string {
    return this.request(MessageType.RM, packStrings(path), txId);
  }

  directory(path: string, txId = 0): string[] {
    return this.request(MessageType.DIRECTORY, packStrings(path), txId).split('\0').slice(0, -1);
  }

  watch(path: string, token: string): string {
    return this.request(MessageType.WATCH, packStrings(path, token));
  }

  begin(): number {
    return Number(this.request(MessageType.TRANSACTION_START, '\0').replace('\0', ''));
  }

  end(txId: number, verdict = 'T'): string {
    return this.request(MessageType.TRANSACTION_END, packStrings(verdict), txId);
  }

  /** The events so far, once. */
  takeEvents(): string[] {
    this.replies();
    return this.events.splice(0);
  }
}
