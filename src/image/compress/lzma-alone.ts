/**
 * The .lzma file format that preceded XZ, and that kernels may still be packed with: properties, dictionary size,
 * uncompressed size (or all ones for "until the end marker"), then one LZMA run. There is no checksum.
 */
import { corrupt, truncated } from './errors.ts';
import { finished, growing, reserve } from './growing.ts';
import { decodeLzma, lzmaState, setProperties } from './lzma.ts';

const WHAT = 'LZMA data';
const HEADER_BYTES = 13;

/** Whether this may be a .lzma file: there is no magic number, only likely values. */
export function looksLikeLzma(input: Uint8Array): boolean {
  return (
    input.length > HEADER_BYTES && input[0] === 0x5d && input[1] === 0 && input[2] === 0 && input[13] === 0
  );
}

export function decodeLzmaAlone(input: Uint8Array, limitBytes: number, expectedBytes?: number): Uint8Array {
  if (input.length < HEADER_BYTES + 5) throw truncated(WHAT);
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const lzma = lzmaState();
  setProperties(lzma, view.getUint8(0), WHAT);
  const dictionarySize = Math.max(4096, view.getUint32(1, true));
  const low = view.getUint32(5, true);
  const high = view.getUint32(9, true);
  const unknownSize = low === 0xffff_ffff && high === 0xffff_ffff;
  const size = unknownSize ? (expectedBytes ?? limitBytes) : high * 2 ** 32 + low;
  const out = growing(WHAT, limitBytes, 0);
  // One range-coded run cannot be interrupted for growing: take it all. Untouched pages cost nothing.
  reserve(out, size);
  out.length = decodeLzma(
    lzma,
    WHAT,
    input,
    HEADER_BYTES,
    input.length,
    out.bytes,
    0,
    size,
    0,
    dictionarySize,
    false,
  );
  if (out.length !== size && (!unknownSize || expectedBytes !== undefined)) {
    throw corrupt(WHAT, 'ends before its stated size');
  }
  return finished(out);
}
