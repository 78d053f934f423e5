/**
 * Memory by which a pCPU that many machines share and the control domain's thread tell each other what is not in a machine's memory: which
 * machine has something to execute, its share of the pCPU, and what it has used. Each machine has a *seat*, a number from 0.
 */
import { DomusError } from '../base/errors.ts';
import type { Share } from './credit.ts';

/** More machines than that no pCPU has. */
export const SEATS_MAX = 4096;
/** Words before those of seats. */
const Word = { rings: 0, isAsleep: 1, messages: 2 };
const SEATS = 16;
const SEAT_WORDS = 4;
const Seat = { isWoken: 0, weight: 1, cap: 2 };
/** What seats have used lies behind, as f64: nanoseconds. */
const USED = (SEATS + SEATS_MAX * SEAT_WORDS) * 4;
const BYTES = USED + SEATS_MAX * 8;

export class PcpuBell {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #used: Float64Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(BYTES)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
    this.#used = new Float64Array(memory, USED);
  }

  /** There is something to execute for the seat's machine. */
  ring(seat: number): void {
    Atomics.store(this.#words, wordOf(seat) + Seat.isWoken, 1);
    this.#ring();
  }
  /** A message was sent. */
  ringForMessage(): void {
    Atomics.add(this.#words, Word.messages, 1);
    this.#ring();
  }
  #ring(): void {
    Atomics.add(this.#words, Word.rings, 1);
    if (Atomics.load(this.#words, Word.isAsleep) !== 0) Atomics.notify(this.#words, Word.rings);
  }

  /** How often it was rung, modulo 2^32. */
  get rings(): number {
    return Atomics.load(this.#words, Word.rings);
  }
  /** How many messages were sent. */
  get messages(): number {
    return Atomics.load(this.#words, Word.messages);
  }
  /** Has the seat's machine been rung for since the last time that this was asked? */
  takeWoken(seat: number): boolean {
    const word = wordOf(seat) + Seat.isWoken;
    return Atomics.load(this.#words, word) !== 0 && Atomics.exchange(this.#words, word, 0) !== 0;
  }
  /** Sleep until it is rung after `rings` was read, or the time is over. */
  await(rings: number, waitMs: number): void {
    Atomics.store(this.#words, Word.isAsleep, 1);
    Atomics.wait(this.#words, Word.rings, rings, waitMs);
    Atomics.store(this.#words, Word.isAsleep, 0);
  }

  shareOf(seat: number): Share {
    const at = wordOf(seat);
    return {
      weight: Atomics.load(this.#words, at + Seat.weight),
      cap: Atomics.load(this.#words, at + Seat.cap),
    };
  }
  setShare(seat: number, { weight, cap }: Share): void {
    const at = wordOf(seat);
    Atomics.store(this.#words, at + Seat.weight, weight);
    Atomics.store(this.#words, at + Seat.cap, cap);
  }
  usedNs(seat: number): number {
    return this.#used[seat] as number;
  }
  setUsedNs(seat: number, ns: number): void {
    this.#used[seat] = ns;
  }
  /** Somebody new has the seat. */
  take(seat: number, share: Share): void {
    this.takeWoken(seat);
    this.setShare(seat, share);
    this.setUsedNs(seat, 0);
  }
}

const wordOf = (seat: number): number => SEATS + seat * SEAT_WORDS;

/** The lowest number that is not among those in use. @throws DomusError E_DOMAINS */
export function freeSeat(used: { has(seat: number): boolean }): number {
  for (let seat = 0; seat < SEATS_MAX; seat++) if (!used.has(seat)) return seat;
  throw new DomusError('E_DOMAINS', `${SEATS_MAX} guests are on one processor`, 'destroy some');
}
