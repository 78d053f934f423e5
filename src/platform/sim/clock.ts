/**
 * Virtual time: it passes only when the guest executes instructions or when every vCPU waits for a timer.
 *
 * One retired instruction is `nsPerInstruction` nanoseconds. An idle machine jumps to its next timer without waiting
 * on the host, so that a guest that sleeps for an hour does so in no time. Two runs with the same input therefore see
 * the same clock readings, to the last nanosecond.
 */
import type { Clock, Pacer } from '../platform.ts';

/** 2026-01-01T00:00:00Z: every simulated machine is switched on at this moment. */
export const SIMULATED_START_NS = 1_767_225_600_000_000_000n;
/** A guest that retires 100 million instructions in a simulated second. */
export const NS_PER_INSTRUCTION = 10;

export interface SimulatedClock extends Clock {
  advance(byNs: number): void;
  /** Move forward to `timeNs`; a time in the past changes nothing. */
  advanceTo(timeNs: number): void;
}

export function createSimulatedClock(wallStartNs: bigint = SIMULATED_START_NS): SimulatedClock {
  let nowNs = 0;
  return {
    monotonicNs: () => nowNs,
    wallNs: () => wallStartNs + BigInt(nowNs),
    advance(byNs) {
      nowNs += byNs;
    },
    advanceTo(timeNs) {
      if (timeNs > nowNs) nowNs = timeNs;
    },
  };
}

/** `breathe` is the host's event loop: it must let real streams move, and has no part in virtual time. */
export function createSimulatedPacer(
  clock: SimulatedClock,
  breathe: () => Promise<void>,
  nsPerInstruction = NS_PER_INSTRUCTION,
): Pacer {
  let hasPendingWake = false;
  let endIdle: (() => void) | undefined;
  return {
    breathe,
    async idle(deadlineNs) {
      if (!hasPendingWake) {
        if (Number.isFinite(deadlineNs)) {
          clock.advanceTo(deadlineNs);
          await breathe();
        } else {
          // No timer is set: only input from outside can go on, and time stands still until it comes.
          await new Promise<void>(resolve => {
            endIdle = resolve;
          });
          endIdle = undefined;
        }
      }
      hasPendingWake = false;
    },
    wake() {
      hasPendingWake = true;
      endIdle?.();
    },
    retired(instructions) {
      clock.advance(instructions * nsPerInstruction);
    },
  };
}
