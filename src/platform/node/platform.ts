/** The real machine, as one object. */
import type { Platform } from '../platform.ts';
import { createNodeClock, createNodePacer, nodeTimers, threadTimeNs } from './clock.ts';
import { nodeEntropy } from './entropy.ts';

export function createNodePlatform(): Platform {
  const clock = createNodeClock();
  return {
    clock,
    entropy: nodeEntropy,
    pacer: createNodePacer(clock),
    newPacer: () => createNodePacer(clock),
    timers: nodeTimers,
    ...(threadTimeNs && { threadTimeNs }),
    isDeterministic: false,
  };
}
