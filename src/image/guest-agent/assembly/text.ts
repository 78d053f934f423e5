/** Text for the kernel and for people: zero-terminated bytes, made of literals. */

const BUFFER_BYTES: i32 = 256;
const buffer: usize = memory.data(256);

/** A literal of plain ASCII, valid until the next call. */
export function text(literal: string): usize {
  const length = literal.length;
  for (let i = 0; i < length && i < BUFFER_BYTES - 1; i++) {
    store<u8>(buffer + i, <u8>load<u16>(changetype<usize>(literal) + ((<usize>i) << 1)));
  }
  store<u8>(buffer + length, 0);
  return buffer;
}

export function lengthOf(string: usize): i32 {
  let length = 0;
  while (load<u8>(string + length) !== 0) length++;
  return length;
}

export function contains(string: usize, byte: u8): bool {
  for (let at = string; load<u8>(at) !== 0; at++) if (load<u8>(at) === byte) return true;
  return false;
}

/** Copies a string without its end; returns where the copy ends. */
export function append(to: usize, string: usize): usize {
  const length = lengthOf(string);
  memory.copy(to, string, length);
  return to + length;
}
