/** Virtual time and seeded chance as one platform; host timers stay real, because they serve people. */
import type { Platform } from '../platform.ts';
import { createSimulatedClock, createSimulatedPacer, type SimulatedClock } from './clock.ts';
import { createSeededEntropy } from './entropy.ts';

/** Where a saved machine's time and chance stood. */
export interface SimulatedStart {
  readonly nowNs: number;
  readonly chance: Uint8Array;
}

export function createSimulatedPlatform(
  seed: number,
  host: Platform,
  from?: SimulatedStart,
): Platform & { readonly clock: SimulatedClock } {
  const clock = createSimulatedClock();
  if (from) clock.advanceTo(from.nowNs);
  return {
    clock,
    entropy: createSeededEntropy(seed, from?.chance),
    pacer: createSimulatedPacer(clock, () => host.pacer.breathe()),
    timers: host.timers,
    isDeterministic: true,
  };
}
