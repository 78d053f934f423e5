/**
 * Bytes that may still be in the making. A reader asks for as much as it needs; a decompressor behind it works only that
 * far. So the kernel at the head of a package is had without unpacking the modules that follow.
 */
export interface ByteSource {
  /** What is known so far; bytes beyond `length` are not. The array may be replaced by `ensure`. */
  readonly bytes: Uint8Array;
  /** How many bytes of `bytes` are known. */
  readonly length: number;
  /** Make at least `length` bytes known. False if the data end before. */
  ensure(length: number): boolean;
}

export const wholeSource = (bytes: Uint8Array): ByteSource => ({
  bytes,
  length: bytes.length,
  ensure: length => length <= bytes.length,
});

/** Everything a source has, as one array. */
export function readAll(source: ByteSource): Uint8Array {
  while (source.ensure(source.length + 1)) {
    // each call makes more known
  }
  return source.bytes.subarray(0, source.length);
}
