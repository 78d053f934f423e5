/**
 * A small machine for programs in lockstep: long mode, everything at CPL 0, handlers that note each fault and go on.
 *
 * Linear memory: code (writable) at CODE and once more at ALIAS; data, then a page that is present only after a fault, a
 * read-only page and a hole at DATA; all physical memory at KERNEL. Handlers return behind the instruction that
 * faulted, to where r15 says, except for the page that they make present. They run on a stack of their own.
 */
import { domid, frameAddress, type MachineAddress } from '../../src/base/brand.ts';
import { CpuEngine, type EngineModules } from '../../src/cpu/engine.ts';
import type { MakerLink } from '../../src/cpu/translator/translator.ts';
import { P2m, Seg, Segment, Vcpu } from '../../src/cpu/vcpu/layout.ts';
import { FrameTable } from '../../src/machine/frames.ts';
import { createMachineMemory } from '../../src/machine/memory.ts';
import { readAsset } from '../../src/platform/node/files.ts';
import { Assembler, imm32 } from './assembler.ts';

export const PAGE = 4096;
export const CODE = 0x40_0000;
export const ALIAS = 0x80_0000;
export const CODE_PAGES = 8;
export const DATA = 0x10_0000;
export const DATA_PAGES = 4;
/** Present only from the first fault on. */
export const LAZY = DATA + DATA_PAGES * PAGE;
export const READONLY = LAZY + PAGE;
export const STACK = 0x20_0000;
export const STACK_TOP = STACK + 2 * PAGE;
export const KERNEL = 0xffff_8000_0000_0000n;
export const INTERRUPT = 0x20;

/** Guest-physical pages. */
const IDT = 0;
const TSS = 1;
const HANDLERS = 2;
const LOG = 3;
const HANDLER_STACK = 4;
const CODE_AT = 8;
const DATA_AT = 16;
const STACK_AT = 22;
/** Takes the place of the last code page when that is remapped. */
export const OTHER_CODE_AT = 24;
const TABLES = 40;
const GUEST_PAGES = 64;
export const LAST_CODE_AT = CODE_AT + CODE_PAGES - 1;

const FLAGS = 0x63n; // present, writable, accessed, dirty
const IST1 = 1n << 32n;
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);
const MODE_BITS = { cr0: 0x8001_0033n, cr4: 0x4_0620n, efer: 0xd00n };

let modules: EngineModules | undefined;

export interface LockstepMachine {
  readonly engine: CpuEngine;
  readonly cpu: MachineAddress;
  readonly vcpu: ReturnType<typeof Vcpu.at>;
  /** All guest-physical memory. */
  readonly guest: Uint8Array;
  /** Of the page table entry of a linear address, in the kernel's map. */
  entryAddress(linear: number): bigint;
}

export interface Program {
  /** From CODE on. */
  readonly code: Uint8Array;
  /** The page that the last code page is remapped to. */
  readonly otherCode: Uint8Array;
  readonly data: Uint8Array;
  readonly entries: readonly number[];
}

/** Where `entryAddress` of the machine's linear pages lies, the same in all machines: tables are made in one order. */
export function createLockstepMachine(options: {
  translates: boolean;
  hotJumps?: number;
  hotEntries?: number;
  codeCacheBytes?: number;
  makerLink?: MakerLink;
}): LockstepMachine {
  modules ??= {
    runtime: new WebAssembly.Module(readAsset('runtime.wasm')),
    interpreter: new WebAssembly.Module(readAsset('interpreter.wasm')),
  };
  const memory = createMachineMemory(24 << 20);
  const frames = new FrameTable(memory);
  const nothing = () => {};
  const engine = new CpuEngine(
    modules,
    frames,
    {
      cpuid: nothing,
      readTsc: nothing,
      random: nothing,
      portIn: () => 0xffff_ffff,
      portOut: nothing,
      pageIn: nothing,
      readPage: nothing,
      originOf: () => undefined,
      mmioRead: nothing,
      mmioWrite: nothing,
      rdmsr: () => 1,
      wrmsr: () => 1,
    },
    { codeCacheBytes: 8 << 20, ...options },
  );
  const cpu = engine.createVcpu(0);
  const { view, u8, u32 } = memory;
  const vcpu = Vcpu.at(view, cpu);
  const guest = frameAddress(frames.allocateRun(GUEST_PAGES, domid(1)));
  const p2m = frameAddress(frames.allocateRun(1));
  for (let i = 0; i < GUEST_PAGES; i++) u32[p2m / 4 + i] = (guest / PAGE + i) | (P2m.ram << P2m.typeShift);
  vcpu.p2m = p2m;
  vcpu.p2mCount = GUEST_PAGES;
  vcpu.domain = 1;

  let nextTable = TABLES + 1;
  const entries = new Map<number, number>();
  const map = (linear: bigint, page: number, flags = FLAGS): void => {
    let table = TABLES * PAGE;
    for (let shift = 39n; shift > 12n; shift -= 9n) {
      const at = guest + table + Number((linear >> shift) & 0x1ffn) * 8;
      if (view.getBigUint64(at, true) === 0n) {
        view.setBigUint64(at, BigInt(nextTable * PAGE) | FLAGS, true);
        nextTable += 1;
      }
      table = Number(view.getBigUint64(at, true) & 0xff_f000n);
    }
    const at = table + Number((linear >> 12n) & 0x1ffn) * 8;
    view.setBigUint64(guest + at, BigInt(page * PAGE) | flags, true);
    if (linear < KERNEL) entries.set(Number(linear), at);
  };
  for (let i = 0; i < CODE_PAGES; i++) {
    map(BigInt(CODE + i * PAGE), CODE_AT + i);
    map(BigInt(ALIAS + i * PAGE), CODE_AT + i);
  }
  for (let i = 0; i < DATA_PAGES; i++) map(BigInt(DATA + i * PAGE), DATA_AT + i);
  map(BigInt(LAZY), DATA_AT + DATA_PAGES, FLAGS & ~1n);
  map(BigInt(READONLY), DATA_AT + DATA_PAGES + 1, FLAGS & ~2n);
  for (let i = 0; i < 2; i++) map(BigInt(STACK + i * PAGE), STACK_AT + i);
  for (let i = 0; i < GUEST_PAGES; i++) map(KERNEL + BigInt(i * PAGE), i);
  const entryAddress = (linear: number) => KERNEL + BigInt(entries.get(linear) as number);

  // Handlers, in offsets of their page.
  const code = new Assembler(0, PAGE);
  const common = code.label();
  for (let vector = 0; vector < 48; vector++) {
    const stub = code.address;
    if (!WITH_ERROR_CODE.has(vector)) code.bytes(0x6a, 0);
    code.bytes(0x6a, vector);
    code.jump(common);
    const at = guest + IDT * PAGE + 16 * vector;
    const handler = KERNEL + BigInt(HANDLERS * PAGE + stub);
    const low = (handler & 0xffffn) | (0x10n << 16n) | (0x8e00n << 32n) | ((handler & 0xffff_0000n) << 32n);
    view.setBigUint64(at, low | IST1, true);
    view.setBigUint64(at + 8, handler >> 32n, true);
  }
  code.bind(common);
  const [RAX, RCX, RSP, R15] = [0, 1, 4, 15];
  const at = (displacement: number) => ({ base: RSP, displacement });
  const log = (displacement: number) => ({ base: RCX, displacement });
  const [resume, skip] = [code.label(), code.label()];
  const wide = { wide: true };
  code.bytes(0x50, 0x51); // push rax, rcx
  code.op(wide, [0x8d], RCX, { label: { address: (LOG - HANDLERS) * PAGE } });
  code.op(wide, [0x8b], RAX, at(16)); // vector, error code, rip
  code.op(wide, [0x03], RAX, log(0));
  code.op(wide, [0xc1], 0, RAX, [7]);
  code.op(wide, [0x33], RAX, at(24));
  code.op(wide, [0x03], RAX, at(32));
  code.op(wide, [0x89], RAX, log(0));
  code.op({}, [0x81], 7, at(16), imm32(1));
  const notStep = code.label();
  code.jumpIf(5, notStep);
  code.op({}, [0x81], 4, at(48), imm32(~0x100)); // the end of single steps
  code.jump(resume);
  code.bind(notStep);
  code.op({}, [0x81], 7, at(16), imm32(INTERRUPT));
  code.jumpIf(3, resume);
  code.op({}, [0x81], 7, at(16), imm32(14));
  code.jumpIf(5, skip);
  code.bytes(0x0f, 0x20, 0xd0); // mov rax, cr2
  code.op(wide, [0x01], RAX, log(8));
  code.op({}, [0xf6], 0, at(24), [1]);
  code.jumpIf(5, skip);
  code.op(wide, [0xc1], 5, RAX, [12]);
  code.op(wide, [0x81], 7, RAX, imm32(LAZY / PAGE));
  code.jumpIf(5, skip);
  // The tables lie in the kernel's map, at a distance from the handlers.
  code.op(
    wide,
    [0x83],
    1,
    { label: { address: Number(entryAddress(LAZY) - KERNEL) - HANDLERS * PAGE } },
    [1],
  );
  code.jump(resume);
  code.bind(skip);
  code.op(wide, [0x89], R15, at(32));
  code.bind(resume);
  code.bytes(0x59, 0x58); // pop rcx, rax
  code.op(wide, [0x83], 0, RSP, [16]);
  code.bytes(0x48, 0xcf); // iretq
  u8.set(code.finish(), guest + HANDLERS * PAGE);

  view.setBigUint64(guest + TSS * PAGE + 0x24, KERNEL + BigInt((HANDLER_STACK + 1) * PAGE), true);
  const GDT = TSS * PAGE + 0x200;
  view.setBigUint64(guest + GDT + 0x10, 0x00af_9b00_0000_ffffn, true);
  view.setBigUint64(guest + GDT + 0x18, 0x00cf_9300_0000_ffffn, true);
  const setSegment = (number: number, selector: number, attributes: number, limit: number) => {
    const segment = Segment.at(view, vcpu.segment.address + number * Segment.size);
    segment.selector = selector;
    segment.attributes = attributes;
    segment.limit = limit;
    segment.hiddenBase = 0;
    vcpu.segBase.set(number, 0n);
  };
  vcpu.cr0 = MODE_BITS.cr0;
  vcpu.cr3 = BigInt(TABLES * PAGE);
  vcpu.cr4 = MODE_BITS.cr4;
  vcpu.efer = MODE_BITS.efer;
  vcpu.xcr0 = 7n;
  vcpu.idtBase = KERNEL;
  vcpu.idtLimit = 48 * 16 - 1;
  vcpu.gdtBase = KERNEL + BigInt(GDT);
  vcpu.gdtLimit = 0x1f;
  setSegment(Seg.cs, 0x10, 0xa09b, 0xffff_ffff);
  for (const number of [Seg.es, Seg.ss, Seg.ds, Seg.fs, Seg.gs])
    setSegment(number, 0x18, 0xc093, 0xffff_ffff);
  vcpu.segBase.set(Seg.fs, BigInt(DATA));
  vcpu.segBase.set(Seg.gs, BigInt(DATA + PAGE - 8));
  setSegment(Seg.tr, 0x40, 0x8b, 0x67);
  vcpu.segBase.set(Seg.tr, KERNEL + BigInt(TSS * PAGE));
  setSegment(Seg.ldtr, 0, 0x1_0000, 0);
  vcpu.fcw = 0x37f;
  vcpu.ftw = 0xffff;
  vcpu.mxcsr = 0x1f80;
  engine.runtime.setCpl(cpu, 0);
  engine.runtime.updateMode(cpu);
  engine.runtime.selectTlb(cpu);
  engine.runtime.tlbFlushAll(cpu);
  return { engine, cpu, vcpu, guest: u8.subarray(guest, guest + GUEST_PAGES * PAGE), entryAddress };
}

export function loadProgram({ guest }: LockstepMachine, program: Program): void {
  guest.set(program.code, CODE_AT * PAGE);
  guest.set(program.otherCode, OTHER_CODE_AT * PAGE);
  guest.set(program.data, DATA_AT * PAGE);
}
