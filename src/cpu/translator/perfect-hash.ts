/** A table in which each of some numbers has a place of its own, by a few of its bits. */

const SLOTS_MAX = 128;

/**
 * @returns how far to shift a number so that its low bits are its place in `slots` (a power of two of them), which has the position
 * in `numbers` there; undefined when no few bits tell them apart
 */
export function perfectHash(
  numbers: readonly number[],
): { readonly shift: number; readonly slots: readonly (number | undefined)[] } | undefined {
  for (let count = 4; count <= SLOTS_MAX; count *= 2) {
    if (count < numbers.length) continue;
    for (let shift = 0; shift < 16; shift++) {
      const slots = new Array<number | undefined>(count).fill(undefined);
      const fits = numbers.every((number, position) => {
        const slot = (number >> shift) & (count - 1);
        if (slots[slot] !== undefined) return false;
        slots[slot] = position;
        return true;
      });
      if (fits) return { shift, slots };
    }
  }
  return undefined;
}
