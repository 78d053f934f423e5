/**
 * One end of a TCP connection with a guest (RFC 9293): handshake in both directions, half-close, reset, and which segments are believed.
 * tcp-sender.ts has what goes to the guest, tcp-receiver.ts what comes from it.
 *
 * It knows nothing of sockets: its user gives bytes with `send`, hears of bytes that arrived in order, and says how
 * much it is willing to hear (`receiveRoom`). No selective acknowledgements, no time stamps: the cable is memory.
 * Sequence numbers are unsigned 32-bit numbers, compared by distance.
 */
import { sequenceDistance, TcpFlag, type TcpSegment } from '../packet/tcp.ts';
import { TcpReceiver, WINDOW_SHIFT } from './tcp-receiver.ts';
import { TcpSender } from './tcp-sender.ts';
import type { TcpConnectionOptions, TcpUser } from './tcp-user.ts';

/** Long enough to answer a last segment that is sent again; the guest's port is its own to use again. */
const TIME_WAIT_MS = 2000;
const CHALLENGES_A_SECOND = 50;

export type TcpState =
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  /** Both ends are done; the last acknowledgement may have to be sent again. */
  | 'time-wait'
  | 'closed';

export class TcpConnection {
  readonly #options: TcpConnectionOptions;
  readonly #user: TcpUser;
  readonly #sender: TcpSender;
  readonly #receiver: TcpReceiver;
  #state: TcpState = 'closed';
  #cancelTimeWait: (() => void) | undefined;
  #challengeSecond = -1;
  #challenges = 0;
  #owesAck = false;
  #ackIsScheduled = false;

  constructor(options: TcpConnectionOptions) {
    this.#options = options;
    this.#user = options.user;
    this.#receiver = new TcpReceiver(options.user);
    this.#sender = new TcpSender(options, {
      emit: (sequence, flags, offset, count) => this.#emit(sequence, flags, offset, count),
      sendSyn: () => this.#sendSyn(),
      gaveUp: () => this.#giveUp(true),
    });
  }

  get state(): TcpState {
    return this.#state;
  }
  /** Data that one segment of the guest's carries at most. */
  get mss(): number {
    return this.#sender.mss;
  }
  /** Given to `send` and not acknowledged. */
  get queuedBytes(): number {
    return this.#sender.queue.length;
  }
  get earlyBytes(): number {
    return this.#receiver.earlyBytes;
  }

  // ---- what the user does ----

  /** Open towards the guest. */
  connect(): void {
    this.#state = 'syn-sent';
    this.#sendSyn();
  }

  /** Answer a guest's SYN. */
  accept(syn: TcpSegment): void {
    this.#state = 'syn-received';
    this.#takeSyn(syn);
    this.#sendSyn();
  }

  /** The bytes are copied. */
  send(bytes: Uint8Array): void {
    if (this.#state !== 'closed') this.#sender.send(bytes);
  }

  /** Nothing more will be sent. */
  finish(): void {
    if (this.#state !== 'closed') this.#sender.finish();
  }

  /** Give up: the guest is told by a reset. */
  reset(): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'time-wait') this.#close();
    else this.#giveUp();
  }

  /** The user takes more than before. */
  roomChanged(): void {
    if (this.#state !== 'established' || this.#receiver.isOver) return;
    if (this.#receiver.hasMuchMoreRoom(this.#sender.mss)) this.#acknowledge();
  }

  // ---- segments from the guest ----

  receive(segment: TcpSegment, bytes: Uint8Array): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'syn-sent') {
      this.#receiveInSynSent(segment);
      return;
    }
    const { flags } = segment;
    const length = segment.dataEnd - segment.dataStart;
    const offset = this.#receiver.offsetOf(segment.sequence);
    if (!this.#receiver.isAcceptable(offset, length, flags)) {
      if ((flags & TcpFlag.rst) === 0) this.#acknowledgeOld(segment, offset);
      return;
    }
    if ((flags & TcpFlag.rst) !== 0) {
      // One that is not exactly the next is answered, not believed (RFC 5961, 3.2).
      if (offset === 0) this.#close(true);
      else this.#challenge();
      return;
    }
    if ((flags & TcpFlag.syn) !== 0) {
      if (this.#state !== 'syn-received') this.#challenge();
      return;
    }
    if ((flags & TcpFlag.ack) === 0 || !this.#takeAck(segment, length)) return;
    if (length > 0 || (flags & TcpFlag.fin) !== 0) this.#takeData(segment, bytes, offset);
    this.#sender.output();
    this.#flushAck();
    this.#closeIfDone();
  }

  #receiveInSynSent(segment: TcpSegment): void {
    const { flags } = segment;
    const hasAck = (flags & TcpFlag.ack) !== 0;
    const acksSyn = hasAck && segment.acknowledgement === this.#sender.max;
    if ((flags & TcpFlag.rst) !== 0) {
      if (acksSyn) this.#close(true);
      return;
    }
    if (hasAck && !acksSyn) {
      this.#user.emit(
        { sequence: segment.acknowledgement, acknowledgement: 0, flags: TcpFlag.rst, window: 0 },
        this.#sender.queue,
        0,
        0,
      );
      return;
    }
    if ((flags & TcpFlag.syn) === 0 || !acksSyn) return;
    this.#takeSyn(segment);
    this.#establish(segment);
    this.#acknowledge();
    this.#sender.output();
  }

  /** The guest's first sequence number and its options. */
  #takeSyn(segment: TcpSegment): void {
    this.#receiver.begin(segment);
    this.#sender.agree(segment);
  }

  /** By a segment that acknowledges our SYN. */
  #establish(segment: TcpSegment): void {
    this.#sender.open(segment);
    this.#state = 'established';
    this.#user.connected();
  }

  /** A segment outside of the window: it may still bring an acknowledgement, and it asks for one. */
  #acknowledgeOld(segment: TcpSegment, offset: number): void {
    if ((segment.flags & TcpFlag.ack) !== 0 && (segment.flags & TcpFlag.syn) === 0) {
      // A probe of a closed window carries a good acknowledgement.
      if (offset >= 0) {
        this.#takeAck(segment, 1);
        this.#sender.output();
      }
    }
    if (this.#state === 'syn-received') {
      if ((segment.flags & TcpFlag.syn) !== 0) this.#sendSyn();
    } else if (this.#state !== 'closed') this.#challenge();
    this.#closeIfDone();
  }

  /** False if the segment is to be dropped. */
  #takeAck(segment: TcpSegment, dataBytes: number): boolean {
    const { acknowledgement } = segment;
    if (sequenceDistance(acknowledgement, this.#sender.max) > 0) {
      this.#challenge();
      return false;
    }
    if (this.#state === 'syn-received') {
      if (acknowledgement !== this.#sender.max) return false;
      this.#establish(segment);
    }
    if (this.#sender.takeAck(segment, dataBytes)) this.#user.progressed();
    return true;
  }

  #takeData(segment: TcpSegment, bytes: Uint8Array, offset: number): void {
    this.#owesAck = true;
    const wasMissing = this.#receiver.take(segment, bytes, offset);
    const hasEnded = this.#receiver.takeFin();
    // An answer to the data may have acknowledged that, before the end had its turn.
    if (hasEnded) this.#owesAck = true;
    // The guest learns at once what is missing.
    if (wasMissing) this.#acknowledge();
    if (hasEnded) this.#user.ended();
  }

  // ---- segments to the guest ----

  #sendSyn(): void {
    const isAnswer = this.#state === 'syn-received';
    const offersScale = !isAnswer || this.#receiver.isScaled;
    const window = this.#receiver.offerInSyn(isAnswer);
    this.#user.emit(
      {
        sequence: this.#sender.takeSynNumber(),
        acknowledgement: isAnswer ? this.#receiver.next : 0,
        flags: TcpFlag.syn | (isAnswer ? TcpFlag.ack : 0),
        window,
        mss: this.#options.mss,
        ...(offersScale && { windowScale: WINDOW_SHIFT }),
      },
      this.#sender.queue,
      0,
      0,
    );
  }

  #emit(sequence: number, flags: number, offset: number, count: number): void {
    const window = this.#receiver.offer();
    this.#owesAck = false;
    this.#user.emit(
      { sequence, acknowledgement: this.#receiver.next, flags, window },
      this.#sender.queue,
      offset,
      count,
    );
  }

  /** Send an acknowledgement now. */
  #acknowledge(): void {
    this.#emit(this.#sender.next, TcpFlag.ack, 0, 0);
  }

  /** Answer what does not fit, but not so often that two ends which disagree keep each other busy (RFC 5961, 7). */
  #challenge(): void {
    const second = Math.floor(this.#options.clock.monotonicNs() / 1e9);
    if (second !== this.#challengeSecond) {
      this.#challengeSecond = second;
      this.#challenges = 0;
    }
    this.#challenges += 1;
    if (this.#challenges <= CHALLENGES_A_SECOND) this.#acknowledge();
  }

  /** Send the acknowledgement that is owed once the burst is over, unless data takes it along before. */
  #flushAck(): void {
    if (!this.#owesAck || this.#ackIsScheduled) return;
    this.#ackIsScheduled = true;
    this.#options.defer(() => {
      this.#ackIsScheduled = false;
      if (this.#owesAck && this.#state !== 'closed') this.#acknowledge();
    });
  }

  // ---- the end ----

  #closeIfDone(): void {
    if (this.#state !== 'established' || !this.#receiver.isOver || !this.#sender.isDone) return;
    this.#sender.stop();
    this.#state = 'time-wait';
    this.#cancelTimeWait = this.#options.timers.after(TIME_WAIT_MS, () => this.#close());
  }

  /** The guest is told by a reset. */
  #giveUp(broken = false): void {
    this.#emit(this.#sender.next, TcpFlag.rst | TcpFlag.ack, 0, 0);
    this.#close(broken);
  }

  #close(broken = false): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#cancelTimeWait?.();
    this.#sender.stop();
    this.#receiver.clear();
    this.#user.closed(broken);
  }
}
