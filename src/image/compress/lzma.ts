/**
 * The LZMA decoder proper: range coder, literal and match models, copying from what was put out before. XZ (through
 * LZMA2) and the older .lzma files share it. The output array is the dictionary.
 *
 * The hot loop keeps the range coder in local variables and has the decoding of one bit written out where it is used:
 * with a function for it, the coder's state would live in memory and the loop run at a third of the speed.
 *
 * Sources: Igor Pavlov, "LZMA specification" (2015); "The .xz File Format" 1.2.1 for LZMA2.
 */
import { corrupt, truncated } from './errors.ts';

/** Probabilities are 11 bits wide and move by a 32nd of the remaining distance. */
const PROB_INIT = 1024;

// Where each model lies in the array of probabilities. States are 12, position states at most 16.
const IS_MATCH = 0; // 12 x 16
const IS_REP = IS_MATCH + 192; // 12
const IS_REP_G0 = IS_REP + 12; // 12
const IS_REP_G1 = IS_REP_G0 + 12; // 12
const IS_REP_G2 = IS_REP_G1 + 12; // 12
const IS_REP0_LONG = IS_REP_G2 + 12; // 12 x 16
const POS_SLOT = IS_REP0_LONG + 192; // 4 x 64
const POS_SPECIAL = POS_SLOT + 256; // 128: reverse trees of the distances below 128
const POS_ALIGN = POS_SPECIAL + 128; // 16
const LENGTH = POS_ALIGN + 16; // match lengths
const REP_LENGTH = LENGTH + 514; // lengths of repeated matches
const LITERAL = REP_LENGTH + 514; // 0x300 for each literal context

// Within a length model: two choice bits, low and middle trees for each position state, one high tree.
const LENGTH_LOW = 2;
const LENGTH_MIDDLE = LENGTH_LOW + 128;
const LENGTH_HIGH = LENGTH_MIDDLE + 128;

/** A decoder between two calls. */
export interface LzmaState {
  probabilities: Uint16Array;
  literalContextBits: number;
  literalPositionMask: number;
  positionMask: number;
  state: number;
  rep0: number;
  rep1: number;
  rep2: number;
  rep3: number;
  /** Where the end marker was met (only .lzma files have one). */
  ended: boolean;
}

export function lzmaState(): LzmaState {
  return {
    probabilities: new Uint16Array(0),
    literalContextBits: 0,
    literalPositionMask: 0,
    positionMask: 0,
    state: 0,
    rep0: 0,
    rep1: 0,
    rep2: 0,
    rep3: 0,
    ended: false,
  };
}

/** Set lc, lp and pb from their one-byte form and forget everything learnt. */
export function setProperties(lzma: LzmaState, properties: number, what: string): void {
  if (properties >= 225) throw corrupt(what, 'LZMA properties out of range');
  const lc = properties % 9;
  const lp = Math.floor(properties / 9) % 5;
  const pb = Math.floor(properties / 45);
  lzma.literalContextBits = lc;
  lzma.literalPositionMask = (1 << lp) - 1;
  lzma.positionMask = (1 << pb) - 1;
  const size = LITERAL + (0x300 << (lc + lp));
  if (lzma.probabilities.length !== size) lzma.probabilities = new Uint16Array(size);
  resetState(lzma);
}

/** Forget what was learnt, keep lc, lp and pb. */
export function resetState(lzma: LzmaState): void {
  lzma.probabilities.fill(PROB_INIT);
  lzma.state = 0;
  lzma.rep0 = lzma.rep1 = lzma.rep2 = lzma.rep3 = 0;
  lzma.ended = false;
}

/**
 * Decode one range-coded run: `input[inputStart, inputEnd)` to `out[outStart, outEnd)`. `dictionaryStart` is the oldest
 * byte of `out` that a match may reach, `dictionarySize` how far back at most. With `exact` the run must end where the input
 * does (LZMA2); otherwise an end marker may end it early. Returns the end of what was written.
 */
export function decodeLzma(
  lzma: LzmaState,
  what: string,
  input: Uint8Array,
  inputStart: number,
  inputEnd: number,
  out: Uint8Array,
  outStart: number,
  outEnd: number,
  dictionaryStart: number,
  dictionarySize: number,
  exact: boolean,
): number {
  if (inputEnd - inputStart < 5) throw truncated(what);
  if (input[inputStart] !== 0) throw corrupt(what, 'range coder does not start with zero');
  const probs = lzma.probabilities;
  const literalShift = 8 - lzma.literalContextBits;
  const literalContextBits = lzma.literalContextBits;
  const literalPositionMask = lzma.literalPositionMask;
  const positionMask = lzma.positionMask;
  let state = lzma.state;
  let rep0 = lzma.rep0;
  let rep1 = lzma.rep1;
  let rep2 = lzma.rep2;
  let rep3 = lzma.rep3;
  let range = 0xffff_ffff;
  let code =
    ((input[inputStart + 1]! << 24) |
      (input[inputStart + 2]! << 16) |
      (input[inputStart + 3]! << 8) |
      input[inputStart + 4]!) >>>
    0;
  let at = inputStart + 5;
  let to = outStart;
  // Positions count from the start of the dictionary, as the encoder's did.
  const base = dictionaryStart;

  // Adaptive bit with the model at `p`, normalising first:
  //   prob = probs[p]; bound = (range >>> 11) * prob
  //   code < bound: 0, range = bound, the probability of 0 grows; otherwise 1
  let prob = 0;
  let bound = 0;
  let p = 0;

  while (to < outEnd) {
    if (at > inputEnd) throw truncated(what);
    const posState = (to - base) & positionMask;
    p = IS_MATCH + (state << 4) + posState;
    if (range < 0x100_0000) {
      range = (range << 8) >>> 0;
      code = ((code << 8) | input[at++]!) >>> 0;
    }
    prob = probs[p]!;
    bound = ((range >>> 11) * prob) >>> 0;
    if (code < bound) {
      // A literal.
      range = bound;
      probs[p] = prob + ((2048 - prob) >>> 5);
      const previous = to > base ? out[to - 1]! : 0;
      const context =
        (((to - base) & literalPositionMask) << literalContextBits) + (previous >>> literalShift);
      const table = LITERAL + context * 0x300;
      let symbol = 1;
      if (state >= 7) {
        // After a match the byte at its distance predicts this one, bit by bit, until the first difference.
        let matched = out[to - rep0 - 1]!;
        let offset = 0x100;
        while (symbol < 0x100) {
          matched <<= 1;
          const matchBit = matched & offset;
          p = table + offset + matchBit + symbol;
          if (range < 0x100_0000) {
            range = (range << 8) >>> 0;
            code = ((code << 8) | input[at++]!) >>> 0;
          }
          prob = probs[p]!;
          bound = ((range >>> 11) * prob) >>> 0;
          if (code < bound) {
            range = bound;
            probs[p] = prob + ((2048 - prob) >>> 5);
            symbol <<= 1;
            offset &= ~matchBit;
          } else {
            range = (range - bound) >>> 0;
            code = (code - bound) >>> 0;
            probs[p] = prob - (prob >>> 5);
            symbol = (symbol << 1) | 1;
            offset &= matchBit;
          }
        }
      } else {
        while (symbol < 0x100) {
          p = table + symbol;
          if (range < 0x100_0000) {
            range = (range << 8) >>> 0;
            code = ((code << 8) | input[at++]!) >>> 0;
          }
          prob = probs[p]!;
          bound = ((range >>> 11) * prob) >>> 0;
          if (code < bound) {
            range = bound;
            probs[p] = prob + ((2048 - prob) >>> 5);
            symbol <<= 1;
          } else {
            range = (range - bound) >>> 0;
            code = (code - bound) >>> 0;
            probs[p] = prob - (prob >>> 5);
            symbol = (symbol << 1) | 1;
          }
        }
      }
      out[to++] = symbol;
      state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
      continue;
    }
    range = (range - bound) >>> 0;
    code = (code - bound) >>> 0;
    probs[p] = prob - (prob >>> 5);

    let lengthModel = LENGTH;
    let isShortRep = false;
    p = IS_REP + state;
    if (range < 0x100_0000) {
      range = (range << 8) >>> 0;
      code = ((code << 8) | input[at++]!) >>> 0;
    }
    prob = probs[p]!;
    bound = ((range >>> 11) * prob) >>> 0;
    const isRep = code >= bound;
    if (!isRep) {
      range = bound;
      probs[p] = prob + ((2048 - prob) >>> 5);
      rep3 = rep2;
      rep2 = rep1;
      rep1 = rep0;
    } else {
      range = (range - bound) >>> 0;
      code = (code - bound) >>> 0;
      probs[p] = prob - (prob >>> 5);
      lengthModel = REP_LENGTH;
      p = IS_REP_G0 + state;
      if (range < 0x100_0000) {
        range = (range << 8) >>> 0;
        code = ((code << 8) | input[at++]!) >>> 0;
      }
      prob = probs[p]!;
      bound = ((range >>> 11) * prob) >>> 0;
      if (code < bound) {
        range = bound;
        probs[p] = prob + ((2048 - prob) >>> 5);
        p = IS_REP0_LONG + (state << 4) + posState;
        if (range < 0x100_0000) {
          range = (range << 8) >>> 0;
          code = ((code << 8) | input[at++]!) >>> 0;
        }
        prob = probs[p]!;
        bound = ((range >>> 11) * prob) >>> 0;
        if (code < bound) {
          range = bound;
          probs[p] = prob + ((2048 - prob) >>> 5);
          isShortRep = true;
        } else {
          range = (range - bound) >>> 0;
          code = (code - bound) >>> 0;
          probs[p] = prob - (prob >>> 5);
        }
      } else {
        range = (range - bound) >>> 0;
        code = (code - bound) >>> 0;
        probs[p] = prob - (prob >>> 5);
        p = IS_REP_G1 + state;
        if (range < 0x100_0000) {
          range = (range << 8) >>> 0;
          code = ((code << 8) | input[at++]!) >>> 0;
        }
        prob = probs[p]!;
        bound = ((range >>> 11) * prob) >>> 0;
        let distance = rep1;
        if (code < bound) {
          range = bound;
          probs[p] = prob + ((2048 - prob) >>> 5);
        } else {
          range = (range - bound) >>> 0;
          code = (code - bound) >>> 0;
          probs[p] = prob - (prob >>> 5);
          p = IS_REP_G2 + state;
          if (range < 0x100_0000) {
            range = (range << 8) >>> 0;
            code = ((code << 8) | input[at++]!) >>> 0;
          }
          prob = probs[p]!;
          bound = ((range >>> 11) * prob) >>> 0;
          if (code < bound) {
            range = bound;
            probs[p] = prob + ((2048 - prob) >>> 5);
            distance = rep2;
          } else {
            range = (range - bound) >>> 0;
            code = (code - bound) >>> 0;
            probs[p] = prob - (prob >>> 5);
            distance = rep3;
            rep3 = rep2;
          }
          rep2 = rep1;
        }
        rep1 = rep0;
        rep0 = distance;
      }
    }

    let length = 1;
    if (isShortRep) {
      state = state < 7 ? 9 : 11;
    } else {
      // The length: 2..9, 10..17 or 18..273, each from its own tree.
      let tree = 0;
      let treeBits = 3;
      let treeBase = 2;
      p = lengthModel;
      if (range < 0x100_0000) {
        range = (range << 8) >>> 0;
        code = ((code << 8) | input[at++]!) >>> 0;
      }
      prob = probs[p]!;
      bound = ((range >>> 11) * prob) >>> 0;
      if (code < bound) {
        range = bound;
        probs[p] = prob + ((2048 - prob) >>> 5);
        tree = lengthModel + LENGTH_LOW + (posState << 3);
      } else {
        range = (range - bound) >>> 0;
        code = (code - bound) >>> 0;
        probs[p] = prob - (prob >>> 5);
        p = lengthModel + 1;
        if (range < 0x100_0000) {
          range = (range << 8) >>> 0;
          code = ((code << 8) | input[at++]!) >>> 0;
        }
        prob = probs[p]!;
        bound = ((range >>> 11) * prob) >>> 0;
        if (code < bound) {
          range = bound;
          probs[p] = prob + ((2048 - prob) >>> 5);
          tree = lengthModel + LENGTH_MIDDLE + (posState << 3);
          treeBase = 10;
        } else {
          range = (range - bound) >>> 0;
          code = (code - bound) >>> 0;
          probs[p] = prob - (prob >>> 5);
          tree = lengthModel + LENGTH_HIGH;
          treeBits = 8;
          treeBase = 18;
        }
      }
      const treeEnd = 1 << treeBits;
      let symbol = 1;
      while (symbol < treeEnd) {
        p = tree + symbol;
        if (range < 0x100_0000) {
          range = (range << 8) >>> 0;
          code = ((code << 8) | input[at++]!) >>> 0;
        }
        prob = probs[p]!;
        bound = ((range >>> 11) * prob) >>> 0;
        if (code < bound) {
          range = bound;
          probs[p] = prob + ((2048 - prob) >>> 5);
          symbol <<= 1;
        } else {
          range = (range - bound) >>> 0;
          code = (code - bound) >>> 0;
          probs[p] = prob - (prob >>> 5);
          symbol = (symbol << 1) | 1;
        }
      }
      length = symbol - treeEnd + treeBase;

      if (isRep) {
        state = state < 7 ? 8 : 11;
      } else {
        state = state < 7 ? 7 : 10;
        // The distance: a slot of 6 bits, then the bits below its two leading ones.
        const slotTree = POS_SLOT + ((length < 6 ? length - 2 : 3) << 6);
        let slot = 1;
        while (slot < 64) {
          p = slotTree + slot;
          if (range < 0x100_0000) {
            range = (range << 8) >>> 0;
            code = ((code << 8) | input[at++]!) >>> 0;
          }
          prob = probs[p]!;
          bound = ((range >>> 11) * prob) >>> 0;
          if (code < bound) {
            range = bound;
            probs[p] = prob + ((2048 - prob) >>> 5);
            slot <<= 1;
          } else {
            range = (range - bound) >>> 0;
            code = (code - bound) >>> 0;
            probs[p] = prob - (prob >>> 5);
            slot = (slot << 1) | 1;
          }
        }
        slot -= 64;
        if (slot < 4) {
          rep0 = slot;
        } else {
          let bits = (slot >>> 1) - 1;
          let distance = 2 | (slot & 1);
          let reverseTree = 0;
          let reverseBits = bits;
          if (slot < 14) {
            distance <<= bits;
            reverseTree = POS_SPECIAL + distance - slot;
          } else {
            // The middle bits are coded at even odds.
            for (bits -= 4; bits > 0; bits--) {
              if (range < 0x100_0000) {
                range = (range << 8) >>> 0;
                code = ((code << 8) | input[at++]!) >>> 0;
              }
              range >>>= 1;
              if (code >= range) {
                code = (code - range) >>> 0;
                distance = ((distance << 1) | 1) >>> 0;
              } else {
                distance = (distance << 1) >>> 0;
              }
            }
            distance = (distance << 4) >>> 0;
            reverseTree = POS_ALIGN;
            reverseBits = 4;
          }
          let node = 1;
          let low = 0;
          for (let bit = 0; bit < reverseBits; bit++) {
            p = reverseTree + node;
            if (range < 0x100_0000) {
              range = (range << 8) >>> 0;
              code = ((code << 8) | input[at++]!) >>> 0;
            }
            prob = probs[p]!;
            bound = ((range >>> 11) * prob) >>> 0;
            if (code < bound) {
              range = bound;
              probs[p] = prob + ((2048 - prob) >>> 5);
              node <<= 1;
            } else {
              range = (range - bound) >>> 0;
              code = (code - bound) >>> 0;
              probs[p] = prob - (prob >>> 5);
              node = (node << 1) | 1;
              low |= 1 << bit;
            }
          }
          rep0 = (distance + low) >>> 0;
          if (rep0 === 0xffff_ffff) {
            if (exact) throw corrupt(what, 'end marker inside LZMA2');
            lzma.ended = true;
            break;
          }
        }
      }
    }

    // Copy `length` bytes from rep0 + 1 bytes back.
    if (rep0 >= to - base || rep0 >= dictionarySize) throw corrupt(what, 'match reaches before the data');
    if (length > outEnd - to) throw corrupt(what, 'match reaches beyond the data');
    const distance = rep0 + 1;
    const copyEnd = to + length;
    if (length >= 32 && distance >= length) {
      out.copyWithin(to, to - distance, to - distance + length);
      to = copyEnd;
    } else {
      for (let from = to - distance; to < copyEnd; ) out[to++] = out[from++]!;
    }
  }

  if (range < 0x100_0000) {
    code = ((code << 8) | input[at++]!) >>> 0;
  }
  if (at > inputEnd) throw truncated(what);
  if (exact && (at !== inputEnd || code !== 0)) throw corrupt(what, 'LZMA2 chunk does not end where it says');
  lzma.state = state;
  lzma.rep0 = rep0;
  lzma.rep1 = rep1;
  lzma.rep2 = rep2;
  lzma.rep3 = rep3;
  return to;
}
