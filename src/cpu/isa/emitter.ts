/**
 * What instruction semantics are written against.
 *
 * An instruction's meaning is one function over an `Emitter`. The interpreter's generator calls it with operands that
 * are read from a decoded record; the translator will call it with operands that are known. What differs between
 * the two (where a register lives, how control leaves) is abstract here; what is the same (memory through the TLB,
 * flags, faults) is not.
 *
 * Conventions. Values of 1, 2 and 4 bytes are i32, zero-extended; values of 8 bytes are i64. `read` evaluates at once,
 * so its result stays what it was when registers change later. Nothing architectural may change before the last
 * point where the instruction can fault.
 */
import { invariant } from '../../base/errors.ts';
import { CodePage, GRANULE_SHIFT } from '../decode/record.ts';
import {
  PENDING_EXCLUSIVE,
  Seg,
  Segment,
  STACK_ACCESS,
  TLB_READ,
  TLB_WATCHED,
  TLB_WRITE,
  TlbEntry,
  TlbFlag,
  Vcpu,
} from '../vcpu/layout.ts';
import type { Code, Label, Type, Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { FlagState } from './flags.ts';
import { precisionOf } from './float-range.ts';
import { RSP } from './general-registers.ts';
import { tlbEntry } from './tlb.ts';

const GRANULE_BYTES = 1 << GRANULE_SHIFT;

/** Exception vectors (SDM vol. 3, table 6-1). */
// biome-ignore format: a table
export const Vector = { DE: 0, DB: 1, BP: 3, OF: 4, BR: 5, UD: 6, NM: 7, DF: 8, TS: 10, NP: 11, SS: 12, GP: 13, PF: 14, MF: 16, AC: 17, XM: 19 } as const;

export type IntegerSize = 1 | 2 | 4 | 8;
/** The wasm type that holds a value of `size` bytes. */
export const typeOf = (size: number): 'i32' | 'i64' => (size === 8 ? 'i64' : 'i32');
export const bitsOf = (size: number): number => size * 8;

/** Cut a result back to its size: 1 and 2-byte values stay zero-extended. */
export function truncate(size: number, value: Value): Value {
  if (size === 8) return w.extendU(value);
  if (size === 4) return w.wrap(value);
  return w.and(w.wrap(value), w.i32(size === 1 ? 0xff : 0xffff));
}
/** Sign-extend a value of `size` bytes to i64. */
export function signExtend64(size: number, value: Value): Value {
  if (size === 8) return value;
  if (size === 4) return w.extendS(value);
  return w.extendS(size === 1 ? w.extend8S(value) : w.extend16S(value));
}
/** Sign-extend a value of `size` bytes within its own type (i32 for less than 8 bytes). */
export function signExtend(size: number, value: Value): Value {
  if (size >= 4) return value;
  return size === 1 ? w.extend8S(value) : w.extend16S(value);
}
export const zero = (size: number): Value => w.integer(typeOf(size), 0);

/** One operand of the instruction at hand. */
export interface Operand {
  readonly size: number;
  readonly isMemory: boolean;
  /** An integer operand's value. Operands of 16 bytes are read with `readVector`. */
  read(): Value;
  write(value: Value): void;
  /**
   * Read, compute, write back; for memory the write permission is checked before `change` runs. With LOCK the code of
   * `change` is repeated until no other vCPU came in between: what it reads besides `old`, it must not write.
   */
  modify(change: (old: Value) => Value): void;
  /** A vector operand's value: 16 bytes, or `size` bytes from memory with the rest zero. */
  readVector(): Value;
  /** Replace the lower 16 bytes of a vector register (with VEX, the rest becomes zero), or store `size` bytes to memory. */
  writeVector(value: Value): void;
  /** A vector operand in parts of 16 bytes, the low one first: two when it has 32 bytes. */
  readParts(): readonly Value[];
  /** VEX only: replace the whole register, its upper half by zero when there is one part; or store the parts. */
  writeParts(parts: readonly Value[]): void;
  /** Linear address of a memory operand. */
  address(): Value;
  /** Machine address where a vector or x87 register lies; for runtime functions that work in place. */
  location(): Value;
  /** Register number as a value, for segment, control, debug and x87 registers; for a vector of indices the scale. */
  number(): Value;
}

/** Accesses of a block at known distances from each other, which one look at the TLB finds. */
export interface Neighbours {
  /** From the first byte of them all to the access at hand, and how many bytes all of them span. */
  readonly distance: number;
  readonly bytes: number;
  /** The table that is asked: TLB_READ or TLB_WRITE. */
  readonly table: number;
  /** The table for writes is asked for a read, too: where it knows nothing, that for reads may. */
  readonly isReadFirst: boolean;
  /** Machine address of the first byte, 0 when the table did not know it. */
  readonly host: w.Local;
  /** The table has been asked, by an access before this one. */
  readonly isOpen: boolean;
}

export abstract class Emitter {
  readonly code: Code;
  /** Operand size of this form in bytes. */
  readonly size: number;
  /** Whether this form runs in 64-bit mode only; else it must serve the other modes. */
  readonly mode64: boolean;

  /** Width in bytes of the registers that string and loop instructions count and index with. */
  readonly addressSize: number;

  /** The instruction at hand has LOCK in force: memory changes in one step for all vCPUs. */
  locked = false;

  constructor(code: Code, size: number, mode64: boolean, addressSize: number) {
    this.code = code;
    this.size = size;
    this.mode64 = mode64;
    this.addressSize = addressSize;
  }

  // ---- what differs between the tiers ----

  /** Address of the vCPU block. */
  abstract readonly cpu: Value;
  /** A general register by number. */
  abstract register(number: number, size: number): Operand;
  /** All 32 bytes of a vector register by number, written as with VEX. */
  abstract vectorRegister(number: number): Operand;
  /** The prefixes of the instruction at hand: is there a REP (1) or REPNE (2)? Known at generation time. */
  abstract readonly rep: 0 | 1 | 2;
  /** Segment base of the memory or string operand at hand. */
  abstract segmentBase(): Value;
  /** Number of that segment register. */
  abstract segmentNumber(): Value;
  /** Instruction pointer of the next instruction. */
  abstract nextRip(): Value;
  /** x87 instructions: the 11 bits that FOP shows of the opcode and the ModRM byte. */
  abstract x87Opcode(): Value;
  /** Leave: an exception is pending. */
  abstract leaveFault(): void;
  /** Where the direct branch at hand goes; known to be valid in 64-bit mode. */
  abstract branchTarget(): Value;
  /** Linear address of what lies at `address`, which is that of a `bitString` operand (a local) moved by some bytes. */
  abstract movedAddress(address: Value): Value;
  /** Move the memory operand at hand, a string of bits, by `bytes`: its linear address then. */
  bitAddress(operand: Operand, bytes: Value): Value {
    return this.movedAddress(w.add(operand.address(), bytes));
  }
  /** Go on at `rip`, which `checkTarget` has seen. */
  abstract leaveJump(rip: Value): void;
  /** Go on at the direct target of the jump at hand. */
  abstract leaveBranch(distance: Operand): void;
  /** Is the conditional branch taken nearly always, or nearly never? Undefined: nobody knows. */
  isBranchLikely(): boolean | undefined {
    return undefined;
  }
  /** Go on with the next instruction. */
  abstract leaveNext(): void;
  /** Run the same instruction again (a string instruction that has more to do). */
  abstract leaveRepeat(): void;
  /** Give control back to the caller of the engine, with `rip` after this instruction. */
  abstract leaveExit(reason: number, info?: Value): void;
  /** Go on at the `rip` in the vCPU block, which a runtime function has just set; or, for `next`, after this
   * instruction, looking the code up anew because mappings or modes may have changed. */
  abstract leaveReload(next?: boolean): void;
  /** Go on, unless an interrupt is waiting and may now be taken. `delay` lets one more instruction run first. */
  abstract leaveInterruptWindow(delay?: boolean): void;
  /** Call a function of the runtime module; the vCPU is its first argument. */
  abstract runtime(name: string, ...args: Value[]): Value;
  /** Store what runtime functions expect to find in the block: `rip` of this instruction, and the fuel left. */
  abstract synchronise(): void;
  /** The same, with `rip` of the next instruction. If the runtime function faults, `rip` goes back to this one. */
  abstract synchroniseNext(): void;
  /** INT n, INT3, INTO, INT1: deliver `vector`; `kind` is the runtime's. */
  abstract softwareInterrupt(vector: Value, kind: number): void;

  // ---- values and statements ----

  let(value: Value): Value {
    return this.code.let(value);
  }
  local(type: Type): w.Local {
    return this.code.local(type);
  }
  set(local: w.Local, value: Value): void {
    this.code.set(local, value);
  }
  if(condition: Value, then: (label: Label) => void, otherwise?: () => void, likely?: boolean): void {
    this.code.if(condition, then, otherwise, likely);
  }

  // ---- the vCPU block ----

  /** A scalar field of the vCPU block. */
  field(name: keyof typeof Vcpu.offsets, offset = 0): Value {
    const size = Vcpu.fields[name].size;
    const width = size === 8 || size === 4 || size === 2 ? size : 8;
    return w.load(typeOf(width), width, this.cpu, Vcpu.offsets[name] + offset);
  }
  setField(name: keyof typeof Vcpu.offsets, value: Value, offset = 0): void {
    const size = Vcpu.fields[name].size;
    const width = size === 8 || size === 4 || size === 2 ? size : 8;
    this.code.store(width, this.cpu, value, Vcpu.offsets[name] + offset);
  }

  // ---- floating point: see isa/float-range.ts ----

  /** What MXCSR says about inexact results. */
  precisionState(): Value {
    return precisionOf(this.field('mxcsr'));
  }
  /** The runtime may have reported something in MXCSR. */
  precisionChanged(): void {}
  /** Can there be exceptions that are not masked? */
  readonly mayRaiseSimd: boolean = true;
  /** MXCSR is to be loaded. */
  loadMxcsr(value: Value): void {
    this.setField('mxcsr', value);
  }
  /** A vector with the same 32 bits in all lanes, that is used often. */
  lanes(word: number): Value {
    return w.v128([...new Uint8Array(Int32Array.of(word, word, word, word).buffer)]);
  }

  // ---- the arithmetic flags: see isa/flags.ts ----

  flagState(): FlagState {
    return { size: 8, result: this.field('flagRes'), aux: this.field('flagAux') };
  }
  setFlagState({ size, result, aux }: FlagState): void {
    this.setField('flagRes', signExtend64(size, result));
    this.setField('flagAux', aux);
  }

  /** Clear the upper halves of the first vector registers. They lie in the vCPU block, wherever the lower ones are. */
  zeroUpperHalves(count: number): void {
    const zeros = w.v128(new Array<number>(16).fill(0));
    for (let i = 0; i < count; i++) this.code.store(16, this.cpu, zeros, Vcpu.offsets.ymm + 32 * i + 16);
  }

  // ---- exceptions ----

  /** Raise an exception, with an error code or without. */
  raise(vector: number, errorCode?: Value): void {
    this.setField('exVector', w.i32(vector));
    this.setField('exHasError', w.i32(errorCode ? 1 : 0));
    this.setField('exError', errorCode ?? w.i32(0));
    this.leaveFault();
  }
  raiseIf(condition: Value, vector: number, errorCode?: Value): void {
    this.if(condition, () => this.raise(vector, errorCode), undefined, false);
  }
  /** Leave with the pending exception when a runtime function says that there is one. */
  faultIf(condition: Value): void {
    this.if(condition, () => this.leaveFault(), undefined, false);
  }
  /** Branches fault themselves when their target is no address that code can have. */
  checkTarget(rip: Value): void {
    if (this.mode64) {
      const canonical = w.shrS(w.shl(rip, w.i64(16)), w.i64(16));
      this.raiseIf(w.ne(canonical, rip), Vector.GP, w.i32(0));
    } else {
      const limit = Vcpu.offsets.segment + Seg.cs * Segment.size + Segment.offsets.limit;
      this.raiseIf(w.gtU(w.wrap(rip), w.load('i32', 4, this.cpu, limit)), Vector.GP, w.i32(0));
    }
  }
  /** Outside 64-bit mode: fault unless the segment at hand (or the one named) allows an access at `offset`. */
  checkSegment(offset: Value, bytes: number, write: boolean, segment = this.segmentNumber()): void {
    if (this.mode64) return;
    this.faultIf(this.runtime('checkElement', segment, offset, w.i32(bytes), w.i32(write ? 1 : 0)));
  }
  /** #GP(0) unless CPL is 0. */
  requirePrivilege(): void {
    this.raiseIf(this.field('cpl'), Vector.GP, w.i32(0));
  }

  // ---- memory: inline TLB, then the runtime ----

  /** The tables that accesses are looked up in now. */
  protected tlb(): Value {
    return this.field('tlb');
  }
  /** Devices that a slow path may reach know the time by the fuel that is left: store it. */
  protected abstract synchroniseFuel(): void;
  /** A store has gone through `commit`: it may have changed code. */
  protected committed(): void {}

  /** Accesses near the one at hand that share its look at the TLB: see translator/access-groups.ts. */
  protected neighbours(_bytes: number, _flags: number): Neighbours | undefined {
    return undefined;
  }

  /** The last byte's page is compared, so that an access across a page never hits. */
  #hits(entry: Value, address: Value, bytes: number, table: number): Value {
    const page = w.and(lastOf(address, bytes), w.i64(-4096));
    return w.eq(w.load('i64', 8, entry, table + TlbEntry.offsets.tag), page);
  }
  #hostOf(entry: Value, address: Value, table: number): Value {
    return w.add(w.wrap(address), w.load('i32', 4, entry, table + TlbEntry.offsets.addend));
  }
  /**
   * The page is not in the write table: it may be one with code, of which these bytes are none.
   * @param beside what to do with their machine address then
   */
  #unlessBeside(
    entry: Value,
    address: Value,
    bytes: number,
    beside: (host: Value) => void,
    slow: () => void,
  ) {
    this.code.block(done => {
      this.code.block(slowly => {
        this.code.brIf(slowly, w.eqz(this.#hits(entry, address, bytes, TLB_WATCHED)));
        const flags = w.load('i32', 4, entry, TLB_WATCHED + TlbEntry.offsets.flags);
        const codePage = w.and(flags, w.i32(~TlbFlag.mask));
        const granules = this.let(w.load('i64', 8, codePage, CodePage.offsets.granules));
        this.code.brIf(slowly, this.#touchesGranules(granules, address, bytes));
        beside(this.#hostOf(entry, address, TLB_WATCHED));
        this.code.br(done);
      });
      slow();
    });
  }
  /** May these bytes be some of an instruction? The granule behind the first one counts as touched: the slow path looks again. */
  #touchesGranules(granules: Value, address: Value, bytes: number): Value {
    const mask = (1 << (1 + Math.ceil((bytes - 1) / GRANULE_BYTES))) - 1;
    return w.wrap(w.and(w.shrU(granules, w.shrU(address, w.i64(GRANULE_SHIFT))), w.i64(mask)));
  }
  /** The runtime's slow path, which leaves with the fault if there is one. */
  #slow(name: string, host: w.Local, address: Value, bytes: number, flags: number): void {
    this.synchroniseFuel();
    this.set(host, this.runtime(name, address, w.i32(bytes | flags)));
    this.faultIf(w.eqz(host));
  }
  /** Take what was stored to `scratch` where it belongs. */
  #commitScratch(host: Value): void {
    this.if(w.eq(host, w.add(this.cpu, w.i32(Vcpu.offsets.scratch))), () => {
      this.runtime('commit');
      this.committed();
    });
  }

  /**
   * Find `bytes` bytes at linear `address` by a table of the TLB.
   * @param table TLB_READ or TLB_WRITE
   * @param found written for each way to find them: the machine address, and what is to be added to it
   * @param slow for what the table does not know
   */
  #find(
    table: number,
    address: Value,
    bytes: number,
    flags: number,
    found: (host: Value, offset: number) => void,
    slow: () => void,
  ): void {
    const group = this.neighbours(bytes, flags);
    if (group?.isOpen) {
      this.if(group.host, () => found(group.host, group.distance), slow, true);
      return;
    }
    const from = group ? this.let(w.sub(address, w.i64(group.distance))) : address;
    const size = group?.bytes ?? bytes;
    const foundHere = (host: Value) => {
      if (!group) return found(host, 0);
      this.set(group.host, host);
      found(group.host, group.distance);
    };
    const asked = group?.table ?? table;
    const isRead = table === TLB_READ;
    const entry = this.let(tlbEntry(this.tlb(), from));
    const toRead = () =>
      this.if(
        this.#hits(entry, from, size, TLB_READ),
        () => found(this.#hostOf(entry, from, TLB_READ), group?.distance ?? 0),
        slow,
      );
    this.if(
      this.#hits(entry, from, size, asked),
      () => foundHere(this.#hostOf(entry, from, asked)),
      () => {
        if (group) this.set(group.host, w.i32(0));
        if (asked === TLB_READ) slow();
        else this.#unlessBeside(entry, from, size, foundHere, isRead && group?.isReadFirst ? toRead : slow);
      },
      true,
    );
  }

  /** Machine address for an access, or leave with the fault. `fallback` is the runtime's slow path. */
  #machineAddress(table: number, address: Value, bytes: number, fallback: string, flags: number): w.Local {
    const host = this.local('i32');
    this.#find(
      table,
      address,
      bytes,
      flags,
      (found, offset) => this.set(host, w.add(found, w.i32(offset))),
      () => this.#slow(fallback, host, address, bytes, flags),
    );
    return host;
  }

  /** Machine address where `bytes` bytes at linear `address` can be read (a copy if they have no single place). */
  readable(address: Value, bytes: number, flags = 0): Value {
    return this.#machineAddress(TLB_READ, this.let(address), bytes, 'readSlow', flags);
  }
  /**
   * Let `take` load what it wants of `bytes` bytes at linear `address`. It is called several times: for what the TLB
   * knows, and for the slow path.
   */
  reading(address: Value, bytes: number, take: (host: Value, offset: number) => void, flags = 0): void {
    const at = this.let(address);
    this.#find(TLB_READ, at, bytes, flags, take, () => {
      const host = this.local('i32');
      this.#slow('readSlow', host, at, bytes, flags);
      take(host, 0);
    });
  }

  loadMemory(address: Value, bytes: number, flags = 0): Value {
    const type = typeOf(bytes);
    const value = this.local(type);
    const take = (host: Value, offset: number) => this.set(value, w.load(type, bytes, host, offset));
    this.reading(address, bytes, take, flags);
    return value;
  }
  loadStack(address: Value, bytes: number): Value {
    return this.loadMemory(address, bytes, STACK_ACCESS);
  }

  /** Outside 64-bit mode linear addresses have 32 bits. */
  linear(address: Value): Value {
    return this.mode64 ? address : w.and(address, w.i64(0xffffffff));
  }
  /** Base of a segment register by its number. */
  baseOf(segment: number): Value {
    return w.load('i64', 8, this.cpu, Vcpu.offsets.segBase + segment * 8);
  }

  /**
   * Let `fill` store `bytes` bytes at the machine address that it is given, which stands for linear `address`. It is
   * called several times: for what the TLB knows, and for the slow path.
   */
  writable(address: Value, bytes: number, fill: (host: Value, offset: number) => void, flags = 0): void {
    const at = this.let(address);
    this.#find(TLB_WRITE, at, bytes, flags, fill, () => {
      const host = this.local('i32');
      this.#slow('writeSlow', host, at, bytes, flags);
      fill(host, 0);
      this.#commitScratch(host);
    });
  }
  storeMemory(address: Value, bytes: number, value: Value): void {
    const kept = this.let(value);
    this.writable(address, bytes, (host, offset) => this.code.store(bytes, host, kept, offset));
  }
  modifyMemory(address: Value, bytes: number, change: (old: Value) => Value): void {
    if (this.locked) {
      this.#modifyAtomically(address, bytes, change);
      return;
    }
    this.modifiable(address, bytes, host => {
      const old = this.let(w.load(typeOf(bytes), bytes, host));
      this.code.store(bytes, host, change(old));
    });
  }
  /** A compare-and-exchange loop where the operand has one place that is aligned, else the plain way while nobody else runs. */
  #modifyAtomically(address: Value, bytes: number, change: (old: Value) => Value): void {
    const host = this.#machineAddress(TLB_WRITE, this.let(address), bytes, 'modifySlow', 0);
    const scratch = w.add(this.cpu, w.i32(Vcpu.offsets.scratch));
    const isScratch = this.let(w.eq(host, scratch));
    const isSplit = bytes === 1 ? isScratch : this.let(w.or(w.and(host, w.i32(bytes - 1)), isScratch));
    this.if(isSplit, () => this.requireAlone());
    this.loop(again => {
      const old = this.let(w.load(typeOf(bytes), bytes, host));
      const changed = this.let(change(old));
      this.if(
        isSplit,
        () => this.code.store(bytes, host, changed),
        () => this.code.brIf(again, w.ne(this.code.compareExchange(bytes, host, old, changed), old)),
      );
    });
    this.if(isScratch, () => {
      this.runtime('commit');
      this.committed();
    });
  }
  /** Go on only while no other vCPU of the machine can run; else leave for the engine's caller, which sees to that. */
  requireAlone(): void {
    this.if(this.field('parallel'), () => {
      this.setField('exVector', w.i32(PENDING_EXCLUSIVE));
      this.setField('exHasError', w.i32(0));
      this.leaveFault();
    });
  }
  /** Like `modifiable`, while no other vCPU of the machine executes; the bytes are in one page. */
  modifiableAlone(address: Value, bytes: number, fill: (host: Value) => void): void {
    const host = this.#machineAddress(TLB_WRITE, this.let(address), bytes, 'modifySlow', 0);
    const isShared = this.let(this.field('parallel'));
    this.if(isShared, () => {
      this.if(w.eq(host, w.add(this.cpu, w.i32(Vcpu.offsets.scratch))), () => this.requireAlone());
      this.if(w.eqz(this.runtime('stopOthers')), () => this.requireAlone());
    });
    fill(host);
    this.if(isShared, () => {
      this.runtime('letOthersGoOn');
    });
    this.#commitScratch(host);
  }
  /** Everything before is visible to all vCPUs before anything after is done. Cheaper than a WebAssembly fence. */
  fence(): void {
    this.code.atomicOr(this.cpu, w.i32(0), Vcpu.offsets.fence);
  }
  /** Like `writable`, for a `fill` that reads the old bytes first and is called once. */
  modifiable(address: Value, bytes: number, fill: (host: Value) => void): void {
    const host = this.#machineAddress(TLB_WRITE, this.let(address), bytes, 'modifySlow', 0);
    fill(host);
    this.#commitScratch(host);
  }

  // ---- the stack ----

  /**
   * In 64-bit mode inline; else SS.B decides about the stack's width, which is the runtime's business.
   * @param check may raise an exception; in 64-bit mode after those of the stack access
   */
  push(size: number, value: Value, check = () => {}): void {
    const kept = this.let(value);
    if (!this.mode64) {
      check();
      this.synchronise();
      this.faultIf(this.runtime('pushLegacy', w.extendU(kept), w.i32(size)));
      return;
    }
    const rsp = this.register(RSP, 8);
    const top = this.let(w.sub(rsp.read(), w.i64(size)));
    const store = (host: Value, offset: number) => {
      check();
      this.code.store(size, host, kept, offset);
    };
    this.writable(top, size, store, STACK_ACCESS);
    rsp.write(top);
  }
  /** Value at the top of the stack, without removing it. `below` skips that many bytes. */
  peekStack(size: number, below = 0): Value {
    if (this.mode64) return this.loadStack(w.add(this.register(RSP, 8).read(), w.i64(below)), size);
    this.synchronise();
    const host = this.runtime('peekLegacy', w.i32(size), w.i32(below));
    this.faultIf(w.eqz(host));
    return this.let(w.load(typeOf(size), size, host));
  }
  /** Add to the stack pointer, in the stack's own width. */
  addStack(bytes: Value): void {
    if (this.mode64) {
      const rsp = this.register(RSP, 8);
      rsp.write(w.add(rsp.read(), w.extendU(bytes)));
    } else this.runtime('addStackLegacy', w.wrap(bytes));
  }
  pop(size: number): Value {
    const value = this.peekStack(size);
    this.addStack(w.i32(size));
    return value;
  }

  /** Repeat `body` for as long as it branches to its label. */
  loop(body: (label: Label) => void): void {
    this.code.loop(body);
  }
}

/** Address of the last of some bytes. */
const lastOf = (address: Value, bytes: number): Value =>
  bytes === 1 ? address : w.add(address, w.i64(bytes - 1));

/** For operands that do not support an access; the table guarantees that it is never reached. */
export function unsupportedAccess(what: string): never {
  invariant(false, `operand does not support ${what}`);
}
