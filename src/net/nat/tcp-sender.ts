/**
 * What goes to the guest over a TCP connection: bytes wait in a queue until they are acknowledged, and leave as windows allow. What the
 * guest does not answer is sent again, by time-out or by duplicate acknowledgements; a window that is closed is probed.
 */
import { sequenceAdd, sequenceDistance, TcpFlag, type TcpSegment } from '../packet/tcp.ts';
import { Congestion } from './congestion.ts';
import { RoundTrip } from './round-trip.ts';
import { SendQueue } from './send-queue.ts';
import type { TcpConnectionOptions } from './tcp-user.ts';

const MSS_DEFAULT = 536;
const SYN_TRIES = 7;
const DATA_TRIES = 12;

/** What the connection does for it. */
export interface TcpSenderOutlet {
  /** Send a segment: `count` bytes of the queue, beginning `offset` behind its head. */
  emit(sequence: number, flags: number, offset: number, count: number): void;
  sendSyn(): void;
  /** The guest has not answered for long. */
  gaveUp(): void;
}

export class TcpSender {
  readonly #options: TcpConnectionOptions;
  readonly #outlet: TcpSenderOutlet;
  /** What the user gave and the guest has not acknowledged. */
  readonly queue: SendQueue;
  /** The guest has answered our SYN, and the connection lasts. */
  #isOpen = false;

  /** The oldest number that is not acknowledged, the next to be sent, and the furthest sent. */
  #una: number;
  #next: number;
  #max: number;
  #isFinishing = false;
  #finSent = false;
  #finAcknowledged = false;

  /** What the guest takes beyond `una`. */
  #window = 0;
  #windowMax = 0;
  #windowShift = 0;
  #mss = MSS_DEFAULT;
  #congestion = new Congestion(MSS_DEFAULT);

  readonly #roundTrip = new RoundTrip();
  #tries = 0;
  #cancelTimer: (() => void) | undefined;
  #outputIsScheduled = false;

  constructor(options: TcpConnectionOptions, outlet: TcpSenderOutlet) {
    this.#options = options;
    this.#outlet = outlet;
    this.queue = new SendQueue(options.blocks);
    this.#una = options.initialSequence;
    this.#next = this.#una;
    this.#max = this.#una;
  }

  get next(): number {
    return this.#next;
  }
  /** No acknowledgement can be beyond it. */
  get max(): number {
    return this.#max;
  }
  /** Data that one segment carries at most. */
  get mss(): number {
    return this.#mss;
  }
  /** Everything is acknowledged, and that it is everything. */
  get isDone(): boolean {
    return this.#finAcknowledged;
  }

  // ---- the handshake ----

  /** A SYN is sent now, for the first time or again. Returns its number. */
  takeSynNumber(): number {
    this.#next = sequenceAdd(this.#una, 1);
    this.#max = this.#next;
    this.#startTimer();
    return this.#una;
  }

  /** How much the guest takes, by its SYN. */
  agree(syn: TcpSegment): void {
    this.#mss = Math.max(64, Math.min(syn.mss ?? MSS_DEFAULT, this.#options.mss));
    this.#congestion = new Congestion(this.#mss);
    this.#windowShift = syn.windowScale ?? 0;
    this.#window = this.#windowOf(syn);
  }

  /** Our SYN is acknowledged. */
  open(segment: TcpSegment): void {
    this.#una = this.#max;
    this.#next = this.#max;
    this.#window = this.#windowOf(segment);
    this.#isOpen = true;
    this.#stopTimer();
    this.#tries = 0;
  }

  /** That of a SYN is never scaled. */
  #windowOf({ window, flags }: TcpSegment): number {
    return (flags & TcpFlag.syn) !== 0 ? window : window * 2 ** this.#windowShift;
  }

  // ---- from the user ----

  /** The bytes are copied. */
  send(bytes: Uint8Array): void {
    if (this.#isFinishing) return;
    this.queue.push(bytes);
    this.output(true);
  }

  /** Nothing more will be sent. */
  finish(): void {
    if (this.#isFinishing) return;
    this.#isFinishing = true;
    this.output();
  }

  /** Nothing is sent any more, nor again. */
  stop(): void {
    this.#isOpen = false;
    this.#stopTimer();
    this.queue.clear();
  }

  // ---- acknowledgements ----

  /** Take what a segment acknowledges, and its window. Returns whether either is new. */
  takeAck(segment: TcpSegment, dataBytes: number): boolean {
    const newly = sequenceDistance(segment.acknowledgement, this.#una);
    if (newly < 0) return false;
    const window = this.#windowOf(segment);
    const windowChanged = window !== this.#window;
    const isDuplicate =
      newly === 0 &&
      dataBytes === 0 &&
      !windowChanged &&
      window > 0 &&
      (segment.flags & TcpFlag.fin) === 0 &&
      this.#una !== this.#max;
    if (newly === 0 && this.#window === 0) {
      // It answers, so it lives. What probed the closed window was not taken: it is sent again.
      this.#tries = 0;
      if (window > 0) this.#next = this.#una;
    }
    this.#window = window;
    this.#windowMax = Math.max(this.#windowMax, window);
    if (newly > 0) this.#acknowledged(newly, segment.acknowledgement);
    else if (isDuplicate) this.#duplicateAck();
    return newly > 0 || windowChanged;
  }

  #acknowledged(newly: number, acknowledgement: number): void {
    const finCounts = this.#finSent && acknowledgement === this.#max && !this.#finAcknowledged ? 1 : 0;
    this.queue.drop(newly - finCounts);
    if (finCounts) this.#finAcknowledged = true;
    this.#una = acknowledgement;
    if (sequenceDistance(this.#next, this.#una) < 0) this.#next = this.#una;
    this.#roundTrip.acknowledged(acknowledgement, this.#nowMs());
    this.#tries = 0;
    if (this.#congestion.acknowledged(newly, acknowledgement)) this.#retransmitFirst();
    this.#stopTimer();
    if (this.#una !== this.#max) this.#startTimer();
  }

  #duplicateAck(): void {
    if (!this.#congestion.duplicate(this.#underWay(), this.#max)) return;
    this.#roundTrip.forget();
    this.#retransmitFirst();
  }

  // ---- segments ----

  /** Send what windows allow. @param isBurst more may follow at once: a last segment that could be larger waits for it */
  output(isBurst = false): void {
    if (!this.#isOpen) return;
    for (;;) {
      const sent = sequenceDistance(this.#next, this.#una);
      const unsent = this.queue.length - Math.min(sent, this.queue.length);
      const window = Math.min(this.#window, Math.floor(this.#congestion.windowBytes));
      const usable = window - sent;
      const finIsDue =
        this.#isFinishing && !this.#finAcknowledged && !(this.#finSent && sent > this.queue.length);
      if (unsent === 0 && !finIsDue) break;
      let count = Math.min(unsent, Math.max(0, usable), this.#largeBytes());
      if (isBurst && sent > 0 && count === unsent && count < this.#largeBytes() && !finIsDue) {
        this.#outputAfterBurst();
        break;
      }
      // Many small segments are worse than a short wait: send whole ones as long as there is more to come.
      if (count < unsent && count >= this.#mss) count -= count % this.#mss;
      if (unsent > 0 && (count === 0 || count < Math.min(unsent, this.#mss, this.#windowMax / 2))) {
        if (sent === 0) this.#startTimer();
        break;
      }
      const takesFin = finIsDue && count === unsent;
      if (unsent === 0 && !takesFin) break;
      const sequence = this.#next;
      this.#next = sequenceAdd(sequence, count + (takesFin ? 1 : 0));
      if (sequenceDistance(this.#next, this.#max) > 0) {
        if (!this.#roundTrip.isMeasuring && this.#max === sequence) {
          this.#roundTrip.begin(sequence, this.#nowMs());
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
      this.output();
    });
  }

  #largeBytes(): number {
    const { largeSegmentBytes } = this.#options;
    return Math.max(this.#mss, largeSegmentBytes - (largeSegmentBytes % this.#mss));
  }

  #transmit(sequence: number, offset: number, count: number, withFin: boolean): void {
    let flags: number = TcpFlag.ack;
    if (withFin) {
      flags |= TcpFlag.fin;
      this.#finSent = true;
    }
    if (count > 0 && offset + count === this.queue.length) flags |= TcpFlag.psh;
    this.#outlet.emit(sequence, flags, offset, count);
  }

  /** The oldest segment once more. */
  #retransmitFirst(): void {
    const count = Math.min(this.queue.length, this.#mss);
    const withFin = this.#finSent && count === this.queue.length;
    if (count === 0 && !withFin) return;
    this.#transmit(this.#una, 0, count, withFin);
    this.#startTimer();
  }

  #underWay(): number {
    return sequenceDistance(this.#max, this.#una);
  }

  // ---- time ----

  #nowMs(): number {
    return this.#options.clock.monotonicNs() / 1e6;
  }

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
    if (this.#tries > (this.#isOpen ? DATA_TRIES : SYN_TRIES)) {
      this.#outlet.gaveUp();
      return;
    }
    this.#roundTrip.timedOut();
    if (!this.#isOpen) {
      this.#outlet.sendSyn();
      return;
    }
    if (this.#una === this.#max || this.#window === 0) {
      this.#probeWindow();
      return;
    }
    this.#congestion.timedOut(this.#underWay());
    // From the beginning: nothing is known of what came behind the segment that is lost.
    this.#next = this.#una;
    this.output();
    if (this.#next === this.#una) this.#retransmitFirst();
    this.#startTimer();
  }

  /**
   * The guest's window is closed, or too small for a whole segment: one byte, or what fits, asks whether it still is. A guest that answers
   * may keep it closed.
   */
  #probeWindow(): void {
    if (this.queue.length === 0 && !this.#finSent) return;
    if (this.queue.length > 0) {
      const count = Math.max(1, Math.min(this.queue.length, this.#window, this.#mss));
      this.#transmit(this.#una, 0, count, false);
      const behind = sequenceAdd(this.#una, count);
      if (sequenceDistance(behind, this.#max) > 0) this.#max = behind;
      if (sequenceDistance(behind, this.#next) > 0) this.#next = behind;
    } else {
      this.#retransmitFirst();
    }
    this.#startTimer();
  }
}
