/**
 * Random programs: functions of blocks with loops, branches, calls and indirect jumps, that work on a little data, fault,
 * and change their own code. They never end; where a path is stuck the test sends it elsewhere.
 *
 * Registers: rbx, r12 (in the middle of data) and r14 (at LAZY) are bases, r15 says where a fault goes on, rsp is the
 * stack. All others change freely.
 */
import type { Random } from '../oracle/random.ts';
import { Assembler, type Encoding, HIGH, imm32, type Label, type Memory, type Operand } from './assembler.ts';
import {
  ALIAS,
  CODE,
  CODE_PAGES,
  DATA,
  DATA_PAGES,
  LAST_CODE_AT,
  LAZY,
  OTHER_CODE_AT,
  PAGE,
  type Program,
} from './machine.ts';
import { vectorInstruction } from './vector-code.ts';

const [RAX, RCX, RDX, RBX, RSP, R12, R14, R15] = [0, 1, 2, 3, 4, 12, 14, 15];
const TARGETS = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11] as const;
const NR_PATCHES = 24;
const SLOTS = 64;
/** Counters of loops and of rare events, at the beginning of data. */
const SLOTS_BYTES = SLOTS * 4;
const LAST_PAGE = CODE + (CODE_PAGES - 1) * PAGE;

export interface ProgramOptions {
  /** Stores into code, code under two addresses, remapping. */
  readonly changesCode: boolean;
  /** Instructions from elsewhere, mixed in half and half. */
  readonly instruction?: ((random: Random) => Uint8Array) | undefined;
  /** Machine address of page table entries as the program sees them. */
  entryAddress(linear: number): bigint;
}

/** What one program is being made of. */
export interface Generator {
  readonly random: Random;
  readonly code: Assembler;
  /** A memory operand of that many bytes; sets r15 before those that are likely to fault. */
  memory(bytes: number, aligned?: boolean): Memory;
  target(): number;
}

export function createProgram(random: Random, options: ProgramOptions): Program {
  const code = new Assembler(CODE, (CODE_PAGES - 1) * PAGE);
  const patches: Label[] = Array.from({ length: NR_PATCHES }, () => code.label());
  const branches: Label[] = [];
  const functions: Label[] = Array.from({ length: 4 + random.below(6) }, () => code.label());
  const bound = new Set<Label>();
  let nextSlot = 0;

  const slot = (): Memory => {
    nextSlot = (nextSlot + 1) % SLOTS;
    return { base: RBX, displacement: nextSlot * 4 };
  };
  const target = (): number => random.pick(TARGETS);
  const register = (): number => (random.oneIn(8) ? random.pick([RBX, RSP, R12, R14, R15]) : target());
  /** Behind the instruction that is being written; now and then into the middle of another. */
  let behind: Label | undefined;
  const fixup = (): void => {
    if (random.oneIn(40)) {
      code.lea(R15, { address: code.address + 7 + 3 + random.below(12) });
      return;
    }
    behind ??= code.label();
    code.lea(R15, behind);
  };
  const settle = (): void => {
    if (behind) code.bind(behind);
    behind = undefined;
  };

  function memory(bytes: number, aligned = false): Memory {
    const align = (n: number) => (aligned || random.oneIn(2) ? n & -Math.max(1, bytes) : n);
    switch (random.below(16)) {
      case 0: // over the border of two pages
        return { base: R12, displacement: align(random.below(40) - 20) };
      case 1:
      case 2: {
        const index = random.pick([0, 1, 2, 6, 7, 8, 9]);
        // Without a change of flags.
        code.op({}, [0x0f, 0xb6], index, index);
        return {
          base: RBX,
          index,
          scale: random.below(4) as 0,
          displacement: SLOTS_BYTES + align(random.below(0x800)),
        };
      }
      case 3:
        fixup();
        return { base: R14, displacement: align(random.below(0x1100) - 8) };
      case 4:
        return { displacement: DATA + SLOTS_BYTES + align(random.below(DATA_PAGES * PAGE - 1024)) };
      case 5:
        return { base: RSP, displacement: -8 - bytes - align(random.below(200)) };
      case 6:
        return { base: RSP, displacement: random.oneIn(4) ? random.below(64) & -8 : 64 + random.below(64) };
      case 7:
        if (random.oneIn(3)) {
          fixup();
          return { base: target(), displacement: random.below(64) };
        }
        return {
          segment: random.pick(['fs', 'gs'] as const),
          displacement: SLOTS_BYTES + align(random.below(0x100)),
        };
      case 8:
        return { base: RBX, isShort: random.oneIn(2), displacement: SLOTS_BYTES + align(random.below(64)) };
      default:
        return {
          base: RBX,
          displacement: SLOTS_BYTES + align(random.below(random.oneIn(2) ? 256 : DATA_PAGES * PAGE - 1024)),
        };
    }
  }
  const generator: Generator = { random, code, memory, target };

  type Size = { encoding: Encoding; bytes: number };
  const size = (): Size => {
    const bytes = random.pick([1, 1, 2, 4, 4, 8, 8]);
    const encoding = { isByte: bytes === 1, wide: bytes === 8, prefix: bytes === 2 ? 0x66 : undefined };
    return { bytes, encoding };
  };
  /** Two operands of an instruction: a register, and a register or memory. */
  function operands({ bytes }: Size, writesRm: boolean): { reg: number; rm: Operand } {
    if (bytes === 1 && random.oneIn(2)) {
      const low = () => random.pick([0, 1, 2, HIGH, HIGH + 1, HIGH + 2]);
      const near = { base: RBX, displacement: SLOTS_BYTES + random.below(64) };
      return { reg: low(), rm: random.oneIn(3) ? near : low() };
    }
    if (random.oneIn(3)) return { rm: memory(bytes), reg: target() };
    return { reg: target(), rm: writesRm ? target() : register() };
  }
  const immediate = ({ bytes }: Size): number[] => {
    const value = random.oneIn(2) ? random.u32() : random.below(16) - 8;
    return imm32(value).slice(0, Math.min(4, bytes));
  };
  const opcode = (base: number, { bytes }: Size): number[] => [base | (bytes === 1 ? 0 : 1)];

  function plain(): void {
    const s = size();
    const e = s.encoding;
    const wide = { ...e, isByte: false, prefix: s.bytes === 1 ? undefined : e.prefix };
    switch (random.below(31)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const { reg, rm } = operands(s, true);
        const operation = random.below(8) << 3;
        const lock = typeof rm !== 'number' && operation !== 0x38 && random.oneIn(8);
        code.op({ ...e, lock }, opcode(operation, s), reg, rm);
        break;
      }
      case 4:
      case 5: {
        const { reg, rm } = operands(s, false);
        if (reg < HIGH) code.op(e, opcode((random.below(8) << 3) | 2, s), reg, rm);
        break;
      }
      case 6:
      case 7: {
        const { rm } = operands(s, true);
        if (s.bytes > 1 && random.oneIn(2)) code.op(e, [0x83], random.below(8), rm, [random.below(256)]);
        else code.op(e, opcode(0x80, s), random.below(8), rm, immediate(s));
        break;
      }
      case 8:
      case 9: // shifts and rotates, by a constant, one, CL
      case 10: {
        const { rm } = operands(s, true);
        const operation = random.pick([0, 1, 2, 3, 4, 5, 7]);
        const kind = random.below(3);
        if (kind === 0)
          code.op(e, opcode(0xc0, s), operation, rm, [random.below(random.oneIn(4) ? 256 : 33)]);
        else code.op(e, opcode(kind === 1 ? 0xd0 : 0xd2, s), operation, rm);
        break;
      }
      case 11: // inc, dec
      case 12: {
        const { rm } = operands(s, true);
        code.op(e, opcode(0xfe, s), random.below(2), rm);
        break;
      }
      case 13: // not, neg, mul, imul, div, idiv, test
      case 14: {
        const { rm } = operands(s, true);
        const operation = random.pick([0, 2, 3, 3, 4, 5, 6, 7]);
        if (operation >= 6) fixup();
        code.op(e, opcode(0xf6, s), operation, rm, operation === 0 ? immediate(s) : []);
        break;
      }
      case 15: {
        const { rm } = operands({ ...s, bytes: 1 }, true);
        code.op({ isByte: true }, [0x0f, 0x90 | random.below(16)], 0, rm);
        break;
      }
      case 16:
        code.op(
          wide,
          [0x0f, 0x40 | random.below(16)],
          target(),
          random.oneIn(3) ? memory(s.bytes) : register(),
        );
        break;
      case 17: {
        const isWord = random.oneIn(2);
        const rm = random.oneIn(2) ? memory(isWord ? 2 : 1) : random.pick([0, 1, 2, 8, 9]);
        code.op(wide, [0x0f, (random.oneIn(2) ? 0xb6 : 0xbe) | (isWord ? 1 : 0)], target(), rm);
        break;
      }
      case 18:
        if (random.oneIn(2))
          code.op({ wide: true }, [0x63], target(), random.oneIn(2) ? memory(4) : register());
        else
          code.op(wide, [0x8d], target(), {
            base: register(),
            index: target(),
            scale: random.below(4) as 0,
            displacement: random.below(500) - 250,
          });
        break;
      case 19: // bt, bts, btr, btc
        if (random.oneIn(2))
          code.op(wide, [0x0f, 0xba], 4 + random.below(4), random.oneIn(3) ? memory(8) : target(), [
            random.below(256),
          ]);
        else if (random.oneIn(4)) {
          const reg = target();
          code.op({}, [0x0f, 0xbf], reg, reg);
          code.op(wide, [0x0f, random.pick([0xa3, 0xab, 0xb3, 0xbb])], reg, { base: R12 });
        } else code.op(wide, [0x0f, random.pick([0xa3, 0xab, 0xb3, 0xbb])], target(), target());
        break;
      case 20:
        code.op(
          wide,
          [0x0f, random.pick([0xbc, 0xbd])],
          target(),
          random.oneIn(3) ? memory(s.bytes) : register(),
        );
        break;
      case 21: {
        const { reg, rm } = operands(s, true);
        const which = random.below(3);
        const lock = which > 0 && typeof rm !== 'number' && random.oneIn(2);
        if (which === 0) code.op(e, opcode(0x86, s), reg, rm);
        else code.op({ ...e, lock }, [0x0f, opcode(which === 1 ? 0xb0 : 0xc0, s)[0] as number], reg, rm);
        break;
      }
      case 22:
        code.op(
          wide,
          [0x0f, random.oneIn(2) ? 0xa4 : 0xac],
          target(),
          random.oneIn(3) ? memory(s.bytes) : target(),
          [random.below(64)],
        );
        break;
      case 23:
        code.op(wide, [0x0f, random.oneIn(2) ? 0xa5 : 0xad], target(), target());
        break;
      case 24:
        code.op(wide, [0x0f, 0xaf], target(), random.oneIn(3) ? memory(s.bytes) : register());
        if (random.oneIn(2)) code.op(wide, [0x6b], target(), register(), [random.below(256)]);
        break;
      case 25: // adc and sbb by themselves
        code.op(e, opcode(random.oneIn(2) ? 0x10 : 0x18, s), s.bytes === 1 ? RAX : target(), target());
        break;
      case 26:
        stack();
        break;
      case 27:
        code.bytes(random.pick([0xf8, 0xf9, 0xf5, 0x98, 0x99, 0x9e, 0x9f, 0x90, 0xfb, 0xfa]));
        break;
      case 28:
        if (random.oneIn(2)) code.bytes(0x48, 0x98 | random.below(2));
        else code.bytes(0x0f, 0xc8 | random.pick([0, 1, 2, 5, 6, 7]));
        break;
      default: {
        const { reg, rm } = operands(s, true);
        if (random.oneIn(3)) code.op(e, opcode(0xc6, s), 0, rm, immediate(s));
        else if (random.oneIn(2) || reg >= HIGH) code.op(e, opcode(0x88, s), reg, rm);
        else code.op(e, opcode(0x8a, s), reg, rm);
      }
    }
  }

  function stack(): void {
    switch (random.below(7)) {
      case 0:
        code.bytes(0x9c); // pushf, popf
        if (random.oneIn(8))
          code.op({}, [0x81], 1, { base: RSP }, imm32(0x100)); // with TF
        else if (random.below(2) === 0) code.op({ wide: true }, [0x81], 6, { base: RSP }, imm32(0xcd5));
        code.bytes(0x9d);
        break;
      case 1:
        code.op({}, [0xff], 6, memory(8)); // push, pop
        code.op({}, [0x8f], 0, memory(8));
        break;
      case 2:
        code.bytes(0x68, ...imm32(random.u32()), 0x58 | random.pick([0, 1, 2, 5, 6, 7]));
        break;
      case 3: // enter, leave
        code.bytes(0xc8, random.below(64), 0, 0);
        plain();
        code.bytes(0xc9);
        break;
      case 4:
        code.bytes(0x66, 0x50 | random.below(8), 0x66, 0x58 | random.pick([0, 1, 2, 6]));
        break;
      default:
        code.bytes(0x50 | random.below(8), 0x58 | random.pick([0, 1, 2, 5, 6, 7]));
    }
  }

  function string(): void {
    const repeats = random.oneIn(2);
    if (repeats) code.op({}, [0x0f, 0xb6], RCX, RCX);
    if (repeats && random.oneIn(2)) code.op({}, [0x83], 4, RCX, [15]);
    code.op({ wide: true }, [0x8d], 6, { base: RBX, displacement: SLOTS_BYTES + random.below(0x1800) });
    code.op({ wide: true }, [0x8d], 7, {
      base: random.oneIn(6) ? R14 : RBX,
      displacement: SLOTS_BYTES + random.below(0x1800),
    });
    if (random.oneIn(5)) code.bytes(0xfd);
    fixup();
    if (repeats) code.bytes(random.pick([0xf2, 0xf3]));
    if (random.oneIn(3)) code.bytes(random.pick([0x48, 0x66]));
    code.bytes(random.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]));
    code.bytes(0xfc);
  }

  /** A number that other code changes. */
  function patchable(): void {
    const label = patches.find(each => !bound.has(each));
    if (!label) return;
    bound.add(label);
    if (random.oneIn(2)) {
      code.bind(label, 1);
      code.bytes(0xb8 | random.pick([0, 1, 2, 5, 6, 7]), ...imm32(random.u32()));
    } else {
      code.bind(label, 2);
      code.bytes(
        0x81,
        0xc0 | (random.below(8) << 3) | random.pick([0, 1, 2, 5, 6, 7]),
        ...imm32(random.u32()),
      );
    }
  }

  /** Now and then only: `body` is passed by most of the time. */
  function rarely(most: number, body: () => void): void {
    const counter = slot();
    const past = code.label();
    code.op({}, [0xff], 1, counter);
    code.jumpIf(9, past); // not negative
    code.op({}, [0xc7], 0, counter, imm32(random.below(most)));
    body();
    code.bind(past);
  }

  /** More often one that is an instruction's already than one that may become it. */
  const patch = (): Label =>
    bound.size > 0 && !random.oneIn(3) ? random.pick([...bound]) : random.pick(patches);

  function change(): void {
    const displacement = random.oneIn(4) ? ALIAS - CODE : 0;
    const isBranch = branches.length > 0 && random.oneIn(3);
    const place = { label: isBranch ? random.pick(branches) : patch(), displacement };
    const write = () => {
      if (isBranch) code.op({}, [0x80], 6, place, [1]);
      else
        switch (random.below(5)) {
          case 0:
            code.op({}, [0xc7], 0, place, imm32(random.u32()));
            break;
          case 1:
            code.op({}, [0xff], 0, place);
            break;
          case 2:
            code.op({}, [0x89], target(), place);
            break;
          case 3:
            code.op({}, [0x80], 6, { ...place, displacement: displacement + random.below(4) }, [
              random.below(256),
            ]);
            break;
          default: // the same as before
            code.op({}, [0x8b], RAX, place);
            code.op({}, [0x89], RAX, place);
        }
    };
    if (random.oneIn(8)) write();
    else rarely(random.pick([4, 20, 90]), write);
  }

  function remap(): void {
    rarely(40, () => {
      const entry = options.entryAddress(LAST_PAGE);
      code.bytes(0x48, 0xb8, ...imm32(Number(entry & 0xffff_ffffn)), ...imm32(Number(entry >> 32n)));
      code.op({ wide: true }, [0x81], 6, { base: RAX }, imm32((LAST_CODE_AT ^ OTHER_CODE_AT) * PAGE));
      code.op({}, [0x0f, 0x01], 7, { displacement: LAST_PAGE });
    });
  }
  function unmap(): void {
    rarely(40, () => {
      const entry = options.entryAddress(LAZY);
      code.bytes(0x48, 0xb8, ...imm32(Number(entry & 0xffff_ffffn)), ...imm32(Number(entry >> 32n)));
      code.op({}, [0x83], 4, { base: RAX }, [0xfe]);
      code.op({}, [0x0f, 0x01], 7, { displacement: LAZY });
    });
  }

  function some(most: number): void {
    const count = random.below(most) + 1;
    for (let n = 0; n < count; n++) {
      if (options.instruction && random.oneIn(2)) {
        fixup();
        code.bytes(...options.instruction(random));
        settle();
        continue;
      }
      switch (random.below(24)) {
        case 0:
          string();
          break;
        case 1:
        case 2:
        case 3:
        case 4:
          vectorInstruction(generator);
          break;
        case 5:
        case 6:
          if (options.changesCode) patchable();
          break;
        default:
          plain();
      }
      settle();
    }
  }

  /** A call from function `from` of another that follows it, some way or other. */
  function call(from: number): void {
    const others = functions.slice(from + 1);
    if (others.length === 0) return;
    const callee = random.pick(others);
    const offset = options.changesCode && random.oneIn(6) ? ALIAS - CODE : 0;
    switch (random.below(6)) {
      case 0:
        code.lea(RAX, callee, offset);
        code.bytes(0xff, 0xd0);
        break;
      case 1: {
        // Through a table, in the code.
        const table = code.label();
        const past = code.label();
        code.jump(past);
        code.bind(table);
        for (let i = 0; i < 4; i++) code.pointer(random.pick(others), offset);
        code.bind(past);
        code.op({}, [0x83], 4, RDX, [3]);
        code.lea(RAX, table);
        code.op({}, [0xff], 2, { base: RAX, index: RDX, scale: 3 });
        break;
      }
      case 2:
        if (options.changesCode) code.call({ address: LAST_PAGE });
        else code.call(callee);
        break;
      default:
        code.call(callee, offset);
    }
  }

  function body(self: number): void {
    code.bind(functions[self] as Label);
    const labels = Array.from({ length: 3 + random.below(7) }, () => code.label());
    const slots = labels.map(slot);
    labels.forEach((label, index) => {
      code.bind(label);
      some(random.oneIn(4) ? 12 : 5);
      const later = labels.slice(index + 1);
      switch (random.below(14)) {
        case 0: // a loop to here, or to before
        case 1:
        case 2: {
          const head = random.pick(labels.slice(0, index + 1));
          const counter = slots[index] as Memory;
          code.op({}, [0xff], 1, counter);
          code.jumpIf(9, head);
          code.op({}, [0xc7], 0, counter, imm32(random.below(12)));
          break;
        }
        case 3:
          code.op({}, [0x83], 4, RCX, [7]);
          if (random.oneIn(2)) {
            // At times into the middle of an instruction.
            const distance = (label.address as number) - (code.address + 2);
            const isNear = distance >= -128 && !random.oneIn(16);
            code.bytes(random.pick([0xe0, 0xe1, 0xe2, 0xe3]), (isNear ? distance : random.below(6)) & 255);
          } else {
            code.op({}, [0xff], 1, RCX);
            code.jumpIf(random.below(16), label);
          }
          break;
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
          if (later.length > 0) {
            if (random.oneIn(3)) {
              branches.push({ address: code.address + 1 });
            }
            code.jumpIf(random.below(16), random.pick(later));
          }
          break;
        case 9:
          if (later.length > 0) code.jump(random.pick(later));
          break;
        case 10: {
          // One of several, by a table.
          const table = code.label();
          code.op({}, [0x83], 4, RAX, [3]);
          code.lea(RDX, table);
          code.op({}, [0xff], 4, { base: RDX, index: RAX, scale: 3 });
          code.bind(table);
          for (let i = 0; i < 4; i++) code.pointer(random.pick(later.length > 0 ? later : labels));
          break;
        }
        case 11:
          call(self);
          break;
        case 12:
          rarely(6, () => code.call(functions[self] as Label));
          break;
        default:
          if (random.oneIn(2) && later.length > 0) {
            code.lea(RAX, random.pick(later)); // a return that no call belongs to
            code.bytes(0x50, 0xc3);
          } else if (random.oneIn(3)) code.bytes(0xc3);
          else {
            const past = code.label();
            code.jumpIf(random.below(16), past);
            code.bytes(0xc3);
            code.bind(past);
          }
      }
      if (options.changesCode && random.oneIn(3)) change();
      if (options.changesCode && random.oneIn(30)) remap();
      if (random.oneIn(30)) unmap();
      if (random.oneIn(3)) call(self);
    });
    if (random.oneIn(8)) code.bytes(0xc2, 8, 0);
    else code.bytes(0xc3);
  }

  const start = code.here();
  for (const callee of functions) if (!random.oneIn(3)) code.call(callee);
  code.jump(start);
  for (let index = 0; index < functions.length; index++) {
    if (random.oneIn(3)) {
      // Near the end of a page.
      const next = Math.ceil((code.address + 256) / PAGE) * PAGE - random.below(200);
      if (next + 3 * PAGE < LAST_PAGE) code.goTo(next);
    }
    if (code.room > 3 * PAGE) body(index);
    else {
      code.bind(functions[index] as Label);
      code.bytes(0xc3);
    }
  }
  for (const label of patches) {
    if (bound.has(label)) continue;
    code.bind(label);
    code.u32(0);
  }

  // The last page, in two versions.
  const last = [0, 1].map(() => {
    const page = new Assembler(LAST_PAGE, PAGE);
    for (let n = 0; n < 6; n++) page.bytes(0x05, ...imm32(random.u32()), 0x0f, 0xc9); // add eax; bswap ecx
    page.bytes(0xc3);
    return page.finish();
  }) as [Uint8Array, Uint8Array];
  const image = new Uint8Array(CODE_PAGES * PAGE);
  image.set(code.finish());
  image.set(last[0], LAST_PAGE - CODE);
  const data = new Uint8Array((DATA_PAGES + 2) * PAGE);
  for (let at = SLOTS_BYTES; at < data.length; at++) data[at] = random.oneIn(3) ? 0 : random.below(256);
  const entries = [start, ...functions].map(label => label.address as number);
  return { code: image, otherCode: last[1], data, entries };
}
