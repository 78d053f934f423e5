/** Random SSE, AVX and x87 instructions for the programs: moves, integers, floating point. */
import { imm32, type Operand } from './assembler.ts';
import type { Generator } from './program.ts';

const INTEGER = [
  0xfc, 0xfd, 0xfe, 0xd4, 0xf8, 0xf9, 0xfa, 0xfb, 0xdb, 0xdf, 0xeb, 0xef, 0x60, 0x61, 0x62, 0x68, 0x69, 0x6a,
  0x6c, 0x6d, 0x63, 0x67, 0x6b, 0x74, 0x75, 0x76, 0x64, 0x65, 0x66, 0xd5, 0xe5, 0xe4, 0xf4, 0xf5, 0xf6, 0xda,
  0xde, 0xea, 0xee, 0xe0, 0xe3, 0xd1, 0xd2, 0xd3, 0xf1, 0xf2, 0xf3, 0xe1, 0xe2, 0xdc, 0xdd, 0xec, 0xed, 0xd8,
  0xd9, 0xe8, 0xe9,
] as const;
const FLOAT = [0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f] as const;

export function vectorInstruction(generator: Generator): void {
  const { random, code, memory, target } = generator;
  const xmm = () => random.below(random.oneIn(2) ? 4 : 16);
  const source = (bytes: number, aligned: boolean): Operand =>
    random.oneIn(3) ? memory(bytes, aligned || random.oneIn(2)) : xmm();
  switch (random.below(20)) {
    case 0:
    case 1:
    case 2:
      code.op({ prefix: 0x66 }, [0x0f, random.pick(INTEGER)], xmm(), source(16, true));
      break;
    case 3:
    case 4:
    case 5: {
      const prefix = random.pick([undefined, 0x66, 0xf2, 0xf3]);
      code.op(
        { prefix },
        [0x0f, random.pick(FLOAT)],
        xmm(),
        source(16, prefix === undefined || prefix === 0x66),
      );
      break;
    }
    case 6: // movups, movaps and the like, both ways
    case 7: {
      const [prefix, first] = random.pick([
        [undefined, 0x10],
        [0x66, 0x10],
        [0xf2, 0x10],
        [0xf3, 0x10],
        [undefined, 0x28],
        [0x66, 0x28],
      ] as const);
      code.op({ prefix }, [0x0f, first + random.below(2)], xmm(), source(16, first === 0x28));
      break;
    }
    case 8:
      code.op(
        { prefix: random.pick([0x66, 0xf3]) },
        [0x0f, random.pick([0x6f, 0x7f])],
        xmm(),
        source(16, true),
      );
      break;
    case 9: // halves
      code.op(
        { prefix: random.pick([undefined, 0x66]) },
        [0x0f, random.pick([0x12, 0x13, 0x16, 0x17])],
        xmm(),
        memory(8),
      );
      break;
    case 10:
      if (random.oneIn(2))
        code.op(
          { prefix: 0x66, wide: random.oneIn(2) },
          [0x0f, random.pick([0x6e, 0x7e])],
          xmm(),
          random.oneIn(3) ? memory(8) : target(),
        );
      else if (random.below(2) === 0) code.op({ prefix: 0xf3 }, [0x0f, 0x7e], xmm(), source(8, false));
      else code.op({ prefix: 0x66 }, [0x0f, 0xd6], xmm(), source(8, false));
      break;
    case 11:
      code.op({ prefix: random.pick([0x66, 0xf2, 0xf3]) }, [0x0f, 0x70], xmm(), source(16, true), [
        random.below(256),
      ]);
      break;
    case 12:
      code.op(
        { prefix: random.pick([undefined, 0x66]) },
        [0x0f, random.pick([0x2e, 0x2f])],
        xmm(),
        source(8, true),
      );
      break;
    case 13: // conversions
      if (random.oneIn(2))
        code.op(
          { prefix: random.pick([0xf2, 0xf3]), wide: random.oneIn(2) },
          [0x0f, 0x2a],
          xmm(),
          random.oneIn(3) ? memory(8) : target(),
        );
      else if (random.below(2) === 0)
        code.op(
          { prefix: random.pick([0xf2, 0xf3]), wide: random.oneIn(2) },
          [0x0f, random.pick([0x2c, 0x2d])],
          target(),
          xmm(),
        );
      else code.op({ prefix: random.pick([undefined, 0x66, 0xf2, 0xf3]) }, [0x0f, 0x5a], xmm(), xmm());
      break;
    case 14:
      code.op({ prefix: random.pick([undefined, 0x66, 0xf2, 0xf3]) }, [0x0f, 0xc2], xmm(), source(16, true), [
        random.below(8),
      ]);
      break;
    case 15:
      if (random.oneIn(2)) code.op({ prefix: 0x66 }, [0x0f, 0xd7], target(), xmm());
      else if (random.below(2) === 0)
        code.op({ prefix: 0x66 }, [0x0f, 0xc4], xmm(), target(), [random.below(8)]);
      else code.op({ prefix: 0x66 }, [0x0f, 0xc5], target(), xmm(), [random.below(8)]);
      break;
    case 16:
      if (random.oneIn(2))
        code.op(
          { prefix: 0x66 },
          [0x0f, 0x38, random.pick([0x00, 0x1c, 0x1e, 0x0b, 0x17, 0x29, 0x38, 0x3c])],
          xmm(),
          source(16, true),
        );
      else
        code.op(
          { prefix: 0x66 },
          [0x0f, random.pick([0x71, 0x72, 0x73])],
          random.pick([2, 6]),
          random.below(16),
          [random.below(70)],
        );
      break;
    case 17: {
      // VEX with three bytes: integers and moves of both lengths.
      const long = random.below(2);
      const destination = random.below(8);
      const opcode = random.pick(INTEGER);
      code.bytes(
        0xc4,
        0xe1,
        ((~xmm() & 15) << 3) | (long << 2) | 1,
        opcode,
        0xc0 | (destination << 3) | random.below(8),
      );
      if (random.oneIn(6)) code.bytes(0xc5, 0xf8, 0x77); // vzeroupper
      break;
    }
    case 18: {
      const at = { base: 3, displacement: 0x100 + 8 * random.below(32) };
      code.op({}, [random.pick([0xd9, 0xdd])], 0, at);
      code.bytes(random.pick([0xd8, 0xdc]), 0xc0 | random.below(64));
      code.op({}, [0xdd], 3, at);
      break;
    }
    default: {
      // MXCSR, at times with an unmasked exception.
      if (!random.oneIn(4)) break;
      const value = random.pick([0x1f80, 0x1fa0, 0x7f80, 0x9fc0, 0x3f80, 0x1f00, 0x1b80]);
      code.bytes(0x68, ...imm32(value));
      code.op({}, [0x0f, 0xae], 2, { base: 4 });
      code.op({ wide: true }, [0x8d], 4, { base: 4, displacement: 8 });
    }
  }
}
