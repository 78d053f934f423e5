/**
 * Output of a decompressor: an array that grows by doubling up to a limit. Memory is taken in step with what was really
 * produced, so that a size claimed by a hostile header costs nothing.
 */
import { tooLarge } from './errors.ts';

export interface Growing {
  bytes: Uint8Array;
  length: number;
  readonly what: string;
  readonly limitBytes: number;
}

export const growing = (what: string, limitBytes: number, hintBytes = 1 << 16): Growing => ({
  bytes: new Uint8Array(Math.max(0, Math.min(hintBytes, limitBytes))),
  length: 0,
  what,
  limitBytes,
});

/** Room for `more` bytes beyond `length`. */
export function reserve(out: Growing, more: number): void {
  const needed = out.length + more;
  if (needed > out.limitBytes) throw tooLarge(out.what, out.limitBytes);
  if (needed <= out.bytes.length) return;
  const bytes = new Uint8Array(Math.min(out.limitBytes, Math.max(needed, out.bytes.length * 2)));
  bytes.set(out.bytes.subarray(0, out.length));
  out.bytes = bytes;
}

export const finished = (out: Growing): Uint8Array => out.bytes.subarray(0, out.length);
