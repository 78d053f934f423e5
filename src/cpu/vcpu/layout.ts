/**
 * The vCPU block: everything a virtual processor knows, at described offsets of machine memory.
 *
 * Translated code, the interpreter, the runtime module and TypeScript all reach a vCPU through the address of its
 * block; none of them keeps guest state anywhere else between two instructions. The constants for the runtime
 * module are generated from this description by scripts/build.ts.
 */
import { aligned, array, bytes, i32, i64, struct, u16, u32, u64 } from '../../base/struct.ts';

/** Segment register numbers as the instruction encoding has them (SDM vol. 2, sreg field), then LDTR, TR, none. */
export const Seg = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldtr: 6, tr: 7 } as const;

/**
 * Hidden part of a segment register. `attributes` are bits 8..15 and 20..23 of the descriptor's high half moved
 * down as in VMX/SVM: type 0..3, S 4, DPL 5..6, P 7, AVL 12, L 13, D/B 14, G 15; bit 16 set means unusable (null).
 * `limit` is in bytes, granularity applied.
 */
export const Segment = struct('segment', {
  selector: u16,
  pad: u16,
  attributes: u32,
  limit: u32,
  /** Base as the descriptor has it, for es cs ss ds: `Vcpu.segBase` reads zero instead while in 64-bit mode. */
  hiddenBase: u32,
});
export const SEGMENT_UNUSABLE = 1 << 16;

/**
 * One TLB entry. A lookup hits when `tag` equals the address's page; `addend` + low 32 bits = machine address. In tables of
 * watched pages `flags` has the address of the code page (decode/record.ts) above its own bits.
 */
export const TlbEntry = struct('tlb_entry', { tag: i64, addend: i32, flags: u32 });
export const TLB_ENTRIES = 1024;
export const TLB_BYTES = TLB_ENTRIES * 16;
/**
 * Tag of an empty entry. Lookups compare with a page's address, whose low 12 bits are clear, so nothing can ever match: not even
 * an address that is not canonical, which must go to the slow path for its fault. An entry that was never filled has the tag 0, as its
 * memory was never touched, but for those that are ever compared with page 0 (`TLB_PAGE_0_ENTRIES`).
 */
export const TLB_EMPTY_TAG = 1n;
/** TLB entry flags. */
export const TlbFlag = { global: 1, large: 2, mask: 7 } as const;

export const Vcpu = struct('vcpu', {
  /** rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
  gpr: array(u64, 16),
  /** Always zero: the base or index of an address that has none. */
  zero: u64,
  /** Effective address computed by an address micro-operation (legacy segments, 16 and 32-bit addressing). */
  ea: u64,
  /** Linear address of the code page that is executing; the base of RIP-relative addresses. */
  codePage: u64,
  /** Instruction pointer; up to date whenever control is outside the interpreter loop. */
  rip: u64,

  /** Sign-extended result that ZF, SF and PF are derived from; see isa/flags.ts. */
  flagRes: i64,
  /** CF, AF and OF in their RFLAGS places, plus bits 2 and 7 that flip PF and SF; see isa/flags.ts. */
  flagAux: u32,
  /** All other RFLAGS bits in their places (bit 1 always set). */
  flagSys: u32,

  /** Segment bases: es cs ss ds fs gs ldtr tr. In 64-bit mode all but fs, gs, ldtr, tr are kept at zero. */
  segBase: array(u64, 8),
  segment: array(Segment, 8),
  gdtBase: u64,
  idtBase: u64,
  gdtLimit: u32,
  idtLimit: u32,

  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  xcr0: u64,
  dr: array(u64, 8),
  efer: u64,
  star: u64,
  lstar: u64,
  cstar: u64,
  fmask: u64,
  kernelGsBase: u64,
  sysenterCs: u64,
  sysenterEsp: u64,
  sysenterEip: u64,
  pat: u64,
  tscAux: u64,
  apicBase: u64,
  miscEnable: u64,

  /** Current privilege level 0..3. */
  cpl: u32,
  /** Decoder mode: see decode/mode.ts. Selects which decoded form of a code page is used. */
  mode: u32,
  /**
   * Pending exception: vector, error code, whether it has one, and CR2 for page faults. `exHasError` of 2 is a #GP(0)
   * for an address that is not canonical: #SS(0) when the memory operand is in the stack segment.
   */
  exVector: i32,
  exError: u32,
  exHasError: u32,
  /** Vector of the exception or interrupt being delivered, -1 when none: tells double and triple faults. */
  exDelivering: i32,
  exCr2: u64,
  /** 1 while interrupts are held off for one instruction (after STI, MOV SS, POP SS). */
  interruptShadow: u32,
  /** Vector of an external interrupt that waits to be accepted, -1 when none. Set by the interrupt controller. */
  pendingInterrupt: i32,
  /** Why the interpreter loop returned: see vcpu/exit.ts. */
  exitReason: u32,
  exitInfo: u32,
  /** Instructions the current slice may still execute. */
  fuel: i32,
  /** 1 when the vCPU is halted until an interrupt. */
  halted: u32,
  /** Instructions retired before the current slice began. */
  retired: u64,
  /** Fuel at the beginning of the slice: retired + (sliceFuel - fuel) instructions are done. */
  sliceFuel: i32,
  id: u32,

  /**
   * The TLB tables in use for the current privilege, addresses: of that for reads, which the others for data are behind, and of that for
   * execution.
   */
  tlb: u32,
  tlbExec: u32,
  /** Guest-physical to machine map: address of a u32 table indexed by gfn, and its length. */
  p2m: u32,
  p2mCount: u32,
  domain: u32,

  /** x87: control, status (TOP kept in bits 11..13), tag (full 16-bit form), last opcode and pointers. */
  fcw: u16,
  fsw: u16,
  ftw: u16,
  fop: u16,
  fip: u64,
  fdp: u64,
  fcs: u16,
  fds: u16,
  mxcsr: u32,
  /** Physical x87 registers R0..R7 (not stack-relative), 10 bytes used of 16. MMX registers alias bytes 0..7. */
  fpr: aligned(16, array(bytes(16), 8)),
  /** YMM registers; XMM is the lower half. */
  ymm: aligned(32, array(bytes(32), 16)),

  /** Where an access lands that has no single machine address (crosses pages, MMIO, code page); see mmu. */
  scratch: aligned(64, bytes(64)),
  /** Pending commit of `scratch`: linear address and size, then the two pieces as machine addresses (0: MMIO). */
  commitGpa0: u64,
  commitGpa1: u64,
  commitAddress0: u32,
  commitAddress1: u32,
  commitSize0: u32,
  commitSize1: u32,
  /** Scratch for helpers with more than one result. */
  temp: array(u64, 4),
  singleStep: u32,
  /** Next vCPU block of the machine, 0 at the end of the list (see machine/header.ts). */
  nextVcpu: u32,
  /** PAE paging without long mode: the four page-directory-pointer entries, as loaded with CR3. */
  pdpte: array(u64, 4),
  /**
   * Where the TLB may have entries of large pages, as a set of hashes of 64: of va >> 22 for those that a CR3 load
   * throws away, of va >> 30 for global ones and 1 GiB pages.
   */
  tlbLargeLocal: u64,
  tlbLargeGlobal: u64,
  /** Entries in the journal of TLB fills; more than TLB_JOURNAL_ENTRIES means that it overflowed. */
  tlbJournalCount: u32,
  /** Not 0 when there may be something among the victims. */
  tlbVictims: u32,
  /** What keeping victims is worth; below 0 they have a rest (runtime/assembly/mmu/victims.ts). */
  tlbVictimsWorth: i32,
  /** Not 0 when something was put into the TLB since all of it was thrown away. */
  tlbFilled: u32,
  /** 1 from the delivery of an NMI to the next IRET. */
  nmiBlocked: u32,
  /** Bytes of an access that is put together from two pages, while device reads and writes use `scratch`. */
  gather: aligned(64, bytes(64)),
  /** An x87 environment or state image (108 bytes at most) on its way from or to memory. */
  x87Image: aligned(64, bytes(128)),
  /**
   * Between two regions of the translator: not 0 when `flagAux` is still to be computed, from `flagRes` and `flagSource`
   * (translator/flag-tracker.ts). Always 0 elsewhere.
   */
  flagKind: u32,
  flagSource: u64,
  /** Set when a store has changed code that a region was made of: the region that is running must be left. */
  regionsChanged: u32,
  /** Exceptions and interrupts delivered so far; tells a single-stepper that the instruction did not complete. */
  deliveries: u32,

  /**
   * Another thread wants this vCPU's attention: `KICK` or `KICK_ASIDE`, else 0. Whoever executes guest code polls it and gives
   * control back to the engine's caller with `Exit.kick`, before the next instruction.
   */
  kick: aligned(64, i32),
  /** 1 while other vCPUs of the machine may run at the same time: see `Emitter.requireAlone`. */
  parallel: u32,
  /** Not 0 while a worker executes the vCPU: its code, or an exception's delivery (cpu/alone.ts). 2: somebody sleeps until it is 0. */
  engaged: u32,
  /** A word that nobody looks at: an atomic operation on it orders the accesses around it. */
  fence: u32,
  /**
   * Exceptions that the SSE or AVX operation raised which the runtime did last, in their MXCSR places; SIMD_UNMASKED is set when
   * one of them is not masked: the result does not count then.
   */
  simdFault: u32,
  /** In which period counts of jumps were halved last (translator/cooling.ts). */
  heatPeriod: u32,
  /** Offsets of entries in the table of jump targets that are in use besides the first ones: interpreter/jump-targets.ts. */
  jumpTargetsMask: u32,
});

/** See `simdFault`. */
export const SIMD_UNMASKED = 0x100;
/** Where MXCSR masks exceptions. */
export const SIMD_MASKS = 0x1f80;

/** More fuel than a slice can have, so that one comparison with `kick` tells both that it is set and that fuel is used up. */
export const KICK = 0x7fff_ffff;
/** The same for a moment only: another vCPU wants to be alone, and nothing else is to be looked at. `KICK` takes its place. */
export const KICK_ASIDE = KICK - 1;
/** `exVector` of an instruction that must be executed while no other vCPU of the machine does: no exception, `Exit.exclusive`. */
export const PENDING_EXCLUSIVE = 257;

/** TLB tables after the state: read, write per class, then execute per class. */
export const TlbClass = {
  /** Supervisor, user pages not reachable (SMAP in force, AC clear). */
  supervisor: 0,
  user: 1,
  /** Supervisor with access to user pages (no SMAP, or AC set). */
  supervisorAc: 2,
} as const;
/** Added to the size of an access that the runtime makes: it is one through the stack pointer (#SS instead of #GP). */
export const STACK_ACCESS = 0x100;
/** Not all of a page: the last entry of a table and the first of the next one, which are written in a new block, are in one page so. */
export const VCPU_STATE_BYTES = 0x1000 - 64;
export const TLB_READ_OFFSET = VCPU_STATE_BYTES;
/** From the read table of a class to itself, and to its write table. */
export const TLB_READ = 0;
export const TLB_WRITE = 3 * TLB_BYTES;
export const TLB_WRITE_OFFSET = TLB_READ_OFFSET + TLB_WRITE;
/**
 * Pages with decoded code, which are in no write table, per class: bytes of theirs that no instruction touches take stores as
 * well. Each table lies `TLB_WATCHED` behind the read table of its class.
 */
export const TLB_WATCHED = TLB_WRITE + 3 * TLB_BYTES;
/** Two execute tables: class supervisor (0) and user (1). */
export const TLB_EXEC_OFFSET = TLB_READ_OFFSET + TLB_WATCHED + 3 * TLB_BYTES;
/**
 * What other pages have driven out of the tables for reading and writing (runtime/assembly/mmu/victims.ts): so many for each of the
 * six.
 */
export const TLB_VICTIMS = 16;
export const TLB_VICTIM_TABLES = 6;
export const TLB_VICTIMS_OFFSET = TLB_EXEC_OFFSET + 2 * TLB_BYTES;
/** Journal of TLB fills that a CR3 load must undo: u16 each, table number * TLB_ENTRIES + index. */
export const TLB_JOURNAL_OFFSET = TLB_VICTIMS_OFFSET + TLB_VICTIM_TABLES * TLB_VICTIMS * TlbEntry.size;
export const TLB_JOURNAL_ENTRIES = 2048;
/**
 * Entries that a lookup may compare with page 0, offsets in the block, which have to be made empty in a new one: in each table the first, and
 * the last, which is looked at for bytes on both sides of the end of all addresses; and the first of each table's victims.
 */
export const TLB_PAGE_0_ENTRIES: readonly number[] = [
  ...offsetsBetween(TLB_READ_OFFSET, TLB_VICTIMS_OFFSET, TLB_BYTES).flatMap(first => [
    first,
    first + TLB_BYTES - TlbEntry.size,
  ]),
  ...offsetsBetween(TLB_VICTIMS_OFFSET, TLB_JOURNAL_OFFSET, TLB_VICTIMS * TlbEntry.size),
];
function offsetsBetween(start: number, end: number, step: number): number[] {
  return Array.from({ length: (end - start) / step }, (_, i) => start + i * step);
}
/** How often jumps led to a record, u16 each, by a hash of its address: finds what is worth translating. */
export const HEAT_OFFSET = TLB_JOURNAL_OFFSET + TLB_JOURNAL_ENTRIES * 2;
export const HEAT_ENTRIES = 8192;
/** Where a computed jump or a return has led: a table of pairs by a hash of both (interpreter/jump-targets.ts). */
export const JumpTarget = struct('jump_target', {
  /** The low half of the jump's linear address. */
  from: u32,
  /** How often, 0 in entries that were never used. */
  count: u32,
  /** Linear address. */
  target: u64,
});
export const JUMP_TARGETS = 16384;
export const JUMP_TARGETS_OFFSET = HEAT_OFFSET + HEAT_ENTRIES * 2;
/** Size of the whole block: state and tables, a multiple of the page size. */
export const VCPU_BLOCK_BYTES =
  Math.ceil((JUMP_TARGETS_OFFSET + JUMP_TARGETS * JumpTarget.size) / 4096) * 4096;

/**
 * p2m entry: mfn in the low 20 bits, type above. An entry of 0 is not mapped (reads as all ones, writes vanish). From `frozen` on the
 * hypervisor sees who writes to the page, from `paged` on who looks at it: it makes RAM of it first. So those are in no TLB.
 */
export const P2m = {
  mfnMask: 0xfffff,
  typeShift: 20,
  invalid: 0,
  ram: 1,
  readOnly: 2,
  mmio: 3,
  /** RAM whose contents clones look at: before it is written to, they get a copy. */
  frozen: 4,
  /** RAM that has no frame yet: instead of the mfn it has the number of the page that it is filled with, 0 for zeros. */
  paged: 5,
  /** RAM that nobody has looked at for some time, as it seems. */
  idle: 6,
  /** The same, and the scan for identical pages knows its contents. */
  offered: 7,
  /** RAM without a frame: its contents are in the host's store of pages, where the number is its place; 0 for zeros. */
  shared: 8,
  /**
   * RAM that was executed and never looked at otherwise: it has a frame, whose contents are still where those of `paged` RAM are. The
   * frame table has the number of the page, which is not 0 (`FrameFlag.unread`).
   */
  unread: 9,
} as const;

/** Width of guest-physical addresses (MAXPHYADDR); higher bits are reserved in page tables and CR3. */
export const PHYSICAL_ADDRESS_BITS = 40;
