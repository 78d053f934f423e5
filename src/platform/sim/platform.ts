/** Virtual time and seeded chance as one platform; host timers stay real, because they serve people. */
import type { Platform } from '../platform.ts';
import { createSimulatedClock, createSimulatedPacer, type SimulatedClock } from './clock.ts';
import { createSeededEntropy } from './entropy.ts';

export function createSimulatedPlatform(
  seed: number,
  host: Platform,
): Platform & { readonly clock: SimulatedClock } {
  const clock = createSimulatedClock();
  return {
    clock,
    entropy: createSeededEntropy(seed),
    pacer: createSimulatedPacer(clock, () => host.pacer.breathe()),
    timers: host.timers,
    isDeterministic: true,
  };
}
