/**
 * Randomness of the host's operating system: from its device where it has one, since loading `node:crypto` takes as long as restoring a
 * machine.
 */

import { randomFillSync } from 'node:crypto';
import { closeSync, fstatSync, openSync } from 'node:fs';
import type { Entropy } from '../platform.ts';
import { readFully } from './random-files.ts';
import { toHex } from './text-codecs.ts';

/** random(4): never waits once the system is up, and fit for keys. */
const DEVICE = '/dev/urandom';

/** Returns whether there is such a device. */
function fillFromDevice(bytes: Uint8Array): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(DEVICE, 'r');
    // A folder that somebody made the root of a process may have a file of that name.
    return fstatSync(fd).isCharacterDevice() && readFully(fd, bytes, 0);
  } catch {
    return false;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

export const nodeEntropy: Entropy = {
  fill(bytes) {
    // Shared memory is refused by Node's generator: go through a private copy.
    if (!fillFromDevice(bytes)) bytes.set(randomFillSync(new Uint8Array(bytes.length)));
  },
};

/** `count` random bytes as hexadecimal digits: for names that nobody else may have, or guess. */
export function randomHex(count: number): string {
  const bytes = new Uint8Array(count);
  nodeEntropy.fill(bytes);
  return toHex(bytes);
}
