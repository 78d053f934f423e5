/**
 * The state in which a PVH guest's first processor starts: 32-bit protected mode, paging off, flat segments,
 * ebx = start info.
 *
 * It is laid over a processor fresh from reset (the runtime's `resetCpu`), and only says what differs. Afterwards
 * whatever the engine derives from these registers must be derived anew (the runtime's `selectTlb` and `updateMode`).
 * Source: Xen, docs/misc/pvh.pandoc, "x86 boot ABI".
 */
import { Mode } from '../../cpu/decode/mode.ts';
import { SEGMENT_UNUSABLE, Seg, type Vcpu } from '../../cpu/vcpu/layout.ts';

type VcpuState = ReturnType<typeof Vcpu.at>;

const RBX = 3;
const CR0_PE = 1n << 0n;
/** Reads as one on every processor that has an FPU of its own. */
const CR0_ET = 1n << 4n;

/** Segment attributes in the form of `Segment.attributes`. */
const CODE_FLAT_32 = 0xc09b;
const DATA_FLAT_32 = 0xc093;
const TSS_BUSY_32 = 0x008b;
const TSS_LIMIT = 0x67;

function setSegment(vcpu: VcpuState, index: number, limit: number, attributes: number): void {
  const segment = vcpu.segment.get(index);
  segment.selector = 0;
  segment.limit = limit;
  segment.attributes = attributes;
  vcpu.segBase.set(index, 0n);
}

export function setPvhEntryState(vcpu: VcpuState, entry: number, startInfo: number): void {
  for (let i = 0; i < 16; i++) vcpu.gpr.set(i, 0n);
  vcpu.gpr.set(RBX, BigInt(startInfo));
  vcpu.rip = BigInt(entry);
  // No flag set: the result is neither zero nor negative and has odd parity.
  vcpu.flagRes = 1n;
  vcpu.flagAux = 0;
  vcpu.flagSys = 2;
  vcpu.cr0 = CR0_PE | CR0_ET;
  vcpu.cr4 = 0n;
  vcpu.efer = 0n;
  vcpu.cpl = 0;
  for (const index of [Seg.es, Seg.ss, Seg.ds]) setSegment(vcpu, index, 0xffffffff, DATA_FLAT_32);
  for (const index of [Seg.fs, Seg.gs, Seg.ldtr]) setSegment(vcpu, index, 0, SEGMENT_UNUSABLE);
  setSegment(vcpu, Seg.cs, 0xffffffff, CODE_FLAT_32);
  setSegment(vcpu, Seg.tr, TSS_LIMIT, TSS_BUSY_32);
  vcpu.fcw = 0x37f;
  vcpu.fsw = 0;
  vcpu.ftw = 0xffff;
  vcpu.mode = Mode.code32 | Mode.noSse;
  vcpu.halted = 0;
}
