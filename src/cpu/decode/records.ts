/**
 * Turns code bytes into records: the function behind the runtime's `decode` import.
 *
 * A straight run of instructions is decoded at a time, up to a jump, the end of the page, an instruction that is
 * decoded already, or a limit. An instruction that reaches into the next page depends on that page's mapping, which a record in
 * front of it looks at.
 */

import { invariant } from '../../base/errors.ts';
import { fence } from '../../machine/fence.ts';
import { FrameEntry, FrameFlag } from '../../machine/frames.ts';
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import { FRAME_TABLE_BASE, type MachineMemory } from '../../machine/memory.ts';
import { AddressField, Pseudo } from '../interpreter/pseudo.ts';
import type { OperandSpec } from '../isa/definition.ts';
import { RSP } from '../isa/general-registers.ts';
import { sizeOf } from '../isa/operand-size.ts';
import { variantOf } from '../isa/variant.ts';
import { Vcpu } from '../vcpu/layout.ts';
import {
  type CodeBytes,
  type CodeOrigin,
  codePageIn,
  copyRun,
  generationOf,
  isAsItWas,
  isGeneration,
} from './decoded-before.ts';
import { type Decoded, Decoder, type Failure, MAX_LENGTH } from './decoder.ts';
import { type Entry, Field, type RegisterPlace, Unit } from './entry.ts';
import { Mode } from './mode.ts';
import {
  CodePage,
  CodeRecord,
  CROSSING_SLOT,
  CROSSING_TABLE,
  GRANULE_SHIFT,
  LINK_OFFSET,
  RECORD_BYTES,
  TABLE_PART_BYTES,
} from './record.ts';
import { lockedRecordAt, partWord, slotOf } from './record-table.ts';
import { type DecodedRun, RUN_LIMIT, Run } from './run.ts';

const PAGE = 4096;
/** Room that a run may need in the code cache: four records an instruction, the one that ends it, and a page's whole table. */
const RUN_BYTES = (4 * RUN_LIMIT + 1) * RECORD_BYTES + (PAGE >> GRANULE_SHIFT) * TABLE_PART_BYTES;

const O = CodeRecord.offsets;
const V = Vcpu.offsets;
const P = CodePage.offsets;
const CODE_NEXT = (MACHINE_HEADER + MachineHeader.offsets.codeNext) >> 2;
const CODE_USED = (MACHINE_HEADER + MachineHeader.offsets.codeUsed) >> 2;
const CODE_LIMIT = (MACHINE_HEADER + MachineHeader.offsets.codeLimit) >> 2;
const FRAME_FLAGS = FRAME_TABLE_BASE + FrameEntry.offsets.flags;
const FRAME_PAGE = FRAME_TABLE_BASE + FrameEntry.offsets.next;
// Records are written word by word.
invariant(
  O.handler === 0 &&
    O.length === 2 &&
    O.scale === 3 &&
    O.offset === 4 &&
    O.segment === 6 &&
    O.reg === 8 &&
    O.rm === 10 &&
    O.base === 12 &&
    O.index === 14 &&
    O.displacement === 16 &&
    O.immediate === 24 &&
    RECORD_BYTES === 32,
  'the layout of a record',
);

/** What decoding needs from the runtime module. */
export interface CodeServices {
  /**
   * The table of the code page behind the one that the vCPU executes, into which an instruction of `codePage` reaches, or 0 with
   * the fault pending.
   */
  codeBehind(cpu: number, codePage: number): number;
  /** A frame has code from now on. */
  markCode(mfn: number): void;
  /** The contents of frames that are unread: fill `into`, 4096 bytes, with that page of what the machine is filled from. */
  readPage(page: number, into: Uint8Array): void;
  /** Where else such a page is still as it was, in memory in which it may have been decoded. Good until the next call. */
  originOf(page: number): CodeOrigin | undefined;
  /**
   * Instructions were decoded in the page that the vCPU executes.
   * @param isFirst there were none in it before
   */
  decoded(cpu: number, code: CodeBytes, codePage: number, isFirst: boolean, run: DecodedRun): void;
}

export class RecordWriter {
  readonly #memory: MachineMemory;
  readonly #decoder = new Decoder();
  readonly #services: CodeServices;
  /** What is being decoded, and where the next record goes. */
  readonly #run: Run;
  readonly #crossingBytes = new Uint8Array(2 * MAX_LENGTH);
  /** The code that is being decoded. */
  readonly #code: { bytes: Uint8Array; base: number };
  /** The page of an unread frame that was decoded from last, and its number: what has a number never changes. */
  readonly #page = new Uint8Array(PAGE);
  #pageNumber = 0;
  /** Of the code that is being decoded. */
  #origin: CodeOrigin | undefined;
  /**
   * Where in a page the debugger has a breakpoint (1 for each such offset). A code page serves every linear address
   * that its frame is mapped at, so only the offset counts here; the breakpoint's handler asks for the whole address.
   */
  readonly breakpointOffsets = new Uint8Array(PAGE);

  constructor(memory: MachineMemory, services: CodeServices) {
    this.#memory = memory;
    this.#services = services;
    this.#run = new Run(memory.u32);
    this.#code = { bytes: memory.u8, base: 0 };
  }

  /** Find the bytes of a frame, which may be elsewhere, in `#code`, and in `#origin` who else has decoded them. */
  #find(hostPage: number): void {
    const { u8, u32 } = this.#memory;
    const code = this.#code;
    const entry = (hostPage >>> 12) * FrameEntry.size;
    const number = u32[(FRAME_PAGE + entry) >>> 2] as number;
    const origin = number === 0 ? undefined : this.#services.originOf(number);
    this.#origin = origin;
    if (((u8[FRAME_FLAGS + entry] as number) & FrameFlag.unread) === 0) {
      code.bytes = u8;
      code.base = hostPage;
    } else if (origin) {
      code.bytes = origin.memory.u8;
      code.base = origin.frame * PAGE;
    } else {
      if (number !== this.#pageNumber) this.#services.readPage(number, this.#page);
      this.#pageNumber = number;
      code.bytes = this.#page;
      code.base = 0;
    }
  }

  /** Records must fit before a run is begun; callers of `decode` make sure by asking this first. */
  hasRoom(): boolean {
    const { u32 } = this.#memory;
    return (u32[CODE_NEXT] as number) + RUN_BYTES <= (u32[CODE_LIMIT] as number);
  }

  /**
   * Decode from `offset` of the page at machine address `hostPage` for the vCPU's mode.
   * @returns address of the first record, or 0 when the vCPU has an exception pending
   */
  decode(cpu: number, hostPage: number, codePage: number, offset: number): number {
    const { u32, u8 } = this.#memory;
    const mode = u32[(cpu + V.mode) >> 2] as number;
    this.#decoder.ripRelative = (mode & Mode.sizeMask) === Mode.code64;
    const first = u32[CODE_NEXT] as number;
    const granules = (codePage + P.granules) >> 2;
    const isFirst = u32[granules] === 0 && u32[granules + 1] === 0;
    if (!this.#findRun(hostPage, codePage, offset, mode))
      return this.#crossing(cpu, hostPage, codePage, offset, mode);
    const run = this.#run;
    if (run.covered > offset) this.#cover(codePage, offset, run.covered - offset);
    this.#publish();
    u32[CODE_NEXT] = run.at;
    const flags = FRAME_FLAGS + (hostPage >>> 12) * FrameEntry.size;
    if (((u8[flags] as number) & FrameFlag.code) === 0) this.#services.markCode(hostPage >>> 12);
    this.#services.decoded(cpu, this.#code, codePage, isFirst, run);
    return first;
  }

  /** Make a run that nobody can find yet: `#run`. False when the first instruction reaches into the next page. */
  #findRun(hostPage: number, codePage: number, offset: number, mode: number): boolean {
    this.#find(hostPage);
    if (!this.#origin) return this.#makeRun(codePage, offset, mode, 0);
    const generation = generationOf(this.#origin);
    const before = codePageIn(this.#origin, mode);
    const isMade = this.#makeRun(codePage, offset, mode, before);
    if (isAsItWas(this.#origin) && (before === 0 || isGeneration(this.#origin, generation))) return isMade;
    // It has changed under our eyes. The page does so once.
    const isMadeAgain = this.#makeAgain(hostPage, codePage, offset, mode);
    if (!this.#origin || isAsItWas(this.#origin)) return isMadeAgain;
    return this.#makeAgain(hostPage, codePage, offset, mode);
  }

  #makeAgain(hostPage: number, codePage: number, offset: number, mode: number): boolean {
    const { u32 } = this.#memory;
    // What is behind the records in use may have to be zeros, and these are perhaps more than there will be.
    u32.fill(0, (u32[CODE_NEXT] as number) >>> 2, this.#run.at >>> 2);
    this.#find(hostPage);
    return this.#makeRun(codePage, offset, mode, 0);
  }

  /** @param before code page of the origin to copy records from, 0 for none */
  #makeRun(codePage: number, offset: number, mode: number, before: number): boolean {
    const { u32 } = this.#memory;
    const run = this.#run;
    run.begin(codePage, offset, u32[CODE_NEXT] as number);
    let known = 0;
    let failure: Failure | undefined;
    while (run.isOpen && known === 0 && !failure) {
      if (this.#origin && before !== 0)
        copyRun(this.#origin, before, this.#code, run, this.breakpointOffsets);
      if (!run.isOpen) break;
      known = lockedRecordAt(u32, codePage, run.end);
      if (known === 0) failure = this.#decodeNext(mode);
    }
    const isTruncated = failure === 'truncated';
    // Nothing is written then: what is behind the records in use may have to be zeros.
    if (isTruncated && run.length === 0) return false;
    if (!failure || isTruncated) this.#proceed(run.end, known);
    return true;
  }

  /** One more instruction for the run, or what is none. */
  #decodeNext(mode: number): Failure | undefined {
    const run = this.#run;
    const { end } = run;
    const { bytes, base } = this.#code;
    const failure = this.#decoder.decode(bytes, base + end, base + PAGE, mode);
    if (failure === 'truncated') return failure;
    run.offsets[run.length] = end;
    run.records[run.length] = run.at;
    run.length += 1;
    this.#write(failure, end, mode);
    if (failure) {
      // What the rest of it is has an influence on what it is not.
      run.covered = Math.min(end + MAX_LENGTH, PAGE);
      return failure;
    }
    const { length, entry } = this.#decoder.result;
    run.end = end + length;
    run.covered = run.end;
    run.isOver = entry.ends;
    return undefined;
  }

  /** An instruction over the page's end, from a copy of its bytes. */
  #crossing(cpu: number, hostPage: number, codePage: number, offset: number, mode: number): number {
    const behind = this.#services.codeBehind(cpu, codePage);
    if (behind === 0) return 0;
    // Making that code page has taken room.
    const { u32 } = this.#memory;
    this.#run.at = u32[CODE_NEXT] as number;
    const second = (u32[(behind - P.table + P.mfn) >>> 2] as number) * PAGE;
    const inFirst = PAGE - offset;
    const bytes = this.#crossingBytes;
    this.#copyBytes(hostPage, offset, inFirst, 0);
    this.#copyBytes(second, 0, MAX_LENGTH, inFirst);
    const failure = this.#decoder.decode(bytes, 0, inFirst + MAX_LENGTH, mode);
    const length = failure ? MAX_LENGTH : this.#decoder.result.length;
    const record = this.#begin(Pseudo.crossing, offset, length);
    u32[(record + CROSSING_TABLE) >>> 2] = behind;
    this.#write(failure, offset, mode);
    if (!failure) this.#proceed(offset + length, 0);
    // Only now: the records lie one after the other.
    this.#makeParts(codePage, offset, offset);
    const slot = slotOf(u32, codePage, offset);
    u32[(record + CROSSING_SLOT) >>> 2] = slot;
    u32[CODE_NEXT] = this.#run.at;
    this.#cover(codePage, offset, inFirst);
    this.#cover(behind - P.table, 0, MAX_LENGTH);
    Atomics.store(u32, slot >>> 2, record);
    return record;
  }

  /** Copy bytes of a frame to `to` of those of an instruction over the page's end. */
  #copyBytes(hostPage: number, offset: number, count: number, to: number): void {
    do {
      this.#find(hostPage);
      const { bytes, base } = this.#code;
      this.#crossingBytes.set(bytes.subarray(base + offset, base + offset + count), to);
    } while (this.#origin && !isAsItWas(this.#origin));
  }

  /** Let the run be found. Other threads may do so from here on, so all of it must be there: they see the records before the table. */
  #publish(): void {
    const { u32 } = this.#memory;
    const { codePage, length, offsets, records } = this.#run;
    if (length === 0) return;
    this.#makeParts(codePage, offsets[0] as number, offsets[length - 1] as number);
    for (let i = 0; i < length; i++)
      u32[slotOf(u32, codePage, offsets[i] as number) >>> 2] = records[i] as number;
  }

  /**
   * Make the parts of a page's table that are missing for instructions from `first` to `last`, of the room behind the records so far. What
   * was stored before is seen before them, and before what is stored in the table afterwards.
   */
  #makeParts(codePage: number, first: number, last: number): void {
    const { u32 } = this.#memory;
    const run = this.#run;
    const from = partWord(codePage, first);
    const to = partWord(codePage, last);
    let part = run.at;
    for (let word = from; word <= to; word++) if (u32[word] === 0) run.at += TABLE_PART_BYTES;
    this.#clear(part, run.at);
    fence();
    for (let word = from; word <= to; word++) {
      if (u32[word] !== 0) continue;
      u32[word] = part;
      part += TABLE_PART_BYTES;
    }
  }

  /** As with code pages: what was never in use is zero, and not taken until it is touched. */
  #clear(from: number, to: number): void {
    const { u32 } = this.#memory;
    const end = Math.min(to, u32[CODE_USED] as number) >>> 2;
    // Filling shared memory is slower: it is a call, and for any kind of array.
    for (let word = from >>> 2; word < end; word++) u32[word] = 0;
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

  /** A record without operands. */
  #begin(handler: number, offset: number, length: number): number {
    const { u32 } = this.#memory;
    const at = this.#run.at;
    this.#run.at = at + RECORD_BYTES;
    const word = at >>> 2;
    u32[word] = handler | (length << 16);
    u32[word + 1] = offset | (V.zero << 16);
    u32[word + 2] = 0;
    u32[word + 3] = V.zero | (V.zero << 16);
    u32[word + 4] = 0;
    u32[word + 5] = 0;
    u32[word + 6] = 0;
    u32[word + 7] = 0;
    return at;
  }

  #proceed(offset: number, known: number): void {
    const at = this.#begin(Pseudo.proceed, offset, 0);
    this.#memory.u32[(at + LINK_OFFSET) >>> 2] = known;
  }

  #write(failure: Failure | undefined, offset: number, mode: number): void {
    const d = this.#decoder.result;
    if (this.breakpointOffsets[offset] === 1) {
      this.#begin(Pseudo.breakpoint, offset, failure ? 0 : d.length);
    }
    // Of what is no instruction the first byte counts.
    if (mode & Mode.limited) this.#begin(Pseudo.limit, offset, failure ? 1 : d.length);
    if (failure) {
      this.#begin(failure === 'too-long' ? Pseudo.tooLong : Pseudo.undefined, offset, 0);
      return;
    }
    const { entry } = d;
    const blocked = entry.unit === Unit.none ? 0 : blockedBy(entry.unit, mode);
    if (blocked !== 0) {
      this.#begin(blocked, offset, d.length);
      return;
    }
    const is64 = (mode & Mode.sizeMask) === Mode.code64;
    const usesMemory = entry.mayUseMemory && (d.mod >= 0 ? d.mod !== 3 : entry.hasOffset);
    const viaAddressRecord = usesMemory && (!is64 || d.addressSize !== 8);
    if (viaAddressRecord) this.#addressRecord(d, offset, is64);
    const form = entry.forms[formVariant(d, entry, is64, usesMemory)] as number;
    const at = this.#begin(form === 0 ? Pseudo.undefined : form, offset, d.length);
    const { u8, u16, i32 } = this.#memory;
    if (usesMemory) {
      if (viaAddressRecord) u16[(at + O.base) >>> 1] = V.ea;
      else {
        this.#address(d, at, offset);
        if (!entry.noAccess) u16[(at + O.segment) >>> 1] = V.segBase + d.segment * 8;
      }
    } else if (entry.isAddressSized) {
      u16[(at + O.segment) >>> 1] = V.segBase + d.segment * 8;
    }
    const { registers } = entry;
    for (let i = 0; i < registers.length; i++) {
      const place = registers[i] as RegisterPlace;
      if (usesMemory && place.mayBeMemory) continue;
      u16[(at + (place.isRm ? O.rm : O.reg)) >>> 1] = registerPlace(d, place);
    }
    if (viaAddressRecord && entry.isVex) u8[at + O.scale] = d.scale;
    const high = entry.hasTwoImmediates ? d.immediate2 : d.immediateHigh;
    i32[(at + O.immediate) >>> 2] = immediateOf(d, viaAddressRecord, is64);
    i32[(at + O.immediate + 4) >>> 2] = d.vex ? vexRegisters(d) : entry.isJump ? 0 : high;
  }

  /** base + index * scale + displacement into a record. */
  #address(d: Decoded, at: number, offset: number): void {
    const { u8, u16, i32 } = this.#memory;
    u16[(at + O.base) >> 1] = d.base >= 0 ? V.gpr + d.base * 8 : d.base === -2 ? V.codePage : V.zero;
    const isRegister = d.index >= 0 && !d.entry.isGathered;
    u16[(at + O.index) >> 1] = isRegister ? V.gpr + d.index * 8 : V.zero;
    u8[at + O.scale] = d.scale;
    // RIP-relative: from the page's address, so the instruction's own place is part of the displacement.
    // POP finds the stack pointer moved already.
    const popped = d.base === RSP && d.entry.isPop ? d.size : 0;
    const extra = d.base === -2 ? offset + d.length : popped;
    const low = (d.displacement >>> 0) + extra;
    i32[(at + O.displacement) >> 2] = low | 0;
    i32[(at + O.displacement + 4) >> 2] = (d.displacementHigh + (low >= 2 ** 32 ? 1 : 0)) | 0;
  }

  #addressRecord(d: Decoded, offset: number, is64: boolean): void {
    const at = this.#begin(Pseudo.address, offset, d.length);
    this.#address(d, at, offset);
    const { noAccess, isBitString } = d.entry;
    const kind = addressKind(d, is64);
    this.#memory.i32[(at + O.immediate) >> 2] =
      noAccess || isBitString ? kind & ~AddressField.withSegment : kind;
  }
}

/** Instructions without an immediate may have something else to know. */
function immediateOf(d: Decoded, viaAddressRecord: boolean, is64: boolean): number {
  const { unit, isBitString, elements } = d.entry;
  // An opcode that FOP may have to show.
  if (unit === Unit.x87) return x87Opcode(d);
  if (!isBitString) return d.immediate;
  // What is to be done to the address once the bit offset is added.
  return viaAddressRecord ? addressKind(d, is64) | (elements ? AddressField.uncut : 0) : 0;
}

/** A register operand as the record has it: a place in the vCPU block, or a number. */
function registerPlace(d: Decoded, { field, mask, base, stride, isByte }: RegisterPlace): number {
  const named =
    field === Field.reg
      ? d.reg
      : field === Field.rm
        ? d.rm
        : field === Field.opcode
          ? d.opcodeRegister
          : d.index;
  if (isByte && !d.rexPresent && named >= 4) return V.gpr + (named - 4) * 8 + 1;
  return base + (named & mask) * stride;
}

/** The register in vvvv (low half) and that in the immediate byte, where others have a second immediate. */
function vexRegisters(d: Decoded): number {
  const vvvv = d.entry.hasGeneralVvvv ? V.gpr + d.vvvv * 8 : V.ymm + d.vvvv * 32;
  return vvvv | ((V.ymm + d.selected * 32) << 16);
}

/** How to make an effective address, for an address record: see AddressField. */
function addressKind(d: Decoded, is64: boolean): number {
  const { elements, memoryOperand } = d.entry;
  const size = elements || sizeOf((memoryOperand as OperandSpec).size, d.size);
  return (
    d.addressSize |
    AddressField.withSegment |
    (d.entry.writesMemory ? AddressField.write : 0) |
    (is64 ? AddressField.long : 0) |
    (d.segment << AddressField.segmentShift) |
    (size << AddressField.sizeShift)
  );
}

/** The low three bits of the opcode and the ModRM byte. */
function x87Opcode(d: Decoded): number {
  return ((d.entry.opcode & 7) << 8) | (d.mod << 6) | ((d.reg & 7) << 3) | (d.rm & 7);
}

function formVariant(d: Decoded, entry: Entry, is64: boolean, usesMemory: boolean): number {
  const inMemory = entry.onlyMemory || usesMemory;
  return variantOf(
    entry.isScalable ? d.size : 4,
    inMemory,
    entry.hasRep ? d.rep : 0,
    entry.isAddressSized ? d.addressSize : 8,
    entry.isModal ? is64 : true,
    inMemory && (entry.isAlwaysLocked || d.lock),
  );
}

/** The pseudo handler that an instruction becomes when its unit is switched off (SDM vol. 3, table 13-1), or 0. */
function blockedBy(unit: number, mode: number): number {
  if (unit === Unit.avx) {
    if ((mode & Mode.avx) === 0) return Pseudo.undefined;
    return mode & Mode.taskSwitched ? Pseudo.unavailable : 0;
  }
  if (unit === Unit.x87) return mode & Mode.noX87 ? Pseudo.unavailable : 0;
  const emulated = (mode & Mode.noX87) !== 0 && (mode & Mode.taskSwitched) === 0;
  if (unit === Unit.mmx ? emulated : (mode & Mode.noSse) !== 0) return Pseudo.undefined;
  return mode & Mode.taskSwitched ? Pseudo.unavailable : 0;
}
