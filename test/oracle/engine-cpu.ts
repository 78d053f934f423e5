/**
 * The CPU engine as a processor under test: one vCPU in user mode of a small 64-bit system, whose exception handlers
 * halt. 32 and 16-bit cases run in compatibility mode, so segments are as machine-case.ts says without any descriptor.
 *
 * Physical memory: tables below SYSTEM_BYTES (also mapped for the supervisor at SYSTEM_BASE), then the code region and
 * the data pages.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { domid, frameAddress, mfn, PAGE_SIZE } from '../../src/base/brand.ts';
import { CpuEngine } from '../../src/cpu/engine.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { P2m, Seg, Segment, Vcpu } from '../../src/cpu/vcpu/layout.ts';
import { FrameTable } from '../../src/machine/frames.ts';
import { createMachineMemory } from '../../src/machine/memory.ts';
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
  READONLY_BASE,
  READONLY_IMAGE,
  WINDOW_BYTES,
  windowOf,
} from './machine-case.ts';
import { B, D, machineState, Q, W } from './machine-state.ts';

const DIST = join(import.meta.dirname, '../../dist');
const SYSTEM_BASE = 0xffff_8000_0000_0000n;
const SYSTEM_BYTES = 0x1_0000;
/** Physical addresses. */
const PML4 = 0x1000;
const USER_PDPT = 0x2000;
const USER_PD = 0x3000;
const CODE_PT = 0x4000;
const DATA_PT = 0x5000;
const SYSTEM_PDPT = 0x6000;
const SYSTEM_PD = 0x7000;
const IDT = 0x8000;
const GDT = 0x9000;
const TSS = 0xa000;
const STACK_TOP = 0xc000;
const HANDLERS = 0xd000;
const HANDLER_BYTES = 16;
const SYSTEM_PT = 0xe000;
const CODE = 0x1_0000;
const DATA = 0x2_0000;
const READONLY = 0x2_2000;
const FRAMES = 0x30;

const PRESENT = 1n;
const WRITABLE = 2n;
const USER = 4n;
const NO_EXECUTE = 1n << 63n;
const HAS_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);
const FUEL = 20_000;
const V = Vcpu.offsets;

/** Segment attributes as the vCPU block has them: user code and data. */
const CODE_ATTRIBUTES = { 64: 0xa0fb, 32: 0xc0fb, 16: 0x00fb };
const DATA_ATTRIBUTES = { 64: 0xc0f3, 32: 0xc0f3, 16: 0x00f3 };

export function openEngineCpu(): GuestCpu {
  const module = (name: string) => new WebAssembly.Module(readFileSync(join(DIST, `${name}.wasm`)));
  const memory = createMachineMemory(64 << 20);
  const frames = new FrameTable(memory);
  const host = {
    cpuid() {},
    readTsc() {},
    random() {},
    portIn: () => -1,
    portOut() {},
    mmioRead() {},
    mmioWrite() {},
    rdmsr: () => 1,
    wrmsr: () => 1,
  };
  const modules = { runtime: module('runtime'), interpreter: module('interpreter') };
  const engine = new CpuEngine(modules, frames, host, 16 << 20);
  const cpu = engine.createVcpu(0);
  const vcpu = Vcpu.at(memory.view, cpu);
  const p2m = frameAddress(frames.allocateRun(1));
  const base = frameAddress(frames.allocateRun(FRAMES, domid(1)));
  for (let i = 0; i < FRAMES; i++)
    memory.u32[p2m / 4 + i] = (base / PAGE_SIZE + i) | (P2m.ram << P2m.typeShift);
  vcpu.p2m = p2m;
  vcpu.p2mCount = FRAMES;
  vcpu.domain = 1;

  const put = (at: number, value: bigint) => memory.view.setBigUint64(base + at, value, true);
  const map = (table: number, index: number, to: number, flags: bigint) =>
    put(table + index * 8, BigInt(to) | flags | PRESENT);
  const inner = WRITABLE | USER;
  map(PML4, 0, USER_PDPT, inner);
  map(PML4, 256, SYSTEM_PDPT, inner);
  map(USER_PDPT, 0, USER_PD, inner);
  map(USER_PD, CODE_BASE >>> 21, CODE_PT, inner);
  map(USER_PD, DATA_BASE >>> 21, DATA_PT, inner);
  map(SYSTEM_PDPT, 0, SYSTEM_PD, inner);
  map(SYSTEM_PD, 0, SYSTEM_PT, inner);
  for (let i = 0; i < SYSTEM_BYTES / PAGE_SIZE; i++) map(SYSTEM_PT, i, i * PAGE_SIZE, WRITABLE);
  for (let i = 0; i < CODE_BYTES / PAGE_SIZE; i++) map(CODE_PT, i, CODE + i * PAGE_SIZE, USER);
  const dataEntry = (linear: number) => (linear >>> 12) & 511;
  for (let i = 0; i < 2; i++)
    map(DATA_PT, dataEntry(DATA_BASE) + i, DATA + i * PAGE_SIZE, USER | WRITABLE | NO_EXECUTE);
  map(DATA_PT, dataEntry(READONLY_BASE), READONLY, USER | NO_EXECUTE);
  put(GDT + 8, 0x00af_9b00_0000_ffffn);
  put(TSS + 4, SYSTEM_BASE + BigInt(STACK_TOP));
  for (let vector = 0; vector < 256; vector++) {
    const handler = SYSTEM_BASE + BigInt(HANDLERS + vector * HANDLER_BYTES);
    put(
      IDT + vector * 16,
      (handler & 0xffffn) | (8n << 16n) | (0xeen << 40n) | (((handler >> 16n) & 0xffffn) << 48n),
    );
    put(IDT + vector * 16 + 8, handler >> 32n);
    memory.u8[base + HANDLERS + vector * HANDLER_BYTES] = 0xf4;
  }
  memory.u8.set(READONLY_IMAGE, base + READONLY);
  memory.u8.fill(0xcc, base + CODE, base + CODE + CODE_BYTES);

  const segment = (number: number, selector: number, attributes: number, at: bigint, limit: number) => {
    const entry = Segment.at(memory.view, cpu + V.segment + number * Segment.size);
    entry.selector = selector;
    entry.attributes = attributes;
    entry.limit = limit;
    entry.hiddenBase = Number(at & 0xffff_ffffn);
    vcpu.segBase.set(number, at);
  };
  vcpu.cr3 = BigInt(PML4);
  vcpu.cr0 = 0x8005_0033n;
  vcpu.cr4 = 0x5_0620n;
  vcpu.xcr0 = 7n;
  vcpu.efer = 0xd01n;
  vcpu.idtBase = SYSTEM_BASE + BigInt(IDT);
  vcpu.idtLimit = 0xfff;
  vcpu.gdtBase = SYSTEM_BASE + BigInt(GDT);
  vcpu.gdtLimit = 0xff;

  const enter = ({ mode, state }: MachineCase) => {
    const flat = mode === 16 ? 0xffff : 0xffff_ffff;
    const data = mode === 16 ? BigInt(DATA_SEGMENT16) : 0n;
    segment(Seg.cs, 0x33, CODE_ATTRIBUTES[mode], mode === 16 ? BigInt(CODE_BASE) : 0n, flat);
    for (const number of [Seg.es, Seg.ss, Seg.ds]) segment(number, 0x2b, DATA_ATTRIBUTES[mode], data, flat);
    const extra = (number: number, at: bigint, limit: number) =>
      segment(number, 0x2b, DATA_ATTRIBUTES[mode === 64 ? 64 : 32], at, limit);
    extra(Seg.fs, mode === 64 ? state.u64[Q.fsBase]! : BigInt(DATA_BASE), 0xffff_ffff);
    extra(
      Seg.gs,
      mode === 64 ? state.u64[Q.gsBase]! : BigInt(DATA_BASE),
      mode === 64 ? 0xffff_ffff : WINDOW_BYTES - 1,
    );
    segment(Seg.tr, 0x40, 0x008b, SYSTEM_BASE + BigInt(TSS), 0xfff);
    vcpu.rip = state.u64[Q.rip]!;
    engine.runtime.setFlags(cpu, state.u64[Q.rflags]! | 2n, -1n);
    engine.runtime.setCpl(cpu, 3);
    for (let i = 0; i < 16; i++)
      vcpu.gpr.set(i, mode === 64 ? state.u64[i]! : i < 8 ? state.u64[i]! & 0xffff_ffffn : 0n);
    vcpu.fcw = state.u16[W.fcw]!;
    vcpu.fsw = state.u16[W.fsw]!;
    let tags = 0;
    for (let i = 0; i < 8; i++) if (!(state.u16[W.ftw]! & (1 << i))) tags |= 3 << (2 * i);
    vcpu.ftw = tags;
    vcpu.mxcsr = state.u32[D.mxcsr]!;
    memory.u8.set(state.bytes.subarray(B.fpr, B.fpr + 128), cpu + V.fpr);
    memory.u8.set(state.bytes.subarray(B.ymm, B.ymm + 512), cpu + V.ymm);
    vcpu.exVector = -1;
    vcpu.exDelivering = -1;
    vcpu.interruptShadow = 0;
    engine.runtime.updateMode(cpu);
    engine.runtime.selectTlb(cpu);
  };

  let lastCode = 0;
  let lastLength = 0;
  const writeCode = (offset: number, bytes: Uint8Array) => {
    memory.u8.set(bytes, base + CODE + offset);
    const end = offset + bytes.length;
    for (let at = offset; at < end; ) {
      const part = Math.min(end - at, PAGE_SIZE - (at & 4095));
      engine.runtime.invalidateCode(mfn((base + CODE + at) >>> 12), at & 4095, part);
      at += part;
    }
  };

  const run = (test: MachineCase): MachineResult => {
    const window = windowOf(test);
    memory.u8.set(window, base + DATA);
    writeCode(lastCode, new Uint8Array(lastLength).fill(0xcc));
    const codeOffset = codeAddress(test) - CODE_BASE;
    lastCode = codeOffset;
    lastLength = test.code.length;
    writeCode(codeOffset, test.code);
    enter(test);
    const reason = engine.run(cpu, FUEL);
    const state = machineState();
    const result = {
      end: End.timeout as number,
      vector: 0,
      errorCode: 0,
      faultAddress: 0n,
      state,
      changes: [],
    };
    if (reason !== Exit.halt) return { ...result, end: reason === Exit.fuel ? End.timeout : 100 + reason };
    const vector = Math.floor((Number(vcpu.rip - SYSTEM_BASE) - HANDLERS) / HANDLER_BYTES);
    let frame = Number(vcpu.gpr.get(4) - SYSTEM_BASE) + base;
    const pop = () => {
      frame += 8;
      return memory.view.getBigUint64(frame - 8, true);
    };
    const errorCode = HAS_ERROR_CODE.has(vector) ? Number(pop()) : 0;
    let rip = pop();
    pop();
    const flags = pop();
    const rsp = pop();
    const ended = rip - 1n - (test.mode === 16 ? 0n : BigInt(CODE_BASE));
    const own = ended >= codeOffset && ended < codeOffset + test.code.length;
    const end = vector === 3 && !own ? End.completed : End.exception;
    if (end === End.completed) rip -= 1n;
    for (let i = 0; i < 16; i++) state.u64[i] = vcpu.gpr.get(i);
    state.u64[4] = rsp;
    state.u64[Q.rip] = rip;
    state.u64[Q.rflags] = flags;
    state.u16[W.fcw] = vcpu.fcw;
    state.u16[W.fsw] = vcpu.fsw;
    for (let i = 0; i < 8; i++) if (((vcpu.ftw >> (2 * i)) & 3) !== 3) state.u16[W.ftw]! |= 1 << i;
    state.u32[D.mxcsr] = vcpu.mxcsr;
    state.u64[Q.fsBase] = test.mode === 64 ? vcpu.segBase.get(Seg.fs) : test.state.u64[Q.fsBase]!;
    state.u64[Q.gsBase] = test.mode === 64 ? vcpu.segBase.get(Seg.gs) : test.state.u64[Q.gsBase]!;
    state.bytes.set(memory.u8.subarray(cpu + V.fpr, cpu + V.fpr + 128), B.fpr);
    state.bytes.set(memory.u8.subarray(cpu + V.ymm, cpu + V.ymm + 512), B.ymm);
    const after = memory.u8.subarray(base + DATA, base + DATA + WINDOW_BYTES);
    return {
      ...result,
      end,
      vector,
      errorCode,
      faultAddress: vector === 14 ? vcpu.cr2 : 0n,
      changes: changesBetween(window, after),
    };
  };
  return { run };
}
