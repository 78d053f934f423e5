/**
 * AES rounds (FIPS 197; SDM vol. 2, AESENC and its relatives), on all 16 bytes at once. The substitution looks a byte up in sixteen rows, of which its upper half selects one:
 * no table in memory, no timing that depends on data.
 */

/** The bytes of `x` whose upper half is `high`, looked up in `values`; zero for others. */
function row(x: v128, high: i32, values: v128): v128 {
  // Other rows' bytes become indices of 16 and more, which select zero.
  return i8x16.swizzle(values, i8x16.sub(x, i8x16.splat(i8(high << 4))));
}
function substitute(x: v128): v128 {
  let r = row(x, 0, i8x16(99, 124, 119, 123, -14, 107, 111, -59, 48, 1, 103, 43, -2, -41, -85, 118));
  r = v128.or(
    r,
    row(x, 1, i8x16(-54, -126, -55, 125, -6, 89, 71, -16, -83, -44, -94, -81, -100, -92, 114, -64)),
  );
  r = v128.or(r, row(x, 2, i8x16(-73, -3, -109, 38, 54, 63, -9, -52, 52, -91, -27, -15, 113, -40, 49, 21)));
  r = v128.or(r, row(x, 3, i8x16(4, -57, 35, -61, 24, -106, 5, -102, 7, 18, -128, -30, -21, 39, -78, 117)));
  r = v128.or(r, row(x, 4, i8x16(9, -125, 44, 26, 27, 110, 90, -96, 82, 59, -42, -77, 41, -29, 47, -124)));
  r = v128.or(r, row(x, 5, i8x16(83, -47, 0, -19, 32, -4, -79, 91, 106, -53, -66, 57, 74, 76, 88, -49)));
  r = v128.or(r, row(x, 6, i8x16(-48, -17, -86, -5, 67, 77, 51, -123, 69, -7, 2, 127, 80, 60, -97, -88)));
  r = v128.or(
    r,
    row(x, 7, i8x16(81, -93, 64, -113, -110, -99, 56, -11, -68, -74, -38, 33, 16, -1, -13, -46)),
  );
  r = v128.or(r, row(x, 8, i8x16(-51, 12, 19, -20, 95, -105, 68, 23, -60, -89, 126, 61, 100, 93, 25, 115)));
  r = v128.or(r, row(x, 9, i8x16(96, -127, 79, -36, 34, 42, -112, -120, 70, -18, -72, 20, -34, 94, 11, -37)));
  r = v128.or(r, row(x, 10, i8x16(-32, 50, 58, 10, 73, 6, 36, 92, -62, -45, -84, 98, -111, -107, -28, 121)));
  r = v128.or(
    r,
    row(x, 11, i8x16(-25, -56, 55, 109, -115, -43, 78, -87, 108, 86, -12, -22, 101, 122, -82, 8)),
  );
  r = v128.or(
    r,
    row(x, 12, i8x16(-70, 120, 37, 46, 28, -90, -76, -58, -24, -35, 116, 31, 75, -67, -117, -118)),
  );
  r = v128.or(r, row(x, 13, i8x16(112, 62, -75, 102, 72, 3, -10, 14, 97, 53, 87, -71, -122, -63, 29, -98)));
  r = v128.or(
    r,
    row(x, 14, i8x16(-31, -8, -104, 17, 105, -39, -114, -108, -101, 30, -121, -23, -50, 85, 40, -33)),
  );
  r = v128.or(
    r,
    row(x, 15, i8x16(-116, -95, -119, 13, -65, -26, 66, 104, 65, -103, 45, 15, -80, 84, -69, 22)),
  );
  return r;
}
function substituteInverse(x: v128): v128 {
  let r = row(x, 0, i8x16(82, 9, 106, -43, 48, 54, -91, 56, -65, 64, -93, -98, -127, -13, -41, -5));
  r = v128.or(
    r,
    row(x, 1, i8x16(124, -29, 57, -126, -101, 47, -1, -121, 52, -114, 67, 68, -60, -34, -23, -53)),
  );
  r = v128.or(r, row(x, 2, i8x16(84, 123, -108, 50, -90, -62, 35, 61, -18, 76, -107, 11, 66, -6, -61, 78)));
  r = v128.or(r, row(x, 3, i8x16(8, 46, -95, 102, 40, -39, 36, -78, 118, 91, -94, 73, 109, -117, -47, 37)));
  r = v128.or(
    r,
    row(x, 4, i8x16(114, -8, -10, 100, -122, 104, -104, 22, -44, -92, 92, -52, 93, 101, -74, -110)),
  );
  r = v128.or(r, row(x, 5, i8x16(108, 112, 72, 80, -3, -19, -71, -38, 94, 21, 70, 87, -89, -115, -99, -124)));
  r = v128.or(r, row(x, 6, i8x16(-112, -40, -85, 0, -116, -68, -45, 10, -9, -28, 88, 5, -72, -77, 69, 6)));
  r = v128.or(r, row(x, 7, i8x16(-48, 44, 30, -113, -54, 63, 15, 2, -63, -81, -67, 3, 1, 19, -118, 107)));
  r = v128.or(
    r,
    row(x, 8, i8x16(58, -111, 17, 65, 79, 103, -36, -22, -105, -14, -49, -50, -16, -76, -26, 115)),
  );
  r = v128.or(
    r,
    row(x, 9, i8x16(-106, -84, 116, 34, -25, -83, 53, -123, -30, -7, 55, -24, 28, 117, -33, 110)),
  );
  r = v128.or(r, row(x, 10, i8x16(71, -15, 26, 113, 29, 41, -59, -119, 111, -73, 98, 14, -86, 24, -66, 27)));
  r = v128.or(r, row(x, 11, i8x16(-4, 86, 62, 75, -58, -46, 121, 32, -102, -37, -64, -2, 120, -51, 90, -12)));
  r = v128.or(r, row(x, 12, i8x16(31, -35, -88, 51, -120, 7, -57, 49, -79, 18, 16, 89, 39, -128, -20, 95)));
  r = v128.or(
    r,
    row(x, 13, i8x16(96, 81, 127, -87, 25, -75, 74, 13, 45, -27, 122, -97, -109, -55, -100, -17)),
  );
  r = v128.or(
    r,
    row(x, 14, i8x16(-96, -32, 59, 77, -82, 42, -11, -80, -56, -21, -69, 60, -125, 83, -103, 97)),
  );
  r = v128.or(r, row(x, 15, i8x16(23, 43, 4, 126, -70, 119, -42, 38, -31, 105, 20, 99, 85, 33, 12, 125)));
  return r;
}

function shiftRows(x: v128): v128 {
  return v128.shuffle<i8>(x, x, 0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11);
}
function shiftRowsInverse(x: v128): v128 {
  return v128.shuffle<i8>(x, x, 0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3);
}
/** Times x in GF(2^8). */
function double(x: v128): v128 {
  return v128.xor(i8x16.shl(x, 1), v128.and(i8x16.shr_s(x, 7), i8x16.splat(0x1b)));
}
function rotated(x: v128): v128 {
  return v128.shuffle<i8>(x, x, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
}
function halfRotated(x: v128): v128 {
  return v128.shuffle<i8>(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
}
/** Row r of a column becomes 2·r + 3·(r+1) + (r+2) + (r+3). */
function mixColumns(x: v128): v128 {
  const next = rotated(x);
  const both = v128.xor(x, next);
  return v128.xor(v128.xor(double(both), next), halfRotated(both));
}
function mixColumnsInverse(x: v128): v128 {
  // The inverse matrix is the forward one times a matrix with 5 and 4.
  return mixColumns(v128.xor(x, double(double(v128.xor(x, halfRotated(x))))));
}

export function aesenc(_cpu: usize, state: v128, key: v128): v128 {
  return v128.xor(mixColumns(substitute(shiftRows(state))), key);
}
export function aesenclast(_cpu: usize, state: v128, key: v128): v128 {
  return v128.xor(substitute(shiftRows(state)), key);
}
export function aesdec(_cpu: usize, state: v128, key: v128): v128 {
  return v128.xor(mixColumnsInverse(substituteInverse(shiftRowsInverse(state))), key);
}
export function aesdeclast(_cpu: usize, state: v128, key: v128): v128 {
  return v128.xor(substituteInverse(shiftRowsInverse(state)), key);
}
export function aesimc(_cpu: usize, a: v128): v128 {
  return mixColumnsInverse(a);
}
/** Words 1 and 3 substituted; each once as it is and once rotated and with the round constant. */
export function aeskeygenassist(_cpu: usize, a: v128, constant: i32): v128 {
  const s = substitute(a);
  const words = v128.shuffle<i8>(s, s, 4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12);
  return v128.xor(words, i32x4.replace_lane(i32x4.replace_lane(i32x4.splat(0), 1, constant), 3, constant));
}
