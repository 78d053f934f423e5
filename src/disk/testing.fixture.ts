/** A host for disks in memory, and a seeded generator. */
import { SimulatedFiles } from '../platform/sim/block-files.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import type { DiskHost } from './host.ts';

export interface Chance {
  /** 0 to n - 1. */
  below(n: number): number;
  bytes(count: number): Uint8Array;
}

export function chance(seed: number): Chance {
  const entropy = createSeededEntropy(seed);
  const four = new Uint8Array(4);
  const view = new DataView(four.buffer);
  return {
    below(n) {
      entropy.fill(four);
      return Math.floor((view.getUint32(0) / 2 ** 32) * n);
    },
    bytes(count) {
      const bytes = new Uint8Array(count);
      entropy.fill(bytes);
      return bytes;
    },
  };
}

export function simulatedHost(seed = 1, files = new SimulatedFiles()): DiskHost & { files: SimulatedFiles } {
  return { files, clock: { wallNs: () => 1_767_225_600_000_000_000n }, entropy: createSeededEntropy(seed) };
}
