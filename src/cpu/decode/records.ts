/**
 * Turns code bytes into records: the function behind the runtime's `decode` import.
 *
 * A straight run of instructions is decoded at a time, up to a jump, the end of the page, an instruction that is
 * decoded already, or a limit. An instruction that reaches into the next page depends on that page's mapping, which a record in
 * front of it looks at.
 */

import { FrameEntry, FrameFlag } from '../../machine/frames.ts';
import { machineHeader } from '../../machine/header.ts';
import { FRAME_TABLE_BASE, type MachineMemory } from '../../machine/memory.ts';
import { AddressField, Pseudo } from '../interpreter/pseudo.ts';
import { type Definition, type OperandSpec, sizeOf, writesMemory } from '../isa/definition.ts';
import { RSP } from '../isa/emitter.ts';
import { formIndex, variantOf } from '../isa/forms.ts';
import { Vcpu } from '../vcpu/layout.ts';
import { type Decoded, Decoder, type Failure, MAX_LENGTH } from './decoder.ts';
import { Mode } from './mode.ts';
import {
  CodePage,
  CodeRecord,
  CROSSING_SLOT,
  CROSSING_TABLE,
  GRANULE_SHIFT,
  LINK_OFFSET,
  RECORD_BYTES,
} from './record.ts';

/** Instructions decoded ahead at a time. */
const RUN_LIMIT = 64;
/** Room that a run may need in the code cache: four records an instruction, and the one that ends it. */
const RUN_BYTES = (4 * RUN_LIMIT + 1) * RECORD_BYTES;
const PAGE = 4096;

const O = CodeRecord.offsets;
const V = Vcpu.offsets;
const P = CodePage.offsets;

/** What decoding needs from the runtime module. */
export interface CodeServices {
  /**
   * The table of the code page behind the one that the vCPU executes, into which an instruction of `codePage` reaches, or 0 with
   * the fault pending.
   */
  codeBehind(cpu: number, codePage: number): number;
  /** A frame has code from now on. */
  markCode(mfn: number): void;
}

export class RecordWriter {
  readonly #memory: MachineMemory;
  readonly #decoder = new Decoder();
  readonly #services: CodeServices;
  /** Where the next record goes. */
  #at = 0;
  /** Offsets in the page of the run's instructions, and their records. */
  readonly #positions = new Uint16Array(RUN_LIMIT);
  readonly #addresses = new Uint32Array(RUN_LIMIT);
  readonly #crossingBytes = new Uint8Array(2 * MAX_LENGTH);
  /**
   * Where in a page the debugger has a breakpoint (1 for each such offset). A code page serves every linear address
   * that its frame is mapped at, so only the offset counts here; the breakpoint's handler asks for the whole address.
   */
  readonly breakpointOffsets = new Uint8Array(PAGE);

  constructor(memory: MachineMemory, services: CodeServices) {
    this.#memory = memory;
    this.#services = services;
  }

  /** Records must fit before a run is begun; callers of `decode` make sure by asking this first. */
  hasRoom(): boolean {
    const header = machineHeader(this.#memory);
    return header.codeNext + RUN_BYTES <= header.codeLimit;
  }

  /**
   * Decode from `offset` of the page at machine address `hostPage` for the vCPU's mode.
   * @returns address of the first record, or 0 when the vCPU has an exception pending
   */
  decode(cpu: number, hostPage: number, codePage: number, offset: number): number {
    const { u32, u8 } = this.#memory;
    const mode = u32[(cpu + V.mode) >> 2] as number;
    this.#decoder.ripRelative = (mode & Mode.sizeMask) === Mode.code64;
    const header = machineHeader(this.#memory);
    const first = header.codeNext;
    this.#at = first;
    const table = (codePage + P.table) >> 2;
    let position = offset;
    let ended = false;
    let decoded = 0;
    for (let count = 0; count < RUN_LIMIT && position < PAGE; count++) {
      const known = u32[table + position] as number;
      if (known !== 0) {
        this.#proceed(position, known);
        ended = true;
        break;
      }
      const failure = this.#decoder.decode(u8, hostPage + position, hostPage + PAGE, mode);
      if (failure === 'truncated') {
        if (position === offset) return this.#crossing(cpu, hostPage, codePage, offset, mode);
        break;
      }
      const length = failure ? 1 : this.#decoder.result.length;
      this.#positions[count] = position;
      this.#addresses[count] = this.#at;
      decoded = count + 1;
      this.#cover(codePage, position, failure ? Math.min(15, PAGE - position) : length);
      this.#write(failure, position, mode);
      position += length;
      const { options } = this.#decoder.result.definition;
      if (failure || options.ends) {
        if (!failure) this.#proceed(position, 0);
        ended = true;
        break;
      }
    }
    if (!ended) this.#proceed(position, 0);
    header.codeNext = this.#at;
    // Other vCPUs may find them from here on, so all of the run must be there.
    for (let i = 0; i < decoded; i++) {
      Atomics.store(u32, table + (this.#positions[i] as number), this.#addresses[i] as number);
    }
    const frame = (FRAME_TABLE_BASE + (hostPage >>> 12) * FrameEntry.size + FrameEntry.offsets.flags) >>> 0;
    if (((u8[frame] as number) & FrameFlag.code) === 0) this.#services.markCode(hostPage >>> 12);
    return first;
  }

  /** An instruction over the page's end, from a copy of its bytes. */
  #crossing(cpu: number, hostPage: number, codePage: number, offset: number, mode: number): number {
    const behind = this.#services.codeBehind(cpu, codePage);
    if (behind === 0) return 0;
    // Making that code page has taken room.
    this.#at = machineHeader(this.#memory).codeNext;
    const { u8, u32 } = this.#memory;
    const second = (u32[(behind - P.table + P.mfn) >>> 2] as number) * PAGE;
    const inFirst = PAGE - offset;
    const bytes = this.#crossingBytes;
    bytes.set(u8.subarray(hostPage + offset, hostPage + PAGE));
    bytes.set(u8.subarray(second, second + MAX_LENGTH), inFirst);
    const failure = this.#decoder.decode(bytes, 0, inFirst + MAX_LENGTH, mode);
    const length = failure ? MAX_LENGTH : this.#decoder.result.length;
    const record = this.#begin(Pseudo.crossing, offset, length);
    const slot = codePage + P.table + offset * 4;
    u32[(record + CROSSING_TABLE) >>> 2] = behind;
    u32[(record + CROSSING_SLOT) >>> 2] = slot;
    this.#write(failure, offset, mode);
    if (!failure) this.#proceed(offset + length, 0);
    machineHeader(this.#memory).codeNext = this.#at;
    this.#cover(codePage, offset, inFirst);
    this.#cover(behind - P.table, 0, MAX_LENGTH);
    Atomics.store(u32, slot >>> 2, record);
    return record;
  }

  /** Note that bytes `offset` .. `offset + length` of the page are decoded. */
  #cover(codePage: number, offset: number, length: number): void {
    const from = offset >> GRANULE_SHIFT;
    const to = (offset + length - 1) >> GRANULE_SHIFT;
    for (let granule = from; granule <= to; granule++) {
      const word = (codePage + P.granules + (granule >> 5) * 4) >> 2;
      this.#memory.u32[word] = (this.#memory.u32[word] as number) | (1 << (granule & 31));
    }
  }

  #begin(handler: number, offset: number, length: number): number {
    const { u8, u16, u32 } = this.#memory;
    const at = this.#at;
    this.#at = at + RECORD_BYTES;
    for (let word = at >> 2; word < (at + RECORD_BYTES) >> 2; word++) u32[word] = 0;
    u16[(at + O.handler) >> 1] = handler;
    u8[at + O.length] = length;
    u16[(at + O.offset) >> 1] = offset;
    u16[(at + O.segment) >> 1] = V.zero;
    u16[(at + O.base) >> 1] = V.zero;
    u16[(at + O.index) >> 1] = V.zero;
    return at;
  }

  #proceed(offset: number, known: number): void {
    const at = this.#begin(Pseudo.proceed, offset, 0);
    this.#memory.u32[(at + LINK_OFFSET) >> 2] = known;
  }

  #write(failure: Failure | undefined, offset: number, mode: number): void {
    if (this.breakpointOffsets[offset] === 1) {
      this.#begin(Pseudo.breakpoint, offset, failure ? 0 : this.#decoder.result.length);
    }
    // Of what is no instruction the first byte counts.
    if (mode & Mode.limited) this.#begin(Pseudo.limit, offset, failure ? 1 : this.#decoder.result.length);
    if (failure) {
      this.#begin(failure === 'too-long' ? Pseudo.tooLong : Pseudo.undefined, offset, 0);
      return;
    }
    const d = this.#decoder.result;
    const blocked = blockedBy(d.definition, mode);
    if (blocked) {
      this.#begin(blocked, offset, d.length);
      return;
    }
    const is64 = (mode & Mode.sizeMask) === Mode.code64;
    const shape = shapeOf(d.definition);
    const usesMemory = shape.mayUseMemory && (d.mod >= 0 ? d.mod !== 3 : shape.hasOffset);
    const viaAddressRecord = usesMemory && (!is64 || d.addressSize !== 8);
    if (viaAddressRecord) this.#addressRecord(d, offset, is64);
    const form = formIndex(d.definition)[formVariant(d, shape, is64, usesMemory)] as number;
    const at = this.#begin(form === 0 ? Pseudo.undefined : form, offset, d.length);
    const { u8, u16, i32 } = this.#memory;
    if (usesMemory) {
      if (viaAddressRecord) u16[(at + O.base) >> 1] = V.ea;
      else {
        this.#address(d, at, offset);
        if (!d.definition.options.noAccess) u16[(at + O.segment) >> 1] = V.segBase + d.segment * 8;
      }
    } else if (d.definition.options.addressSized) {
      u16[(at + O.segment) >> 1] = V.segBase + d.segment * 8;
    }
    for (const operand of d.definition.operands) this.#operand(d, operand, at, usesMemory);
    if (viaAddressRecord && d.definition.vex) u8[at + O.scale] = d.scale;
    i32[(at + O.immediate) >> 2] = this.#immediate(d, viaAddressRecord, is64);
    const high = shape.hasTwoImmediates ? d.immediate2 : d.immediateHigh;
    i32[(at + O.immediate + 4) >> 2] = d.vex ? vexRegisters(d) : shape.isJump ? 0 : high;
  }

  /** Instructions without an immediate may have something else to know. */
  #immediate(d: Decoded, viaAddressRecord: boolean, is64: boolean): number {
    const { unit, bitString, elements } = d.definition.options;
    // An opcode that FOP may have to show.
    if (unit === 'x87') return x87Opcode(d);
    // What is to be done to the address once the bit offset is added.
    if (bitString) {
      return viaAddressRecord ? addressKind(d, is64) | (elements ? AddressField.uncut : 0) : 0;
    }
    return d.immediate;
  }

  /** base + index * scale + displacement into a record. */
  #address(d: Decoded, at: number, offset: number): void {
    const { u8, u16, i32 } = this.#memory;
    u16[(at + O.base) >> 1] = d.base >= 0 ? V.gpr + d.base * 8 : d.base === -2 ? V.codePage : V.zero;
    const gathered = d.vex && d.definition.operands.some(o => o.kind === 'K');
    u16[(at + O.index) >> 1] = d.index >= 0 && !gathered ? V.gpr + d.index * 8 : V.zero;
    u8[at + O.scale] = d.scale;
    // RIP-relative: from the page's address, so the instruction's own place is part of the displacement.
    // POP finds the stack pointer moved already.
    const popped = d.base === RSP && d.definition.name === 'pop' ? d.size : 0;
    const extra = d.base === -2 ? offset + d.length : popped;
    const low = (d.displacement >>> 0) + extra;
    i32[(at + O.displacement) >> 2] = low | 0;
    i32[(at + O.displacement + 4) >> 2] = (d.displacementHigh + (low >= 2 ** 32 ? 1 : 0)) | 0;
  }

  #addressRecord(d: Decoded, offset: number, is64: boolean): void {
    const at = this.#begin(Pseudo.address, offset, d.length);
    this.#address(d, at, offset);
    const { noAccess, bitString } = d.definition.options;
    const kind = addressKind(d, is64);
    this.#memory.i32[(at + O.immediate) >> 2] =
      noAccess || bitString ? kind & ~AddressField.withSegment : kind;
  }

  /** Note where the operand is, if it is in a register. */
  #operand(d: Decoded, operand: OperandSpec, at: number, usesMemory: boolean): void {
    const isRm = 'ERWUQNTZK'.includes(operand.kind);
    if (isRm && usesMemory && operand.kind !== 'Z' && operand.kind !== 'K') return;
    // What VEX adds has a place of its own: see vexRegisters.
    if (operand.kind === 'H' || operand.kind === 'B' || operand.kind === 'Y') return;
    const place = registerPlace(d, operand);
    if (place >= 0) this.#memory.u16[(at + (isRm ? O.rm : O.reg)) >> 1] = place;
  }
}

/** A register operand as the record has it: a place in the vCPU block, or a number; -1 for operands of other kinds. */
function registerPlace(d: Decoded, operand: OperandSpec): number {
  const size = sizeOf(operand.size, d.size);
  switch (operand.kind) {
    case 'G':
      return generalPlace(d.reg, size, d.rexPresent);
    case 'E':
    case 'R':
      return generalPlace(d.rm, size, d.rexPresent);
    case 'Z':
      return generalPlace(d.opcodeRegister, size, d.rexPresent);
    case 'S':
      return d.reg & 7;
    case 'C':
    case 'D':
      return d.reg;
    case 'T':
      return d.rm & 7;
    case 'V':
      return V.ymm + d.reg * 32;
    case 'W':
    case 'U':
      return V.ymm + d.rm * 32;
    case 'K':
      return V.ymm + d.index * 32;
    case 'P':
      return V.fpr + (d.reg & 7) * 16;
    case 'Q':
    case 'N':
      return V.fpr + (d.rm & 7) * 16;
    default:
      return -1;
  }
}

/** The register in vvvv (low half) and that in the immediate byte, where others have a second immediate. */
function vexRegisters(d: Decoded): number {
  const general = d.definition.operands.some(o => o.kind === 'B');
  const vvvv = general ? generalPlace(d.vvvv, 4, true) : V.ymm + d.vvvv * 32;
  return vvvv | ((V.ymm + d.selected * 32) << 16);
}

/** Byte offset of a general register in the vCPU block; without REX, byte registers 4..7 are AH to BH. */
function generalPlace(number: number, size: number, rex: boolean): number {
  if (size === 1 && !rex && number >= 4) return V.gpr + (number - 4) * 8 + 1;
  return V.gpr + number * 8;
}

/** How to make an effective address, for an address record: see AddressField. */
function addressKind(d: Decoded, is64: boolean): number {
  const memoryOperand = d.definition.operands.find(o => 'EMWQO'.includes(o.kind)) as OperandSpec;
  const size = d.definition.options.elements ?? sizeOf(memoryOperand.size, d.size);
  return (
    d.addressSize |
    AddressField.withSegment |
    (writesMemory(d.definition) ? AddressField.write : 0) |
    (is64 ? AddressField.long : 0) |
    (d.segment << AddressField.segmentShift) |
    (size << AddressField.sizeShift)
  );
}

/** The low three bits of the opcode and the ModRM byte. */
function x87Opcode(d: Decoded): number {
  return ((d.definition.opcode & 7) << 8) | (d.mod << 6) | ((d.reg & 7) << 3) | (d.rm & 7);
}

/** What a definition's operands say, whatever the instruction at hand. */
interface Shape {
  readonly mayUseMemory: boolean;
  readonly onlyMemory: boolean;
  /** The memory operand is an offset without ModRM. */
  readonly hasOffset: boolean;
  readonly isJump: boolean;
  readonly hasTwoImmediates: boolean;
  readonly isScalable: boolean;
}
const shapes = new Map<Definition, Shape>();

function shapeOf(definition: Definition): Shape {
  const known = shapes.get(definition);
  if (known) return known;
  const { operands, options } = definition;
  const has = (kinds: string) => operands.some(({ kind }) => kinds.includes(kind));
  const shape = {
    mayUseMemory: has('EMWQO'),
    onlyMemory: has('MO'),
    hasOffset: has('O'),
    isJump: has('J'),
    hasTwoImmediates: operands.filter(({ kind }) => kind === 'I').length > 1,
    isScalable:
      operands.some(({ size }) => typeof size === 'string') ||
      options.sized === true ||
      options.size !== undefined,
  };
  shapes.set(definition, shape);
  return shape;
}

function formVariant(d: Decoded, { isScalable, onlyMemory }: Shape, is64: boolean, memory: boolean): number {
  const { options } = d.definition;
  return variantOf(
    isScalable ? d.size : 4,
    onlyMemory || memory,
    options.rep ? d.rep : 0,
    options.addressSized ? d.addressSize : 8,
    options.modal ? is64 : true,
    (onlyMemory || memory) && (options.lock === 'always' || d.lock),
  );
}

/** The pseudo handler that an instruction becomes when its unit is switched off (SDM vol. 3, table 13-1), or 0. */
function blockedBy(definition: Definition, mode: number): number {
  const { unit } = definition.options;
  if (!unit) return 0;
  if (unit === 'avx') {
    if ((mode & Mode.avx) === 0) return Pseudo.undefined;
    return mode & Mode.taskSwitched ? Pseudo.unavailable : 0;
  }
  if (unit === 'x87') return mode & Mode.noX87 ? Pseudo.unavailable : 0;
  const emulated = (mode & Mode.noX87) !== 0 && (mode & Mode.taskSwitched) === 0;
  if (unit === 'mmx' ? emulated : (mode & Mode.noSse) !== 0) return Pseudo.undefined;
  return mode & Mode.taskSwitched ? Pseudo.unavailable : 0;
}
