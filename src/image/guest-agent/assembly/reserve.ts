/** Memory behind the static data, so that large areas take no room in the program's file. */

let next: usize = (__heap_base + 7) & ~7;

/** Zeroed, for ever. `bytes` is a multiple of 8. */
export function reserve(bytes: usize): usize {
  const at = next;
  next += bytes;
  return at;
}
