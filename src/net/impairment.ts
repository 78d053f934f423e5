/**
 * A bad line: one direction of a cable with delay, loss, reordering, duplication, limited bandwidth, or cut. Chance comes
 * from the platform's entropy, so that a seeded one gives the same faults again. Without any of them a frame passes
 * straight through.
 */
import { DomusError } from '../base/errors.ts';
import type { Clock, Entropy, Timers } from '../platform/platform.ts';
import { type Frame, kept, type Station } from './frame.ts';

export interface LineFaults {
  readonly delayMs?: number;
  /** Up to so much is added to the delay of each frame; the order stays. */
  readonly jitterMs?: number;
  /** Probabilities, 0 to 1. A large segment counts as one frame. */
  readonly loss?: number;
  readonly duplicate?: number;
  readonly reorder?: number;
  readonly bandwidthBitsPerSecond?: number;
  /** Nothing passes. */
  readonly isCut?: boolean;
}

/** What a line may hold on its way; what comes then is lost. */
const HELD_BYTES_MAX = 16 << 20;
/** How long a slow line's queue may be. */
const QUEUE_MS_MAX = 500;
/** A frame that is overtaken waits so much longer than the others. */
const OVERTAKEN_MS = 5;

export interface LineEnvironment {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly entropy: Entropy;
}

export interface Line extends Station {
  /** From now on. Frames that are on their way keep their time. */
  setFaults(faults: LineFaults): void;
  readonly faults: LineFaults;
  readonly nrLost: number;
}

/** @throws DomusError E_NET_FAULT */
export function checkFaults(faults: LineFaults): LineFaults {
  const bad = (what: string, value: number, range: string): DomusError =>
    new DomusError('E_NET_FAULT', `${what} cannot be ${value}`, `choose ${range}`);
  for (const [what, value] of [
    ['the share of lost frames', faults.loss],
    ['the share of duplicated frames', faults.duplicate],
    ['the share of reordered frames', faults.reorder],
  ] as const) {
    if (value !== undefined && !(value >= 0 && value <= 1)) throw bad(what, value, 'a number from 0 to 1');
  }
  for (const [what, value] of [
    ['the delay', faults.delayMs],
    ['the jitter', faults.jitterMs],
  ] as const) {
    if (value !== undefined && !(value >= 0 && value <= 60_000))
      throw bad(what, value, 'from 0 to 60 seconds');
  }
  const { bandwidthBitsPerSecond: bandwidth } = faults;
  if (bandwidth !== undefined && !(bandwidth >= 1000)) {
    throw bad('the bandwidth in bits per second', bandwidth, '1000 or more');
  }
  return faults;
}

export function createLine(to: Station, environment: LineEnvironment, initial: LineFaults = {}): Line {
  const { clock, timers, entropy } = environment;
  let faults = checkFaults(initial);
  let heldBytes = 0;
  let nrLost = 0;
  /** When the line is free again, and when the last frame in order arrives. */
  let freeAtMs = 0;
  let lastArrivalMs = 0;
  /** Frames on their way that none may overtake. */
  let nrInOrder = 0;
  const random = new Uint8Array(4);
  const chance = (): number => {
    entropy.fill(random);
    return new DataView(random.buffer).getUint32(0) / 2 ** 32;
  };
  const happens = (probability: number | undefined): boolean =>
    probability !== undefined && probability > 0 && chance() < probability;

  function hold(frame: Frame, delayMs: number, done: () => void = () => {}): void {
    const { length } = frame.bytes;
    if (heldBytes + length > HELD_BYTES_MAX) {
      nrLost += 1;
      done();
      return;
    }
    heldBytes += length;
    const held = kept(frame);
    timers.after(delayMs, () => {
      heldBytes -= length;
      done();
      to.receive(held);
    });
  }

  function pass(frame: Frame): void {
    const { delayMs = 0, jitterMs = 0, bandwidthBitsPerSecond } = faults;
    const nowMs = clock.monotonicNs() / 1e6;
    let leavesAtMs = nowMs;
    if (bandwidthBitsPerSecond !== undefined) {
      freeAtMs = Math.max(freeAtMs, nowMs);
      if (freeAtMs - nowMs > QUEUE_MS_MAX) {
        nrLost += 1;
        return;
      }
      freeAtMs += (frame.bytes.length * 8000) / bandwidthBitsPerSecond;
      leavesAtMs = freeAtMs;
    }
    const extraMs = jitterMs > 0 ? chance() * jitterMs : 0;
    const arrivalMs = Math.max(leavesAtMs + delayMs + extraMs, lastArrivalMs);
    if (happens(faults.reorder)) {
      hold(frame, arrivalMs - nowMs + OVERTAKEN_MS);
      return;
    }
    // Only what was held back on purpose is overtaken.
    if (arrivalMs <= nowMs && nrInOrder === 0) {
      to.receive(frame);
      return;
    }
    lastArrivalMs = arrivalMs;
    nrInOrder += 1;
    hold(frame, arrivalMs - nowMs, () => {
      nrInOrder -= 1;
    });
  }

  return {
    setFaults(next) {
      faults = checkFaults(next);
    },
    get faults() {
      return faults;
    },
    get nrLost() {
      return nrLost;
    },
    receive(frame) {
      if (faults.isCut || happens(faults.loss)) {
        nrLost += 1;
        return;
      }
      pass(frame);
      if (happens(faults.duplicate)) pass(frame);
    },
  };
}
