/**
 * A small assembler for generated 64-bit programs: instructions by opcode and operands, labels with 32-bit distances.
 *
 * Registers are numbers 0..15; `HIGH` + 0..3 are AH, CH, DH, BH, which exclude operands that need a REX prefix.
 */

export const HIGH = 16;

export interface Label {
  /** Linear address, once bound. */
  address: number | undefined;
}
export interface Memory {
  readonly base?: number | undefined;
  readonly index?: number | undefined;
  readonly scale?: 0 | 1 | 2 | 3;
  readonly displacement?: number;
  /** RIP-relative instead, `displacement` bytes behind the label. */
  readonly label?: Label;
  readonly segment?: 'fs' | 'gs';
  /** Address size of 32 bits. */
  readonly isShort?: boolean;
}
export type Operand = number | Memory;

export interface Encoding {
  /** 0x66, 0xf2, 0xf3: comes before REX. */
  readonly prefix?: number | undefined;
  /** REX.W */
  readonly wide?: boolean | undefined;
  /** Byte registers 4..7 are SPL..DIL. */
  readonly isByte?: boolean;
  readonly lock?: boolean;
}

export class Assembler {
  readonly #origin: number;
  readonly #bytes: Uint8Array;
  #at = 0;
  readonly #fixups: { at: number; behind: number; label: Label; offset: number; size: 4 | 8 }[] = [];

  constructor(origin: number, sizeBytes: number, filler = 0xcc) {
    this.#origin = origin;
    this.#bytes = new Uint8Array(sizeBytes).fill(filler);
  }
  get address(): number {
    return this.#origin + this.#at;
  }
  get room(): number {
    return this.#bytes.length - this.#at;
  }

  label(): Label {
    return { address: undefined };
  }
  bind(label: Label, behind = 0): void {
    label.address = this.address + behind;
  }
  here(): Label {
    return { address: this.address };
  }
  goTo(address: number): void {
    this.#at = address - this.#origin;
  }

  bytes(...values: number[]): void {
    if (values.length > this.room) throw new Error('the program has become too long');
    this.#bytes.set(values, this.#at);
    this.#at += values.length;
  }
  u32(value: number): void {
    this.bytes(value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255);
  }
  /** The absolute address of a label. */
  pointer(label: Label, offset = 0): void {
    this.#fixups.push({ at: this.#at, behind: 0, label, offset, size: 8 });
    this.bytes(0, 0, 0, 0, 0, 0, 0, 0);
  }
  #distance(label: Label, behind: number, offset: number): void {
    this.#fixups.push({ at: this.#at, behind: this.#at + 4 + behind, label, offset, size: 4 });
    this.u32(0);
  }

  /** Opcode, ModRM with `reg` and `rm`, immediate bytes. */
  op(
    encoding: Encoding,
    opcode: readonly number[],
    reg: number,
    rm: Operand,
    immediate: number[] = [],
  ): void {
    const memory = typeof rm === 'number' ? undefined : rm;
    const inRegister = typeof rm === 'number' ? rm : 0;
    if (memory?.segment) this.bytes(memory.segment === 'fs' ? 0x64 : 0x65);
    if (memory?.isShort) this.bytes(0x67);
    if (encoding.lock) this.bytes(0xf0);
    if (encoding.prefix !== undefined) this.bytes(encoding.prefix);
    const hasHigh = encoding.isByte === true && (reg >= HIGH || inRegister >= HIGH);
    const [r, b] = [
      reg >= HIGH ? reg - HIGH + 4 : reg,
      inRegister >= HIGH ? inRegister - HIGH + 4 : inRegister,
    ];
    let rex = (encoding.wide ? 8 : 0) | (r & 8 ? 4 : 0);
    if (memory) rex |= ((memory.index ?? 0) & 8 ? 2 : 0) | ((memory.base ?? 0) & 8 ? 1 : 0);
    else rex |= b & 8 ? 1 : 0;
    const isLow = (n: number) => encoding.isByte === true && n >= 4 && n < 8;
    const wantsRex = rex !== 0 || (!hasHigh && (isLow(r) || (!memory && isLow(b))));
    if (wantsRex && hasHigh) throw new Error('AH..BH with REX');
    if (wantsRex) this.bytes(0x40 | rex);
    this.bytes(...opcode);
    this.#modrm(r & 7, memory ?? b & 7, immediate.length);
    this.bytes(...immediate);
  }

  #modrm(reg: number, rm: Operand, behind: number): void {
    if (typeof rm === 'number') {
      this.bytes(0xc0 | (reg << 3) | rm);
      return;
    }
    const { base, index, scale = 0, displacement = 0, label } = rm;
    if (label) {
      this.bytes((reg << 3) | 5);
      this.#distance(label, behind, displacement);
      return;
    }
    const sib = (b: number) => (scale << 6) | (((index ?? 4) & 7) << 3) | b;
    if (base === undefined) {
      this.bytes((reg << 3) | 4, sib(5));
      this.u32(displacement);
      return;
    }
    const isNear = displacement >= -128 && displacement < 128;
    const needsSib = index !== undefined || (base & 7) === 4;
    this.bytes((isNear ? 0x40 : 0x80) | (reg << 3) | (needsSib ? 4 : base & 7));
    if (needsSib) this.bytes(sib(base & 7));
    if (isNear) this.bytes(displacement & 255);
    else this.u32(displacement);
  }

  jump(label: Label, offset = 0): void {
    this.bytes(0xe9);
    this.#distance(label, 0, offset);
  }
  call(label: Label, offset = 0): void {
    this.bytes(0xe8);
    this.#distance(label, 0, offset);
  }
  /** Two bytes where the label is near and known already. */
  jumpIf(condition: number, label: Label): void {
    const distance = label.address === undefined ? -1000 : label.address - (this.address + 2);
    if (distance >= -128) this.bytes(0x70 | condition, distance & 255);
    else {
      this.bytes(0x0f, 0x80 | condition);
      this.#distance(label, 0, 0);
    }
  }
  lea(register: number, label: Label, offset = 0): void {
    this.op({ wide: true }, [0x8d], register, { label, displacement: offset });
  }

  finish(): Uint8Array {
    const view = new DataView(this.#bytes.buffer);
    for (const { at, behind, label, offset, size } of this.#fixups) {
      if (label.address === undefined) throw new Error('a label was never bound');
      if (size === 8) view.setBigUint64(at, BigInt(label.address + offset), true);
      else view.setInt32(at, label.address + offset - (this.#origin + behind), true);
    }
    return this.#bytes;
  }
}

export const imm32 = (value: number): number[] => [
  value & 255,
  (value >> 8) & 255,
  (value >> 16) & 255,
  (value >>> 24) & 255,
];
