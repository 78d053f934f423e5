/** For the tests of everything that reads files: seeded chance, damaged copies, and what is allowed to happen to them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { DomusError } from '../base/errors.ts';

/** A small generator with a fixed seed: numbers from 0 up to, not including, `below`. */
export function seeded(seed: number): (below: number) => number {
  let state = seed | 1;
  return below => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Compressible bytes with some structure. */
export function sampleBytes(length: number, seed = 1): Uint8Array {
  const random = seeded(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    if (at > 64 && random(3) > 0) {
      const run = Math.min(length - at, 4 + random(300));
      const from = random(at - 4);
      for (let i = 0; i < run; i++) bytes[at + i] = bytes[from + i]!;
      at += run;
    } else {
      for (let i = random(20) + 1; i > 0 && at < length; i--) bytes[at++] = random(256);
    }
  }
  return bytes;
}

/** A copy of `good` with a few bytes changed, cut, or doubled. */
export function damaged(good: Uint8Array, random: (below: number) => number): Uint8Array {
  const bytes = good.slice();
  const kind = random(4);
  if (kind === 0) return bytes.subarray(0, random(bytes.length));
  if (kind === 1) {
    const at = random(bytes.length);
    return new Uint8Array([...bytes.subarray(0, at), ...bytes.subarray(Math.max(0, at - random(64)))]);
  }
  for (let i = random(3); i >= 0; i--) {
    // Headers are at the start: half of the damage goes there.
    const at = random(2) ? random(bytes.length) : random(Math.min(64, bytes.length));
    bytes[at] = random(2) ? random(256) : bytes[at]! ^ (1 << random(8));
  }
  return bytes;
}

/** Reading damaged copies of `good` must end in a result or in a DomusError about the image, and in nothing else. */
export function fuzz(
  good: Uint8Array,
  seed: number,
  rounds: number,
  read: (bytes: Uint8Array) => unknown,
): void {
  const random = seeded(seed);
  let refused = 0;
  for (let i = 0; i < rounds; i++) {
    const bytes = damaged(good, random);
    try {
      read(bytes);
    } catch (error) {
      assert.ok(error instanceof DomusError, `round ${i}: ${error instanceof Error ? error.stack : error}`);
      assert.match(error.code, /^E_IMAGE_/);
      refused++;
    }
  }
  assert.ok(refused > 0, 'no damage was noticed');
}

export const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof DomusError && error.code === code;

/** Output of a tool of this machine for `input`; undefined if the tool is not there. */
export function tool(command: readonly string[], input: Uint8Array): Uint8Array | undefined {
  const result = spawnSync(command[0]!, command.slice(1), { input, maxBuffer: 1 << 28 });
  return result.status === 0 ? new Uint8Array(result.stdout) : undefined;
}
