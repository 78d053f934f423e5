/**
 * One end of a TCP connection with a guest (RFC 9293): handshake in both directions, windows with scaling, retransmission
 * by time-out and by duplicate acknowledgements, zero-window probes, half-close, reset.
 *
 * It knows nothing of sockets: its user gives bytes with `send`, hears of bytes that arrived in order, and says how
 * much it is willing to hear (`receiveRoom`). No selective acknowledgements, no time stamps: the cable is memory.
 * Sequence numbers are unsigned 32-bit numbers, compared by distance.
 */
import type { Clock, Timers } from '../../platform/platform.ts';
import { sequenceAdd, sequenceDistance, TcpFlag, type TcpHeader, type TcpSegment } from '../packet/tcp.ts';
import type { BlockPool } from './block-pool.ts';
import { Congestion } from './congestion.ts';
import { ReceiveQueue } from './receive-queue.ts';
import { RoundTrip } from './round-trip.ts';
import { SendQueue } from './send-queue.ts';

/** Windows up to 8 MiB. */
const WINDOW_SHIFT = 7;
const MSS_DEFAULT = 536;
const SYN_TRIES = 7;
const DATA_TRIES = 12;
/** Long enough to answer a last segment that is sent again; the guest's port is its own to use again. */
const TIME_WAIT_MS = 2000;
const DUPLICATES_FOR_LOSS = 3;
const CHALLENGES_A_SECOND = 50;

export type TcpState =
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  /** Both ends are done; the last acknowledgement may have to be sent again. */
  | 'time-wait'
  | 'closed';

export interface TcpUser {
  /** Send a segment: the header's fields, and `dataBytes` of the queue beginning `dataOffset` behind its head. */
  emit(
    header: Omit<TcpHeader, 'sourcePort' | 'destinationPort'>,
    queue: SendQueue,
    dataOffset: number,
    dataBytes: number,
  ): void;
  connected(): void;
  /** Bytes in order; only for the call. */
  data(bytes: Uint8Array): void;
  /** The guest sends nothing more. */
  ended(): void;
  /** Something that was sent is acknowledged, or the window has changed. */
  progressed(): void;
  /** The connection is over. `broken`: by a reset or because the guest no longer answers. */
  closed(broken: boolean): void;
  /** How many bytes the user would take now. */
  receiveRoom(): number;
}

export interface TcpConnectionOptions {
  readonly user: TcpUser;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Runs a task when what is at hand is done: acknowledgements of a burst become one. */
  readonly defer: (task: () => void) => void;
  readonly initialSequence: number;
  /** Of this end of the cable. */
  readonly mss: number;
  /** Longest data of one segment that the cable takes, by leaving the cutting to others. */
  readonly largeSegmentBytes: number;
  /** Where bytes wait for their acknowledgement. */
  readonly blocks: BlockPool;
}

export class TcpConnection {
  readonly #options: TcpConnectionOptions;
  readonly #user: TcpUser;
  #state: TcpState = 'closed';

  // Sending. `una` is the oldest number that is not acknowledged, `next` the next to be sent, `max` the furthest sent.
  readonly #queue: SendQueue;
  #una: number;
  #next: number;
  #max: number;
  #sendWindow = 0;
  #sendWindowMax = 0;
  #sendShift = 0;
  #mss = MSS_DEFAULT;
  #congestion: Congestion;
  readonly #roundTrip = new RoundTrip();
  #duplicates = 0;
  #recoverUntil = 0;
  #timedSequence = -1;
  #timedAtMs = 0;
  #tries = 0;
  #cancelTimer: (() => void) | undefined;
  #isFinishing = false;
  #finSent = false;
  #finAcknowledged = false;

  // Receiving.
  #receiveNext = 0;
  #receiveShift = 0;
  /** The furthest that was ever offered: an offer is not taken back. */
  #offeredUntil = 0;
  readonly #early = new ReceiveQueue();
  #earlyFin = -1;
  #finReceived = false;
  #challengeSecond = -1;
  #challenges = 0;
  #owesAck = false;
  #ackIsScheduled = false;
  #outputIsScheduled = false;

  constructor(options: TcpConnectionOptions) {
    this.#options = options;
    this.#user = options.user;
    this.#queue = new SendQueue(options.blocks);
    this.#una = options.initialSequence;
    this.#next = this.#una;
    this.#max = this.#una;
    this.#congestion = new Congestion(this.#mss);
  }

  get state(): TcpState {
    return this.#state;
  }
  /** Data that one segment of the guest's carries at most. */
  get mss(): number {
    return this.#mss;
  }
  /** Given to `send` and not acknowledged. */
  get queuedBytes(): number {
    return this.#queue.length;
  }
  get earlyBytes(): number {
    return this.#early.bytes;
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
    if (this.#isFinishing || this.#state === 'closed') return;
    this.#queue.push(bytes);
    this.#output(true);
  }

  /** Nothing more will be sent. */
  finish(): void {
    if (this.#isFinishing || this.#state === 'closed') return;
    this.#isFinishing = true;
    this.#output();
  }

  /** Give up: the guest is told by a reset. */
  reset(): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'time-wait') this.#emit(this.#next, TcpFlag.rst | TcpFlag.ack, 0, 0);
    this.#close();
  }

  /** The user takes more than before. */
  roomChanged(): void {
    if (this.#state !== 'established' || this.#finReceived) return;
    const offered = sequenceDistance(this.#offeredUntil, this.#receiveNext);
    const room = this.#user.receiveRoom() - this.#early.bytes;
    // Small steps are not worth a segment (RFC 9293, 3.8.6.2.2).
    if (room - offered >= Math.max(2 * this.#mss, room / 4)) this.#acknowledge();
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
    const offset = sequenceDistance(segment.sequence, this.#receiveNext);
    if (!this.#isAcceptable(offset, length, flags)) {
      if ((flags & TcpFlag.rst) === 0) this.#acknowledgeOld(segment);
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
    this.#output();
    this.#flushAck();
    this.#closeIfDone();
  }

  #receiveInSynSent(segment: TcpSegment): void {
    const { flags } = segment;
    const hasAck = (flags & TcpFlag.ack) !== 0;
    const acksSyn = hasAck && segment.acknowledgement === this.#max;
    if ((flags & TcpFlag.rst) !== 0) {
      if (acksSyn) this.#close(true);
      return;
    }
    if (hasAck && !acksSyn) {
      this.#user.emit(
        { sequence: segment.acknowledgement, acknowledgement: 0, flags: TcpFlag.rst, window: 0 },
        this.#queue,
        0,
        0,
      );
      return;
    }
    if ((flags & TcpFlag.syn) === 0 || !acksSyn) return;
    this.#takeSyn(segment);
    this.#sendWindow = segment.window;
    this.#una = this.#max;
    this.#next = this.#max;
    this.#established();
    this.#acknowledge();
    this.#output();
  }

  /** The guest's first sequence number and its options. */
  #takeSyn(segment: TcpSegment): void {
    this.#receiveNext = sequenceAdd(segment.sequence, 1);
    this.#offeredUntil = this.#receiveNext;
    this.#mss = Math.max(64, Math.min(segment.mss ?? MSS_DEFAULT, this.#options.mss));
    this.#congestion = new Congestion(this.#mss);
    if (segment.windowScale !== undefined) {
      this.#sendShift = segment.windowScale;
      this.#receiveShift = WINDOW_SHIFT;
    }
    this.#sendWindow = segment.window;
  }

  #established(): void {
    this.#state = 'established';
    this.#stopTimer();
    this.#tries = 0;
    this.#user.connected();
  }

  #isAcceptable(offset: number, length: number, flags: number): boolean {
    const window = Math.max(0, sequenceDistance(this.#offeredUntil, this.#receiveNext));
    const span = length + ((flags & TcpFlag.fin) !== 0 ? 1 : 0);
    if (span === 0) return offset >= 0 && offset <= window;
    // A byte beyond a closed window is a probe: it is answered, and not taken.
    return offset < window && offset + span > 0;
  }

  /** A segment outside of the window: it may still bring an acknowledgement, and it asks for one. */
  #acknowledgeOld(segment: TcpSegment): void {
    if ((segment.flags & TcpFlag.ack) !== 0 && (segment.flags & TcpFlag.syn) === 0) {
      // A probe of a closed window carries a good acknowledgement.
      if (sequenceDistance(segment.sequence, this.#receiveNext) >= 0) {
        this.#takeAck(segment, 1);
        this.#output();
      }
    }
    if (this.#state === 'syn-received') {
      if ((segment.flags & TcpFlag.syn) !== 0) this.#sendSyn(true);
    } else if (this.#state !== 'closed') this.#challenge();
    this.#closeIfDone();
  }

  /** False if the segment is to be dropped. */
  #takeAck(segment: TcpSegment, dataBytes: number): boolean {
    const acknowledgement = segment.acknowledgement;
    if (sequenceDistance(acknowledgement, this.#max) > 0) {
      this.#challenge();
      return false;
    }
    if (this.#state === 'syn-received') {
      if (sequenceDistance(acknowledgement, this.#una) <= 0) return false;
      this.#una = sequenceAdd(this.#una, 1);
      this.#sendWindow = segment.window << this.#sendShift;
      this.#established();
    }
    const newly = sequenceDistance(acknowledgement, this.#una);
    if (newly < 0) return true;
    const window = segment.window * 2 ** this.#sendShift;
    const isDuplicate =
      newly === 0 &&
      dataBytes === 0 &&
      window === this.#sendWindow &&
      window > 0 &&
      (segment.flags & TcpFlag.fin) === 0 &&
      this.#una !== this.#max;
    const windowChanged = window !== this.#sendWindow;
    if (newly === 0 && this.#sendWindow === 0) {
      // It answers, so it lives. What probed the closed window was not taken: it is sent again.
      this.#tries = 0;
      if (window > 0) this.#next = this.#una;
    }
    this.#sendWindow = window;
    this.#sendWindowMax = Math.max(this.#sendWindowMax, window);
    if (newly > 0) this.#acknowledged(newly, acknowledgement);
    else if (isDuplicate) this.#duplicateAck();
    if (newly > 0 || windowChanged) this.#user.progressed();
    return true;
  }

  #acknowledged(newly: number, acknowledgement: number): void {
    const nowMs = this.#nowMs();
    const finCounts = this.#finSent && acknowledgement === this.#max && !this.#finAcknowledged ? 1 : 0;
    this.#queue.drop(newly - finCounts);
    if (finCounts) this.#finAcknowledged = true;
    this.#una = acknowledgement;
    if (sequenceDistance(this.#next, this.#una) < 0) this.#next = this.#una;
    if (this.#timedSequence >= 0 && sequenceDistance(acknowledgement, this.#timedSequence) > 0) {
      this.#roundTrip.measured(nowMs - this.#timedAtMs);
      this.#timedSequence = -1;
    } else {
      this.#roundTrip.progressed();
    }
    this.#tries = 0;
    this.#duplicates = 0;
    if (this.#congestion.inRecovery) {
      if (sequenceDistance(acknowledgement, this.#recoverUntil) >= 0) {
        this.#congestion.leaveRecovery();
      } else {
        this.#congestion.partial(newly);
        this.#retransmitFirst();
      }
    } else {
      this.#congestion.acknowledged(newly);
    }
    this.#stopTimer();
    if (this.#una !== this.#max) this.#startTimer();
  }

  #duplicateAck(): void {
    this.#duplicates += 1;
    if (this.#congestion.inRecovery) {
      this.#congestion.duplicate();
    } else if (this.#duplicates === DUPLICATES_FOR_LOSS) {
      this.#congestion.enterRecovery(sequenceDistance(this.#max, this.#una));
      this.#recoverUntil = this.#max;
      this.#timedSequence = -1;
      this.#retransmitFirst();
    }
  }

  #takeData(segment: TcpSegment, bytes: Uint8Array, offset: number): void {
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
      this.#earlyFin = sequenceAdd(segment.sequence, segment.dataEnd - segment.dataStart);
    }
    this.#owesAck = true;
    if (end > start && !this.#finReceived) {
      const data = bytes.subarray(start, end);
      if (sequence === this.#receiveNext && this.#early.isEmpty) {
        this.#deliver(data);
      } else {
        this.#early.add(sequence, data.slice());
        for (
          let next = this.#early.take(this.#receiveNext);
          next;
          next = this.#early.take(this.#receiveNext)
        ) {
          this.#deliver(next);
        }
        // The guest learns at once what is missing.
        this.#acknowledge();
      }
    }
    if (this.#earlyFin === this.#receiveNext && !this.#finReceived) {
      this.#finReceived = true;
      this.#receiveNext = sequenceAdd(this.#receiveNext, 1);
      this.#early.clear();
      this.#user.ended();
    }
  }

  #deliver(data: Uint8Array): void {
    this.#receiveNext = sequenceAdd(this.#receiveNext, data.length);
    this.#user.data(data);
  }

  // ---- segments to the guest ----

  #nowMs(): number {
    return this.#options.clock.monotonicNs() / 1e6;
  }

  /** Size of what is under way. */
  #flight(): number {
    return sequenceDistance(this.#next, this.#una);
  }

  /** Send what windows allow. @param isBurst more may follow at once: a last segment that could be larger waits for it */
  #output(isBurst = false): void {
    if (this.#state !== 'established') return;
    for (;;) {
      const sent = this.#flight();
      const unsent = this.#queue.length - Math.min(sent, this.#queue.length);
      const window = Math.min(this.#sendWindow, Math.floor(this.#congestion.windowBytes));
      const usable = window - sent;
      const finIsDue =
        this.#isFinishing && !this.#finAcknowledged && !(this.#finSent && sent > this.#queue.length);
      if (unsent === 0 && !finIsDue) break;
      let count = Math.min(unsent, Math.max(0, usable), this.#largeBytes());
      if (isBurst && sent > 0 && count === unsent && count < this.#largeBytes() && !finIsDue) {
        this.#outputAfterBurst();
        break;
      }
      // Many small segments are worse than a short wait: send whole ones as long as there is more to come.
      if (count < unsent && count >= this.#mss) count -= count % this.#mss;
      if (unsent > 0 && (count === 0 || count < Math.min(unsent, this.#mss, this.#sendWindowMax / 2))) {
        if (sent === 0) this.#startTimer();
        break;
      }
      const takesFin = finIsDue && count === unsent;
      if (unsent === 0 && !takesFin) break;
      const sequence = this.#next;
      this.#next = sequenceAdd(sequence, count + (takesFin ? 1 : 0));
      if (sequenceDistance(this.#next, this.#max) > 0) {
        if (this.#timedSequence < 0 && this.#max === sequence) {
          this.#timedSequence = sequence;
          this.#timedAtMs = this.#nowMs();
        }
        this.#max = this.#next;
      }
      this.#startTimer();
      this.#transmit(sequence, sent, count, takesFin);
      if (takesFin) break;
    }
  }

  /** While the guest has something to work on already. */
  #outputAfterBurst(): void {
    if (this.#outputIsScheduled) return;
    this.#outputIsScheduled = true;
    this.#options.defer(() => {
      this.#outputIsScheduled = false;
      this.#output();
    });
  }

  #largeBytes(): number {
    return Math.max(
      this.#mss,
      this.#options.largeSegmentBytes - (this.#options.largeSegmentBytes % this.#mss),
    );
  }

  #transmit(sequence: number, offset: number, count: number, withFin: boolean): void {
    let flags: number = TcpFlag.ack;
    if (withFin) {
      flags |= TcpFlag.fin;
      this.#finSent = true;
    }
    if (count > 0 && offset + count === this.#queue.length) flags |= TcpFlag.psh;
    this.#emit(sequence, flags, offset, count);
  }

  /** The oldest segment once more. */
  #retransmitFirst(): void {
    const count = Math.min(this.#queue.length, this.#mss);
    const withFin = this.#finSent && count === this.#queue.length;
    if (count === 0 && !withFin) return;
    this.#transmit(this.#una, 0, count, withFin);
    this.#startTimer();
  }

  #sendSyn(again = false): void {
    const isAnswer = this.#state === 'syn-received';
    const offersScale = !isAnswer || this.#receiveShift > 0;
    const window = Math.min(0xffff, this.#user.receiveRoom());
    if (isAnswer) this.#offeredUntil = sequenceAdd(this.#receiveNext, window);
    this.#next = sequenceAdd(this.#una, 1);
    this.#max = this.#next;
    if (!again) this.#startTimer();
    this.#user.emit(
      {
        sequence: this.#una,
        acknowledgement: isAnswer ? this.#receiveNext : 0,
        flags: TcpFlag.syn | (isAnswer ? TcpFlag.ack : 0),
        window,
        mss: this.#options.mss,
        ...(offersScale && { windowScale: WINDOW_SHIFT }),
      },
      this.#queue,
      0,
      0,
    );
  }

  #emit(sequence: number, flags: number, offset: number, count: number): void {
    const room = Math.max(0, this.#user.receiveRoom() - this.#early.bytes);
    const already = Math.max(0, sequenceDistance(this.#offeredUntil, this.#receiveNext));
    const unit = 2 ** this.#receiveShift;
    const window = Math.min(0xffff, Math.floor(Math.max(already, room) / unit));
    const until = sequenceAdd(this.#receiveNext, window * unit);
    if (sequenceDistance(until, this.#offeredUntil) > 0) this.#offeredUntil = until;
    this.#owesAck = false;
    this.#user.emit(
      { sequence, acknowledgement: this.#receiveNext, flags, window },
      this.#queue,
      offset,
      count,
    );
  }

  /** Send an acknowledgement now. */
  #acknowledge(): void {
    this.#emit(this.#next, TcpFlag.ack, 0, 0);
  }

  /** Answer what does not fit, but not so often that two ends which disagree keep each other busy (RFC 5961, 7). */
  #challenge(): void {
    const second = Math.floor(this.#nowMs() / 1000);
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

  // ---- time ----

  #startTimer(): void {
    if (this.#cancelTimer) return;
    this.#cancelTimer = this.#options.timers.after(this.#roundTrip.timeoutMs, () => {
      this.#cancelTimer = undefined;
      this.#timedOut();
    });
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #timedOut(): void {
    this.#tries += 1;
    const isSyn = this.#state === 'syn-sent' || this.#state === 'syn-received';
    if (this.#tries > (isSyn ? SYN_TRIES : DATA_TRIES)) {
      this.#emit(this.#next, TcpFlag.rst | TcpFlag.ack, 0, 0);
      this.#close(true);
      return;
    }
    this.#roundTrip.backOff();
    this.#timedSequence = -1;
    if (isSyn) {
      this.#sendSyn();
      return;
    }
    if (this.#una === this.#max || this.#sendWindow === 0) {
      this.#probeWindow();
      return;
    }
    this.#congestion.timedOut(sequenceDistance(this.#max, this.#una));
    this.#duplicates = 0;
    // From the beginning: nothing is known of what came behind the segment that is lost.
    this.#next = this.#una;
    this.#output();
    if (this.#next === this.#una) this.#retransmitFirst();
    this.#startTimer();
  }

  /** The guest's window is closed, or too small for a whole segment: one byte, or what fits, asks whether it still is. A guest that answers may keep it closed. */
  #probeWindow(): void {
    if (this.#queue.length === 0 && !this.#finSent) return;
    if (this.#queue.length > 0) {
      const count = Math.max(1, Math.min(this.#queue.length, this.#sendWindow, this.#mss));
      this.#transmit(this.#una, 0, count, false);
      const behind = sequenceAdd(this.#una, count);
      if (sequenceDistance(behind, this.#max) > 0) this.#max = behind;
      if (sequenceDistance(behind, this.#next) > 0) this.#next = behind;
    } else {
      this.#retransmitFirst();
    }
    this.#startTimer();
  }

  // ---- the end ----

  #closeIfDone(): void {
    if (this.#state !== 'established' || !this.#finReceived || !this.#finAcknowledged) return;
    this.#stopTimer();
    this.#state = 'time-wait';
    this.#cancelTimer = this.#options.timers.after(TIME_WAIT_MS, () => {
      this.#cancelTimer = undefined;
      this.#close();
    });
  }

  #close(broken = false): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stopTimer();
    this.#queue.clear();
    this.#early.clear();
    this.#user.closed(broken);
  }
}
