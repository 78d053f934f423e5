/** Handlers that belong to no instruction: the interpreter's own records (numbers below isa/forms.ts FIRST_FORM). */
export const Pseudo = {
  /** Not what is at this place any more: the bytes have changed, or a region begins here. The code page's table knows. */
  stale: 0,
  /** A straight run ends here without a jump: go on at the record's offset (which may be the next page). */
  proceed: 1,
  /** Compute an effective address into `Vcpu.ea` for the record that follows: see `AddressRecord`. */
  address: 2,
  /** The bytes are no instruction: #UD. */
  undefined: 3,
  /** #NM: the unit is switched off. */
  unavailable: 4,
  /** Longer than 15 bytes: #GP(0). */
  tooLong: 5,
  /** In front of an instruction where the debugger may want to stop: asks, and goes on with the next record if not. */
  breakpoint: 6,
  /** In front of an instruction in a code segment with a limit: #GP(0) when the segment does not hold all of it. */
  limit: 7,
  /** In front of an instruction that reaches into the next page: is that page still what it was? (`CROSSING_TABLE`) */
  crossing: 8,
} as const;

/**
 * An address record's `immediate` says how to compute: bits 0..7 mask kind (2, 4 or 8 bytes of address), bit 8: apply
 * the segment with its limit, bit 9: write access, bit 10: 64-bit mode, bit 11: the address is not to be cut again (bytes after
 * the first one of an operand do not wrap), bits 16..23 segment number, bits 24..31 size.
 */
export const AddressField = {
  withSegment: 1 << 8,
  write: 1 << 9,
  long: 1 << 10,
  uncut: 1 << 11,
  segmentShift: 16,
  sizeShift: 24,
} as const;

/** In the record that a region is given: another region has come here, not the interpreter. */
export const CHAINED = 1;

/** Export of the interpreter module: what stands in the table of handlers for regions that are not there. */
export const ABSENT_REGION = 'absentRegion';

/** Custom section of the interpreter's modules that says which table they were generated from. */
export const DIGEST_SECTION = 'domus.forms';
