/**
 * Which queue a frame for the domain goes into. The frames of one flow stay in one queue, and so in order; flows are spread by what they
 * carry, not by chance: of four heavy ones and four queues, some share a queue in nine cases of ten when a hash decides.
 *
 * Flows are told apart by a hash of 10 bits. A flow begins in the queue that has carried least of late. It moves to another one when that
 * makes both more alike and the domain has taken everything out of the old queue, so that nothing is overtaken.
 */
import { type Frame, packetOf } from '../../net/frame.ts';
import { get16 } from '../../net/packet/bytes.ts';
import { Protocol } from '../../net/packet/ip.ts';

const FLOWS = 1024;
const NO_QUEUE = 0xff;
/** What has been carried counts half after so many bytes of all flows together. */
const HALF_BYTES = 8 << 20;
/** For small differences nothing moves. */
const MOVE_BYTES_MIN = 256 << 10;

export class FlowQueues {
  readonly #queueOf = new Uint8Array(FLOWS).fill(NO_QUEUE);
  /** Carried of late, by flow and by queue. */
  readonly #flowBytes = new Uint32Array(FLOWS);
  readonly #queueBytes: Float64Array;
  /** Where to begin looking for the queue with the least. */
  #first = 0;
  #untilHalf = HALF_BYTES;

  constructor(nrQueues: number) {
    this.#queueBytes = new Float64Array(nrQueues);
  }

  /** @param isDrained has the domain taken all frames out of this queue? */
  choose(frame: Frame, isDrained: (queue: number) => boolean): number {
    const flow = flowOf(frame.bytes);
    const queue = this.#place(flow, isDrained);
    this.#account(flow, queue, frame.bytes.length);
    return queue;
  }

  #place(flow: number, isDrained: (queue: number) => boolean): number {
    const known = this.#queueOf[flow]!;
    const bytes = this.#queueBytes;
    if (known !== NO_QUEUE) {
      // Who carries more than half of what is in its queue stays; the others make way.
      const own = this.#flowBytes[flow]!;
      if (own < MOVE_BYTES_MIN || bytes[known]! < 2 * own) return known;
      const least = this.#least();
      const isBetter = bytes[least]! + own + MOVE_BYTES_MIN < bytes[known]!;
      if (!isBetter || !isDrained(known)) return known;
      bytes[known]! -= own;
      bytes[least]! += own;
      this.#queueOf[flow] = least;
      return least;
    }
    const least = this.#least();
    this.#first = (least + 1) % bytes.length;
    this.#queueOf[flow] = least;
    return least;
  }

  #least(): number {
    const bytes = this.#queueBytes;
    let least = this.#first;
    for (let i = 1; i < bytes.length; i++) {
      const queue = (this.#first + i) % bytes.length;
      if (bytes[queue]! < bytes[least]!) least = queue;
    }
    return least;
  }

  #account(flow: number, queue: number, bytes: number): void {
    this.#flowBytes[flow]! += bytes;
    this.#queueBytes[queue]! += bytes;
    this.#untilHalf -= bytes;
    if (this.#untilHalf > 0) return;
    this.#untilHalf = HALF_BYTES;
    this.#queueBytes.fill(0);
    for (let i = 0; i < FLOWS; i++) {
      const half = this.#flowBytes[i]! >>> 1;
      this.#flowBytes[i] = half;
      if (half > 0) this.#queueBytes[this.#queueOf[i]!]! += half;
    }
  }
}

/** The same for all frames of a connection, and for all fragments between two hosts. */
function flowOf(bytes: Uint8Array): number {
  const packet = packetOf(bytes);
  if (!packet) return 0;
  const hasPorts = packet.protocol === Protocol.tcp || packet.protocol === Protocol.udp;
  let hash = packet.addressSum + packet.protocol;
  if (hasPorts && !packet.fragment && packet.payloadEnd - packet.payloadStart >= 4) {
    hash += Math.imul(get16(packet.bytes, packet.payloadStart), 0x85eb_ca6b);
    hash += get16(packet.bytes, packet.payloadStart + 2);
  }
  return Math.imul(hash, 0x9e37_79b1) >>> 22;
}
