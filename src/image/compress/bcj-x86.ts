/**
 * The x86 branch filter of XZ, decoding side. The encoder turned the relative operands of CALL and JMP (E8, E9) into
 * absolute ones, which repeat more often and so pack better; this turns them back, in place.
 *
 * The filter guesses: any E8 or E9 byte may be an opcode. It converts an operand only if its top byte is 00 or FF (a target
 * within 16 MiB), and it looks at the opcode-like bytes just before, because their operand overlaps this one. Encoder and
 * decoder make the same guess from bytes that conversion leaves alone, so the pair is exact for any input.
 */

const isSignByte = (byte: number): boolean => byte === 0 || byte === 0xff;

/**
 * What opcode-like bytes 1, 2 and 3 positions before mean, as a 3-bit set (bit 0: the nearest). Value: how many of the operand's
 * low bytes the nearest relevant one shares, or -1 where such a constellation is never converted.
 */
const OVERLAP = [0, 1, 2, -1, 3, -1, -1, -1] as const;

/** Undo the filter on `bytes[start, end)`, whose first byte had position `position` in the filtered stream. */
export function undoX86Filter(bytes: Uint8Array, start: number, end: number, position: number): void {
  const last = end - 5;
  let lastOpcode = start - 4;
  let nearby = 0;
  let at = start;
  while (at <= last) {
    const opcode = bytes[at]!;
    if (opcode !== 0xe8 && opcode !== 0xe9) {
      at++;
      continue;
    }
    const gap = at - lastOpcode;
    lastOpcode = at;
    nearby = gap > 3 ? 0 : (nearby << (gap - 1)) & 7;
    const overlap = OVERLAP[nearby]!;
    // The byte that would have been the sign byte of the overlapping, earlier operand.
    if (overlap < 0 || (overlap > 0 && isSignByte(bytes[at + 4 - overlap]!)) || !isSignByte(bytes[at + 4]!)) {
      nearby = ((nearby << 1) & 7) | 1;
      at++;
      continue;
    }
    const next = position + (at - start) + 5;
    let absolute = bytes[at + 1]! | (bytes[at + 2]! << 8) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 24);
    let relative = 0;
    for (;;) {
      relative = (absolute - next) | 0;
      if (overlap === 0) break;
      // The encoder repeated the conversion while the shared byte still looked like a sign byte.
      if (!isSignByte((relative >>> (24 - overlap * 8)) & 0xff)) break;
      absolute = relative ^ ((1 << (32 - overlap * 8)) - 1);
    }
    bytes[at + 1] = relative;
    bytes[at + 2] = relative >>> 8;
    bytes[at + 3] = relative >>> 16;
    bytes[at + 4] = relative & 0x100_0000 ? 0xff : 0;
    nearby = 0;
    at += 5;
    lastOpcode = at - 4;
  }
}
