/**
 * The CPU engine as a processor under test: a machine with the address space of machine-case.ts, running user code as
 * a kernel would let it run.
 *
 * Invariants: the machine is in long mode, code of other widths runs in compatibility mode, at CPL 3. Every vector has
 * a handler of one HLT instruction on a page of its own kind, so that any exception (the INT3 after the code too) is
 * delivered in full and then stops the engine; what it was is told by where it stopped and what lies on the kernel's
 * stack. Kernel memory is in the upper half, which user code cannot have mapped.
 */
import { domid, frameAddress } from '../../src/base/brand.ts';
import { CpuEngine } from '../../src/cpu/engine.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { P2m, Seg, Segment, Vcpu } from '../../src/cpu/vcpu/layout.ts';
import { FrameTable } from '../../src/machine/frames.ts';
import { createMachineMemory } from '../../src/machine/memory.ts';
import { readAsset } from '../../src/platform/node/files.ts';
import type { GuestCpu } from './compare.ts';
import {
  CODE_BASE,
  CODE_BYTES,
  changesBetween,
  codeAddress,
  DATA_BASE,
  DATA_SEGMENT16,
  End,
  type MachineCase,
  type MachineResult,
  type Mode,
  PAGE_BYTES,
  READONLY_BASE,
  READONLY_IMAGE,
  WINDOW_BYTES,
  windowOf,
} from './machine-case.ts';
import { B, D, type MachineState, machineState, Q, W } from './machine-state.ts';

const V = Vcpu.offsets;
/** More than the longest string instruction of any case takes. */
const FUEL = 20_000;
const INT3 = 0xcc;
const HLT = 0xf4;
/** Flags a case may begin with, as in the harness. */
const SETTABLE_FLAGS = 0x40dd5;

// ---- guest-physical and linear memory ----

const KERNEL_BASE = 0xffff_8000_0000_0000n;
/** Pages of the kernel's own, from guest-physical 0 and linear KERNEL_BASE on. */
const IDT = 0;
const TSS = PAGE_BYTES;
const HANDLERS = 2 * PAGE_BYTES;
const STACK_TOP = 4 * PAGE_BYTES;
const KERNEL_PAGES = 4;
const HANDLER_BYTES = 16;
const CODE = KERNEL_PAGES * PAGE_BYTES;
const WINDOW = CODE + CODE_BYTES;
const READONLY = WINDOW + WINDOW_BYTES;
const TABLES = READONLY + PAGE_BYTES;
const GUEST_PAGES = 64;

const PRESENT = 1n;
const WRITE = 2n;
const USER = 4n;
/** Accessed and dirty from the beginning: walks have nothing to write. */
const USED = 0x60n;
const NX = 1n << 63n;

/** PE MP ET NE WP AM PG */
export const CR0 = 0x8005_0033n;
export const CR4 = 0x5_0620n; // PAE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE
const EFER = 0xd00n; // LME LMA NXE

/** Segments as the harness has them: selector, attributes, base, limit. */
type SegmentValue = readonly [selector: number, attributes: number, base: number, limit: number];
const CODE_SEGMENTS: Record<Mode, SegmentValue> = {
  16: [0x07, 0x00fb, CODE_BASE, 0xffff],
  32: [0x23, 0xc0fb, 0, 0xffff_ffff],
  64: [0x33, 0xa0fb, 0, 0xffff_ffff],
};
const FLAT: SegmentValue = [0x2b, 0xc0f3, 0, 0xffff_ffff];
const DATA16: SegmentValue = [0x0f, 0x00f3, DATA_SEGMENT16, 0xffff];
const FS: SegmentValue = [0x17, 0xc0f3, DATA_BASE, 0xffff_ffff];
const GS: SegmentValue = [0x1f, 0x40f3, DATA_BASE, WINDOW_BYTES - 1];
const NULL_SEGMENT: SegmentValue = [0, 0x1_0000, 0, 0];

/** Exceptions that push an error code. */
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

/** @param control other than what Linux has */
export function createGuestCpu(control: { cr0?: bigint; cr4?: bigint; xcr0?: bigint } = {}): GuestCpu {
  const { cr0 = CR0, cr4 = CR4, xcr0 = 7n } = control;
  const memory = createMachineMemory(64 << 20);
  const frames = new FrameTable(memory);
  const refuse = () => 1;
  const nothing = () => {};
  const engine = new CpuEngine(
    {
      runtime: new WebAssembly.Module(readAsset('runtime.wasm')),
      interpreter: new WebAssembly.Module(readAsset('interpreter.wasm')),
    },
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
      rdmsr: refuse,
      wrmsr: refuse,
    },
    { codeCacheBytes: 8 << 20, translates: false },
  );
  const { runtime } = engine;
  const cpu = engine.createVcpu(0);
  const vcpu = Vcpu.at(memory.view, cpu);
  const { view, u8 } = memory;

  const guest = frameAddress(frames.allocateRun(GUEST_PAGES, domid(1)));
  const p2m = frameAddress(frames.allocateRun(1));
  for (let i = 0; i < GUEST_PAGES; i++)
    memory.u32[p2m / 4 + i] = (guest / PAGE_BYTES + i) | (P2m.ram << P2m.typeShift);
  vcpu.p2m = p2m;
  vcpu.p2mCount = GUEST_PAGES;
  vcpu.domain = 1;

  // Page tables.
  let nextTable = TABLES + PAGE_BYTES;
  const map = (linear: bigint, physical: number, flags: bigint): void => {
    let table = TABLES;
    for (let shift = 39n; shift > 12n; shift -= 9n) {
      const at = guest + table + Number((linear >> shift) & 0x1ffn) * 8;
      if (view.getBigUint64(at, true) === 0n) {
        view.setBigUint64(at, BigInt(nextTable) | PRESENT | WRITE | USER | USED, true);
        nextTable += PAGE_BYTES;
      }
      table = Number(view.getBigUint64(at, true) & 0xf_f000n);
    }
    const at = guest + table + Number((linear >> 12n) & 0x1ffn) * 8;
    view.setBigUint64(at, BigInt(physical) | PRESENT | USED | flags, true);
  };
  for (let i = 0; i < KERNEL_PAGES; i++) map(KERNEL_BASE + BigInt(i * PAGE_BYTES), i * PAGE_BYTES, WRITE);
  for (let at = 0; at < CODE_BYTES; at += PAGE_BYTES) map(BigInt(CODE_BASE + at), CODE + at, USER);
  for (let at = 0; at < WINDOW_BYTES; at += PAGE_BYTES)
    map(BigInt(DATA_BASE + at), WINDOW + at, USER | WRITE | NX);
  map(BigInt(READONLY_BASE), READONLY, USER | NX);

  // Memory contents. Gates: present interrupt gates, INT3 and INTO open to user code.
  u8.fill(INT3, guest + CODE, guest + CODE + CODE_BYTES);
  u8.set(READONLY_IMAGE, guest + READONLY);
  u8.fill(HLT, guest + HANDLERS, guest + HANDLERS + PAGE_BYTES);
  for (let vector = 0; vector < 256; vector++) {
    const handler = KERNEL_BASE + BigInt(HANDLERS + vector * HANDLER_BYTES);
    const at = guest + IDT + 16 * vector;
    const type = vector === 3 || vector === 4 ? 0xee00n : 0x8e00n;
    view.setBigUint64(
      at,
      (handler & 0xffffn) | (0x10n << 16n) | (type << 32n) | ((handler & 0xffff_0000n) << 32n),
      true,
    );
    view.setBigUint64(at + 8, handler >> 32n, true);
  }
  view.setBigUint64(guest + TSS + 4, KERNEL_BASE + BigInt(STACK_TOP), true);
  // The gates' code segment, from a descriptor table behind the task state.
  const GDT = TSS + 0x200;
  view.setBigUint64(guest + GDT + 0x10, 0x00af_9b00_0000_ffffn, true);

  const segments = vcpu.segment.address;
  const setSegment = (
    number: number,
    [selector, attributes, base, limit]: SegmentValue,
    long = false,
  ): void => {
    const segment = Segment.at(view, segments + number * Segment.size);
    segment.selector = selector;
    segment.attributes = attributes;
    segment.limit = limit;
    segment.hiddenBase = base;
    vcpu.segBase.set(number, long ? 0n : BigInt(base));
  };
  vcpu.cr0 = cr0;
  vcpu.cr3 = BigInt(TABLES);
  vcpu.cr4 = cr4;
  vcpu.efer = EFER;
  vcpu.xcr0 = xcr0;
  vcpu.idtBase = KERNEL_BASE + BigInt(IDT);
  vcpu.idtLimit = 0xfff;
  vcpu.gdtBase = KERNEL_BASE + BigInt(GDT);
  vcpu.gdtLimit = 0x1f;
  setSegment(Seg.tr, [0x40, 0x8b, 0, 0x67]);
  vcpu.segBase.set(Seg.tr, KERNEL_BASE + BigInt(TSS));
  setSegment(Seg.ldtr, NULL_SEGMENT);
  runtime.tlbFlushAll(cpu);

  function begin({ mode, state }: MachineCase): void {
    const long = mode === 64;
    setSegment(Seg.cs, CODE_SEGMENTS[mode], long);
    const data = mode === 16 ? DATA16 : FLAT;
    for (const number of [Seg.es, Seg.ss, Seg.ds]) setSegment(number, data, long);
    setSegment(Seg.fs, long ? NULL_SEGMENT : FS);
    setSegment(Seg.gs, long ? NULL_SEGMENT : GS);
    if (long) {
      vcpu.segBase.set(Seg.fs, state.u64[Q.fsBase]!);
      vcpu.segBase.set(Seg.gs, state.u64[Q.gsBase]!);
    }
    for (let i = 0; i < 16; i++) vcpu.gpr.set(i, state.u64[i]!);
    vcpu.rip = state.u64[Q.rip]!;
    vcpu.exDelivering = -1;
    vcpu.interruptShadow = 0;
    vcpu.halted = 0;
    runtime.setFlags(cpu, BigInt((state.u32[D.rflags]! & SETTABLE_FLAGS) | 0x202), 0xffff_ffffn);
    runtime.setCpl(cpu, 3);
    runtime.updateMode(cpu);

    vcpu.fcw = state.u16[W.fcw]!;
    vcpu.fsw = state.u16[W.fsw]!;
    const tags = state.u16[W.ftw]!;
    let full = 0;
    for (let i = 0; i < 8; i++) if (!(tags & (1 << i))) full |= 3 << (2 * i);
    vcpu.ftw = full;
    vcpu.fop = state.u16[W.fop]!;
    vcpu.fip = state.u64[Q.fip]!;
    vcpu.fdp = state.u64[Q.fdp]!;
    vcpu.fcs = 0;
    vcpu.fds = 0;
    vcpu.mxcsr = state.u32[D.mxcsr]! & 0xffff;
    u8.set(state.bytes.subarray(B.fpr, B.fpr + 128), cpu + V.fpr);
    u8.set(state.bytes.subarray(B.ymm, B.ymm + 512), cpu + V.ymm);
  }

  /** The state that the exception at hand interrupted. */
  function interrupted(test: MachineCase, frame: number): MachineState {
    const state = machineState();
    for (let i = 0; i < 16; i++) state.u64[i] = vcpu.gpr.get(i);
    state.u64[Q.rip] = view.getBigUint64(frame, true);
    state.u64[Q.rflags] = view.getBigUint64(frame + 16, true);
    state.u64[4] = view.getBigUint64(frame + 24, true);
    if (test.mode !== 64)
      for (let i = 0; i < 16; i++) state.u64[i] = i < 8 ? state.u64[i]! & 0xffff_ffffn : 0n;
    state.u16[W.fcw] = vcpu.fcw;
    state.u16[W.fsw] = vcpu.fsw;
    let tags = 0;
    for (let i = 0; i < 8; i++) if (((vcpu.ftw >> (2 * i)) & 3) !== 3) tags |= 1 << i;
    state.u16[W.ftw] = tags;
    state.u16[W.fop] = vcpu.fop;
    state.u64[Q.fip] = vcpu.fip;
    state.u64[Q.fdp] = vcpu.fdp;
    state.u32[D.mxcsr] = vcpu.mxcsr;
    state.bytes.set(u8.subarray(cpu + V.fpr, cpu + V.fpr + 128), B.fpr);
    state.bytes.set(u8.subarray(cpu + V.ymm, cpu + V.ymm + 512), B.ymm);
    state.u64[Q.fsBase] = test.mode === 64 ? vcpu.segBase.get(Seg.fs) : test.state.u64[Q.fsBase]!;
    state.u64[Q.gsBase] = test.mode === 64 ? vcpu.segBase.get(Seg.gs) : test.state.u64[Q.gsBase]!;
    return state;
  }

  function setCode(offset: number, bytes: Uint8Array | number, length: number): void {
    const at = guest + CODE + offset;
    if (typeof bytes === 'number') u8.fill(bytes, at, at + length);
    else u8.set(bytes, at);
    for (let from = offset; from < offset + length; ) {
      const to = Math.min(offset + length, (from & -PAGE_BYTES) + PAGE_BYTES);
      runtime.invalidateCode((guest + CODE + from) / PAGE_BYTES, from % PAGE_BYTES, to - from);
      from = to;
    }
  }

  function run(test: MachineCase): MachineResult {
    const window = windowOf(test);
    u8.set(window, guest + WINDOW);
    const codeOffset = codeAddress(test) - CODE_BASE;
    setCode(codeOffset, test.code, test.code.length);
    begin(test);
    let reason: number;
    do reason = engine.run(cpu, FUEL);
    while (reason === Exit.interruptWindow || reason === Exit.pause);
    setCode(codeOffset, INT3, test.code.length);

    const changes = changesBetween(window, u8.subarray(guest + WINDOW, guest + WINDOW + WINDOW_BYTES));
    const vector = (Number(vcpu.rip - KERNEL_BASE) - HANDLERS - 1) / HANDLER_BYTES;
    if (reason !== Exit.halt || vcpu.cpl !== 0 || !Number.isInteger(vector))
      return { end: End.timeout, vector: 0, errorCode: 0, faultAddress: 0n, state: machineState(), changes };
    const stack = guest + Number(vcpu.gpr.get(4) - KERNEL_BASE);
    const hasError = WITH_ERROR_CODE.has(vector);
    const state = interrupted(test, hasError ? stack + 8 : stack);
    const end =
      vector === 3 && BigInt.asUintN(64, state.u64[Q.rip]! - 1n - test.state.u64[Q.rip]!) >= test.code.length
        ? End.completed
        : End.exception;
    if (end === End.completed) state.u64[Q.rip]! -= 1n;
    return {
      end,
      vector,
      errorCode: hasError ? view.getUint32(stack, true) : 0,
      faultAddress: vector === 14 ? vcpu.cr2 : 0n,
      state,
      changes,
    };
  }
  return { run };
}
