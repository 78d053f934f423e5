/** Looks at whole pages, word by word. */
import { PAGE_SIZE } from '../../base/brand.ts';

const WORDS = PAGE_SIZE / 4;

/**
 * A hash of 31 bits, from 1, of the page at a byte address; 0 when it holds nothing but zeros. It finds pages to be compared, so it
 * need not withstand a guest that looks for collisions: such a guest has fewer pages shared.
 */
export function hashPage(words: Uint32Array, address: number): number {
  const start = address >>> 2;
  // Plain variables: it runs for a millisecond now and then, so for long as it was not compiled.
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  let any = 0;
  for (let at = start; at < start + WORDS; at += 2) {
    const even = words[at] as number;
    const odd = words[at + 1] as number;
    any |= even | odd;
    a = Math.imul(a ^ even, 0x01000193);
    b = Math.imul(b ^ odd, 0x85ebca6b) ^ (a >>> 15);
  }
  return any === 0 ? 0 : (a ^ (b >>> 7)) & 0x7fff_ffff || 1;
}

/** Are the pages at two byte addresses the same? */
export function isSamePage(
  words: Uint32Array,
  address: number,
  others: Uint32Array,
  otherAddress: number,
): boolean {
  const start = address >>> 2;
  const distance = (otherAddress >>> 2) - start;
  for (let at = start; at < start + WORDS; at += 4) {
    const other = at + distance;
    const differences =
      (words[at]! ^ others[other]!) |
      (words[at + 1]! ^ others[other + 1]!) |
      (words[at + 2]! ^ others[other + 2]!) |
      (words[at + 3]! ^ others[other + 3]!);
    if (differences !== 0) return false;
  }
  return true;
}
