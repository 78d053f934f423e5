/**
 * The lock of the code cache: held while instructions are decoded or forgotten, by whichever thread does it.
 *
 * Executing decoded code needs no lock: a record is complete before it can be found, and is never freed or used for
 * something else but by `discardCode`, which runs while no vCPU does. The holder never waits for anything, so waiting
 * here is short. The word is 0 when free, 1 when held, 2 when held and waited for.
 */
import { MACHINE_HEADER, MACHINE_HEADER_codeLock } from '../generated/layout';

const WORD: usize = (MACHINE_HEADER as usize) + MACHINE_HEADER_codeLock;
const SPINS: i32 = 200;

/** How often this thread holds it: a page walk for the decoder may find that it writes to decoded code. */
let depth: i32 = 0;

export function lockCode(): void {
  depth += 1;
  if (depth > 1) return;
  for (let i = 0; i < SPINS; i++) {
    if (atomic.load<i32>(WORD) === 0 && atomic.cmpxchg<i32>(WORD, 0, 1) === 0) return;
  }
  while (atomic.xchg<i32>(WORD, 2) !== 0) atomic.wait<i32>(WORD, 2, -1);
}

/** Does this thread hold it? */
export function isCodeLocked(): bool {
  return depth > 0;
}

export function unlockCode(): void {
  depth -= 1;
  if (depth > 0) return;
  if (atomic.xchg<i32>(WORD, 0) === 2) atomic.notify(WORD, 1);
}
