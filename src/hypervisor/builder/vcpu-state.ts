/**
 * The states a vCPU can be started in: as a PVH guest's first processor, as after reset, and as after a SIPI.
 *
 * Sources: Xen docs/misc/pvh.pandoc (entry state); SDM vol. 3, table 10-1 (state after reset and INIT).
 */
import { Mode } from '../../cpu/decode/mode.ts';
import { SEGMENT_UNUSABLE, Seg, type Vcpu } from '../../cpu/vcpu/layout.ts';

type VcpuState = ReturnType<typeof Vcpu.at>;

const CR0_PE = 1n << 0n;
/** Reads as one on every processor that has an FPU of its own. */
const CR0_ET = 1n << 4n;
const CR0_NW_CD = 3n << 29n;
const PAT_AT_RESET = 0x0007_0406_0007_0406n;

/** Segment attributes in the form of `Segment.attributes`. */
const CODE_FLAT_32 = 0xc09b;
const DATA_FLAT_32 = 0xc093;
const CODE_REAL = 0x009b;
const DATA_REAL = 0x0093;
const TSS_BUSY_32 = 0x008b;
const LDT = 0x0082;

function setSegment(
  vcpu: VcpuState,
  index: number,
  selector: number,
  base: number,
  limit: number,
  attributes: number,
): void {
  const segment = vcpu.segment.get(index);
  segment.selector = selector;
  segment.limit = limit;
  segment.attributes = attributes;
  vcpu.segBase.set(index, BigInt(base));
}

/** What reset, INIT and a fresh PVH processor have in common. */
function setCommon(vcpu: VcpuState): void {
  for (let i = 0; i < 16; i++) vcpu.gpr.set(i, 0n);
  // No flag set: the result is neither zero nor negative and has odd parity.
  vcpu.flagRes = 1n;
  vcpu.flagAux = 0;
  vcpu.flagSys = 2;
  vcpu.gdtBase = 0n;
  vcpu.gdtLimit = 0;
  vcpu.idtBase = 0n;
  vcpu.idtLimit = 0;
  vcpu.cr2 = 0n;
  vcpu.cr3 = 0n;
  vcpu.cr4 = 0n;
  vcpu.cr8 = 0n;
  vcpu.efer = 0n;
  for (let i = 0; i < 4; i++) vcpu.dr.set(i, 0n);
  vcpu.dr.set(6, 0xffff0ff0n);
  vcpu.dr.set(7, 0x400n);
  vcpu.cpl = 0;
  vcpu.exVector = -1;
  vcpu.exDelivering = -1;
  vcpu.exHasError = 0;
  vcpu.interruptShadow = 0;
  vcpu.pendingInterrupt = -1;
}

/** Registers that reset sets and INIT leaves alone: FPU, XCR0 and model-specific ones. */
function setPowerOn(vcpu: VcpuState): void {
  vcpu.fcw = 0x37f;
  vcpu.fsw = 0;
  vcpu.ftw = 0xffff;
  vcpu.mxcsr = 0x1f80;
  vcpu.xcr0 = 1n;
  vcpu.pat = PAT_AT_RESET;
  vcpu.star = 0n;
  vcpu.lstar = 0n;
  vcpu.cstar = 0n;
  vcpu.fmask = 0n;
  vcpu.kernelGsBase = 0n;
  vcpu.sysenterCs = 0n;
  vcpu.sysenterEsp = 0n;
  vcpu.sysenterEip = 0n;
  vcpu.tscAux = 0n;
}

/** A PVH guest's first processor: 32-bit protected mode, paging off, flat segments, ebx = start info. */
export function setPvhEntryState(vcpu: VcpuState, entry: number, startInfo: number): void {
  setCommon(vcpu);
  setPowerOn(vcpu);
  vcpu.cr0 = CR0_PE | CR0_ET;
  vcpu.rip = BigInt(entry);
  vcpu.gpr.set(3, BigInt(startInfo));
  for (const index of [Seg.es, Seg.ss, Seg.ds]) setSegment(vcpu, index, 0, 0, 0xffffffff, DATA_FLAT_32);
  for (const index of [Seg.fs, Seg.gs]) setSegment(vcpu, index, 0, 0, 0, SEGMENT_UNUSABLE);
  setSegment(vcpu, Seg.cs, 0, 0, 0xffffffff, CODE_FLAT_32);
  setSegment(vcpu, Seg.ldtr, 0, 0, 0, SEGMENT_UNUSABLE);
  setSegment(vcpu, Seg.tr, 0, 0, 0x67, TSS_BUSY_32);
  vcpu.mode = Mode.code32 | Mode.noSse;
  vcpu.halted = 0;
}

/** A processor after power-on or, with `keep`, after INIT. It does nothing until a SIPI: `halted` is set. */
export function setResetState(vcpu: VcpuState, keep: 'nothing' | 'fpu and msrs' = 'nothing'): void {
  setCommon(vcpu);
  if (keep === 'nothing') setPowerOn(vcpu);
  vcpu.cr0 = CR0_ET | CR0_NW_CD;
  vcpu.rip = 0xfff0n;
  vcpu.idtLimit = 0xffff;
  vcpu.gdtLimit = 0xffff;
  for (const index of [Seg.es, Seg.ss, Seg.ds, Seg.fs, Seg.gs])
    setSegment(vcpu, index, 0, 0, 0xffff, DATA_REAL);
  setSegment(vcpu, Seg.cs, 0xf000, 0xffff0000, 0xffff, CODE_REAL);
  setSegment(vcpu, Seg.ldtr, 0, 0, 0xffff, LDT);
  setSegment(vcpu, Seg.tr, 0, 0, 0xffff, TSS_BUSY_32);
  vcpu.mode = Mode.code16 | Mode.real | Mode.noSse;
  vcpu.halted = 1;
}

/** Start a processor that waits after INIT at real-mode address `vector`:0000. */
export function setStartupState(vcpu: VcpuState, vector: number): void {
  setSegment(vcpu, Seg.cs, vector << 8, vector << 12, 0xffff, CODE_REAL);
  vcpu.rip = 0n;
  vcpu.halted = 0;
}
