/** What comes from the guest over a TCP connection: the window that it is offered, its bytes put in order, and their end. */
import { sequenceAdd, sequenceDistance, TcpFlag, type TcpSegment } from '../packet/tcp.ts';
import { ReceiveQueue } from './receive-queue.ts';
import type { TcpUser } from './tcp-user.ts';

/** Windows up to 8 MiB. */
export const WINDOW_SHIFT = 7;

export class TcpReceiver {
  readonly #user: TcpUser;
  #next = 0;
  #shift = 0;
  /** The furthest that was ever offered: an offer is not taken back. */
  #offeredUntil = 0;
  readonly #early = new ReceiveQueue();
  #finAt = -1;
  #isOver = false;

  constructor(user: TcpUser) {
    this.#user = user;
  }

  /** The number that is expected: all before it has come. */
  get next(): number {
    return this.#next;
  }
  get isScaled(): boolean {
    return this.#shift > 0;
  }
  /** The guest has sent all that it wanted to, and it has come. */
  get isOver(): boolean {
    return this.#isOver;
  }
  /** What has come before its turn. */
  get earlyBytes(): number {
    return this.#early.bytes;
  }

  /** The guest's first number; it knows scaled windows when it speaks of them itself. */
  begin(syn: TcpSegment): void {
    this.#next = sequenceAdd(syn.sequence, 1);
    this.#offeredUntil = this.#next;
    if (syn.windowScale !== undefined) this.#shift = WINDOW_SHIFT;
  }

  // ---- the window ----

  /** That of a segment which is sent now: as wide as the user likes, and no narrower than it was. */
  offer(): number {
    const room = Math.max(0, this.#room());
    const already = Math.max(0, this.#offered());
    const unit = 2 ** this.#shift;
    const window = Math.min(0xffff, Math.floor(Math.max(already, room) / unit));
    const until = sequenceAdd(this.#next, window * unit);
    if (sequenceDistance(until, this.#offeredUntil) > 0) this.#offeredUntil = until;
    return window;
  }

  /** That of a SYN, which is never scaled. @param isAnswer whether the guest's numbers are known, so that it is an offer */
  offerInSyn(isAnswer: boolean): number {
    const window = Math.min(0xffff, this.#user.receiveRoom());
    if (isAnswer) this.#offeredUntil = sequenceAdd(this.#next, window);
    return window;
  }

  /** Whether there is so much more room than was offered that the guest should hear of it. */
  hasMuchMoreRoom(mss: number): boolean {
    const room = this.#room();
    // Small steps are not worth a segment (RFC 9293, 3.8.6.2.2).
    return room - this.#offered() >= Math.max(2 * mss, room / 4);
  }

  #room(): number {
    return this.#user.receiveRoom() - this.#early.bytes;
  }
  #offered(): number {
    return sequenceDistance(this.#offeredUntil, this.#next);
  }

  // ---- segments ----

  /** How far behind the expected number this one is. */
  offsetOf(sequence: number): number {
    return sequenceDistance(sequence, this.#next);
  }

  /** Whether a segment lies in the window, at least in part. */
  isAcceptable(offset: number, length: number, flags: number): boolean {
    const window = Math.max(0, this.#offered());
    const span = length + ((flags & TcpFlag.fin) !== 0 ? 1 : 0);
    if (span === 0) return offset >= 0 && offset <= window;
    // A byte beyond a closed window is a probe: it is answered, and not taken.
    return offset < window && offset + span > 0;
  }

  /** Hand on what is next; the rest is kept for its turn. Returns whether something was missing. */
  take(segment: TcpSegment, bytes: Uint8Array, offset: number): boolean {
    let start = segment.dataStart;
    let sequence = segment.sequence;
    if (offset < 0) {
      start = Math.min(segment.dataEnd, start - offset);
      sequence = sequenceAdd(sequence, start - segment.dataStart);
    }
    // What goes beyond the window is not taken.
    const room = Math.max(0, sequenceDistance(this.#offeredUntil, sequence));
    const end = Math.min(segment.dataEnd, start + room);
    const isWhole = end === segment.dataEnd;
    if ((segment.flags & TcpFlag.fin) !== 0 && isWhole) {
      this.#finAt = sequenceAdd(segment.sequence, segment.dataEnd - segment.dataStart);
    }
    if (end <= start || this.#isOver) return false;
    const data = bytes.subarray(start, end);
    if (sequence === this.#next && this.#early.isEmpty) {
      this.#deliver(data);
      return false;
    }
    this.#early.add(sequence, data.slice());
    for (let next = this.#early.take(this.#next); next; next = this.#early.take(this.#next)) {
      this.#deliver(next);
    }
    return true;
  }

  #deliver(data: Uint8Array): void {
    this.#next = sequenceAdd(this.#next, data.length);
    this.#user.data(data);
  }

  /** Whether the guest's end has its turn now. */
  takeFin(): boolean {
    if (this.#finAt !== this.#next || this.#isOver) return false;
    this.#isOver = true;
    this.#next = sequenceAdd(this.#next, 1);
    this.#early.clear();
    return true;
  }

  clear(): void {
    this.#early.clear();
  }
}
