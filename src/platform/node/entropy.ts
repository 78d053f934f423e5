/** Randomness of the host's operating system. */
import { randomFillSync } from 'node:crypto';
import type { Entropy } from '../platform.ts';

export const nodeEntropy: Entropy = {
  fill(bytes) {
    // Shared memory is refused by the system's generator: go through a private copy.
    const fresh = randomFillSync(new Uint8Array(bytes.length));
    bytes.set(fresh);
  },
};
