/**
 * The host's memory. Guests are given theirs page by page when they first look at it, so together they may have been promised more than
 * there is. A reserve is kept: below it no guest is made, and one that takes more is held until there is memory again. No guest
 * ever loses a page, and the host process is not ended by the system, which would end all of them.
 */
import { DomusError } from '../base/errors.ts';
import { availableMemoryBytes, hostResources } from '../platform/node/host-info.ts';
import type { Timers } from '../platform/platform.ts';

export interface MemoryGuardOptions {
  /** Bytes of the host that guests leave alone. Default: a sixteenth of its memory, at most 512 MiB. */
  readonly reserveBytes?: number;
  /** What the host has left. */
  readonly availableBytes?: () => number;
}

/** A guest as the guard sees it. */
export interface GuardedGuest {
  /** Memory of the host that its machine has used so far; never less than before. */
  readonly touchedBytes: number;
  /** Hold it where it is, whatever its owner says. */
  holdForMemory(reason: string): void;
  /** Let it go on, unless its owner has paused it. */
  letGo(): void;
}

const MIB = 2 ** 20;
const RESERVE_MAX = 512 * MIB;
const RESERVE_PART = 16;
/** Between two looks, and between those when memory is scarce. */
const LOOK_MS = 1000;
const SCARCE_LOOK_MS = 100;
/** So many times the reserve: more than guests can take between two looks. */
const SCARCE = 4;
/** Held guests go on when there is so much more than the reserve. */
const ENOUGH = 1.25;

const mebibytes = (bytes: number): string => `${Math.floor(bytes / MIB)} MiB`;

interface Watched {
  touchedBytes: number;
  isHeld: boolean;
}

export class MemoryGuard {
  readonly #timers: Timers;
  readonly #reserveBytes: number;
  readonly #availableBytes: () => number;
  /** In the order in which they were held, those that are. */
  readonly #guests = new Map<GuardedGuest, Watched>();
  #cancel: (() => void) | undefined;

  constructor(timers: Timers, { reserveBytes, availableBytes }: MemoryGuardOptions = {}) {
    this.#timers = timers;
    this.#reserveBytes =
      reserveBytes ?? Math.min(RESERVE_MAX, Math.floor(hostResources().memoryBytes / RESERVE_PART));
    this.#availableBytes = availableBytes ?? availableMemoryBytes;
  }

  /** What guests can still be given; below zero where the reserve is touched. */
  get spareBytes(): number {
    return this.#availableBytes() - this.#reserveBytes;
  }

  /** Is there memory for another guest? @throws DomusError E_HOST_MEMORY */
  admit(): void {
    const available = this.#availableBytes();
    if (available >= this.#reserveBytes) return;
    throw new DomusError(
      'E_HOST_MEMORY',
      `the host has ${mebibytes(available)} of memory left, and ${mebibytes(this.#reserveBytes)} are kept in reserve`,
      'end other guests or programs first',
    );
  }

  join(guest: GuardedGuest): void {
    this.#guests.set(guest, { touchedBytes: guest.touchedBytes, isHeld: false });
    if (!this.#cancel) this.#plan(SCARCE_LOOK_MS);
  }
  leave(guest: GuardedGuest): void {
    this.#guests.delete(guest);
  }

  #plan(delayMs: number): void {
    this.#cancel = undefined;
    if (this.#guests.size > 0) this.#cancel = this.#timers.after(delayMs, () => this.#look());
  }

  #look(): void {
    const available = this.#availableBytes();
    if (available < this.#reserveBytes) this.#holdGreediest(available);
    else if (available >= ENOUGH * this.#reserveBytes) this.#letOneGo();
    for (const [guest, watched] of this.#guests) watched.touchedBytes = guest.touchedBytes;
    this.#plan(available < SCARCE * this.#reserveBytes ? SCARCE_LOOK_MS : LOOK_MS);
  }

  /** The one that has taken most since the last look; if none has, it is not the guests. */
  #holdGreediest(available: number): void {
    let most = 0;
    let greediest: GuardedGuest | undefined;
    for (const [guest, { touchedBytes, isHeld }] of this.#guests) {
      const taken = guest.touchedBytes - touchedBytes;
      if (isHeld || taken <= most) continue;
      most = taken;
      greediest = guest;
    }
    const watched = greediest && this.#guests.get(greediest);
    if (!greediest || !watched) return;
    watched.isHeld = true;
    // Last in the order of those that are held.
    this.#guests.delete(greediest);
    this.#guests.set(greediest, watched);
    greediest.holdForMemory(`the host has ${mebibytes(available)} of memory left`);
  }

  #letOneGo(): void {
    for (const [guest, watched] of this.#guests) {
      if (!watched.isHeld) continue;
      watched.isHeld = false;
      guest.letGo();
      return;
    }
  }
}
