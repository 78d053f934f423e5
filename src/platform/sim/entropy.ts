/**
 * Seeded chance: xoshiro128** (Blackman and Vigna, 2018), its state spread from the seed by SplitMix32 steps.
 * For repeatable runs, not for secrets: whoever knows the seed knows every byte.
 */
import type { Entropy } from '../platform.ts';

const rotateLeft = (x: number, by: number) => (x << by) | (x >>> (32 - by));

function spread(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return x ^ (x >>> 16);
  };
}

/** `seed` is an integer from 0 to 2^53 - 1; every bit of it counts. `from` is a state to go on from, 16 bytes. */
export function createSeededEntropy(seed: number, from?: Uint8Array): Entropy {
  const low = spread(seed);
  const high = spread(Math.floor(seed / 2 ** 32) ^ 0x5bd1e995);
  let s0 = low() ^ high();
  let s1 = low() ^ high();
  let s2 = low() ^ high();
  let s3 = low() ^ high();
  if (from) {
    const view = new DataView(from.buffer, from.byteOffset, 16);
    [s0, s1, s2, s3] = [0, 4, 8, 12].map(at => view.getInt32(at, true)) as [number, number, number, number];
  }
  if ((s0 | s1 | s2 | s3) === 0) s0 = 1;

  const next = (): number => {
    const result = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9);
    const t = s1 << 9;
    s2 ^= s0;
    s3 ^= s1;
    s1 ^= s2;
    s0 ^= s3;
    s2 ^= t;
    s3 = rotateLeft(s3, 11);
    return result >>> 0;
  };

  return {
    fill(bytes) {
      let word = 0;
      for (let i = 0; i < bytes.length; i++) {
        if ((i & 3) === 0) word = next();
        bytes[i] = word;
        word >>>= 8;
      }
    },
    state: () => new Uint8Array(Int32Array.of(s0, s1, s2, s3).buffer),
  };
}
