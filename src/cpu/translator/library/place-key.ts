/** A place in code as a number: what region of an earlier run may begin there. */

const PAGE = 4096;
/** Bytes that are looked at. */
const WINDOW = 8;
/** Of a filter, a power of 2. */
const FILTER_BITS = 2 ** 20;

/**
 * By the offset in the page and the bytes there, to the end of the page at most: different places may have the same number.
 * @param page where in `memory` the page begins
 */
export function placeKey(memory: Uint8Array, page: number, offset: number): number {
  let hash = Math.imul(offset + 1, 0x9e3779b1);
  const end = Math.min(offset + WINDOW, PAGE);
  for (let at = offset; at < end; at++) hash = Math.imul(hash ^ (memory[page + at] as number), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Which keys there are, for threads that cannot look into the library: it may say yes where there is nothing. */
export interface PlaceFilter {
  readonly words: Int32Array<SharedArrayBuffer>;
}
export const createPlaceFilter = (): PlaceFilter => ({
  words: new Int32Array(new SharedArrayBuffer(FILTER_BITS / 8)),
});
const wordOf = (key: number): number => (key & (FILTER_BITS - 1)) >>> 5;
export function addPlace({ words }: PlaceFilter, key: number): void {
  Atomics.or(words, wordOf(key), 1 << (key & 31));
}
export const mayHavePlace = ({ words }: PlaceFilter, key: number): boolean =>
  ((words[wordOf(key)] as number) & (1 << (key & 31))) !== 0;
