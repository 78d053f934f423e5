/**
 * Model-specific registers beyond the CPU core's own (EFER, STAR, segment bases, SYSENTER, PAT, TSC_AUX, MISC_ENABLE).
 *
 * What a guest processor of this kind must have is here; all else raises #GP, which Linux probes for. Registers that only
 * steer silicon read as a fixed value and take writes without effect.
 * Sources: SDM vol. 3 (MTRRs 12.11, machine check 16.3) and vol. 4; AMD APM vol. 2, chapters 7, 9, appendix A.
 */

import { Msr } from '../abi/x86/msr.ts';
import { type Gfn, gfn } from '../base/brand.ts';
import type { MachineMemory } from '../machine/memory.ts';
import type { Lapics } from './apic.ts';
import { hypercallPage } from './hypercall-page.ts';
import { MCE_BANKS, MSR_STATE_BYTES, MsrState } from './msr-state.ts';

export interface MsrEnvironment {
  readonly lapics: Lapics;
  tsc(vcpuId: number): bigint;
  setTsc(vcpuId: number, value: bigint): void;
  /** Overwrite a whole page of the guest; false when there is no RAM at that frame. */
  writeGuestPage(frame: Gfn, page: Uint8Array): boolean;
}

export interface Msrs {
  /** Power-on values; for a new domain. */
  initialise(): void;
  /** `undefined` means #GP. */
  readMsr(vcpuId: number, index: number): bigint | undefined;
  /** `false` means #GP. */
  writeMsr(vcpuId: number, index: number, value: bigint): boolean;
}

/** Eight variable ranges, fixed ranges, write-combining. */
const MTRR_CAP = 0x508n;
const MTRR_WRITE_BACK = 6n;
const MTRR_DEF_TYPE_BITS = 0xcffn;
const MTRR_ENABLE = 1n << 11n;
/** Frame numbers of 40-bit physical addresses. */
const FRAMES = 1n << 28n;
const MTRR_VALID = 1n << 11n;
/** Address bits 12..39 of a range's base and mask. */
const MTRR_ADDRESS = 0xff_ffff_f000n;
const FIXED = [Msr.mtrrFix64k00000, Msr.mtrrFix16k80000, Msr.mtrrFix16kA0000] as const;

/** A patch level of that family, model and stepping after the last known erratum that asks for one. */
const PATCH_LEVEL = 0x0a1011ffn;
/** TSC counts at the P0 frequency; SMM is locked. */
const HWCR = (1n << 24n) | 1n;
/** LFENCE is serializing. */
const DE_CFG = 1n << 1n;
/** Extended PCI configuration space by ports is enabled: Linux then does not want to write here. */
const NB_CFG = 1n << 46n;
const DEBUG_CTL_BITS = 3n;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;
const MCG_STATUS_BITS = 7n;

const isMemoryType = (type: bigint) => type < 7n && type !== 2n && type !== 3n;

/** Each of the eight bytes of a fixed-range register is a memory type. */
function areMemoryTypes(value: bigint): boolean {
  for (let shift = 0n; shift < 64n; shift += 8n) if (!isMemoryType((value >> shift) & 0xffn)) return false;
  return true;
}

function fixedIndex(index: number): number {
  const single = FIXED.indexOf(index as (typeof FIXED)[number]);
  if (single >= 0) return single;
  return index >= Msr.mtrrFix4kC0000 && index <= Msr.mtrrFix4kF8000 ? index - Msr.mtrrFix4kC0000 + 3 : -1;
}

const isVariable = (index: number) => index >= Msr.mtrrPhysBase0 && index <= Msr.mtrrPhysMask7;
const isBank = (index: number) => index >= Msr.mc0Ctl && index < Msr.mc0Ctl + MCE_BANKS * 4;
const isLapic = (index: number) =>
  index === Msr.apicBase ||
  index === Msr.tscDeadline ||
  (index >= Msr.x2apicFirst && index <= Msr.x2apicLast);

/** @param base machine address of the states, `vcpus * MSR_STATE_BYTES` bytes, aligned to 8 */
export function createMsrs(
  memory: MachineMemory,
  base: number,
  vcpus: number,
  environment: MsrEnvironment,
): Msrs {
  const states = Array.from({ length: vcpus }, (_, i) =>
    MsrState.at(memory.view, base + i * MSR_STATE_BYTES),
  );
  const { lapics } = environment;

  function writeVariable(vcpuId: number, index: number, value: bigint): boolean {
    const isMask = (index & 1) === 1;
    const legal = MTRR_ADDRESS | (isMask ? MTRR_VALID : 0xffn);
    if ((value & ~legal) !== 0n || (!isMask && !isMemoryType(value & 0xffn))) return false;
    states[vcpuId]!.mtrrVariable.set(index - Msr.mtrrPhysBase0, value);
    return true;
  }

  function writeBank(vcpuId: number, index: number, value: bigint): boolean {
    const banks = states[vcpuId]!.mceBanks;
    const slot = index - Msr.mc0Ctl;
    const isCtl = (slot & 3) === 0;
    // Only the control register takes any value; the others are cleared by writing zero.
    if (!isCtl && value !== 0n) return false;
    banks.set(slot, value);
    return true;
  }

  function writeHypercallPage(value: bigint): boolean {
    const page = Number(value & 0xfffn);
    const frame = value >> 12n;
    if (page !== 0 || frame >= FRAMES) return false;
    return environment.writeGuestPage(gfn(Number(frame)), hypercallPage());
  }

  return {
    initialise() {
      for (const state of states) {
        state.mtrrDefType = MTRR_ENABLE | MTRR_WRITE_BACK;
        for (let i = 0; i < 11; i++) state.mtrrFixed.set(i, 0x0606_0606_0606_0606n);
        for (let i = 0; i < 16; i++) state.mtrrVariable.set(i, 0n);
        state.mcgStatus = 0n;
        for (let i = 0; i < MCE_BANKS * 4; i++) state.mceBanks.set(i, i % 4 === 0 ? ALL_ONES : 0n);
        state.debugCtl = 0n;
      }
    },

    readMsr(vcpuId, index) {
      if (isLapic(index)) return lapics.readMsr(vcpuId, index);
      const state = states[vcpuId]!;
      if (isVariable(index)) return state.mtrrVariable.get(index - Msr.mtrrPhysBase0);
      if (isBank(index)) return state.mceBanks.get(index - Msr.mc0Ctl);
      const fixed = fixedIndex(index);
      if (fixed >= 0) return state.mtrrFixed.get(fixed);
      switch (index) {
        case Msr.tsc:
          return environment.tsc(vcpuId);
        case Msr.biosSignId:
          return PATCH_LEVEL;
        case Msr.mtrrCap:
          return MTRR_CAP;
        case Msr.mtrrDefType:
          return state.mtrrDefType;
        case Msr.mcgCap:
          return BigInt(MCE_BANKS);
        case Msr.mcgStatus:
          return state.mcgStatus;
        case Msr.debugCtl:
          return state.debugCtl;
        case Msr.xenHypercallPage:
        case Msr.syscfg:
        case Msr.topMem2:
          return 0n;
        case Msr.hwcr:
          return HWCR;
        case Msr.nbCfg:
          return NB_CFG;
        case Msr.deCfg:
          return DE_CFG;
        default:
          return undefined;
      }
    },

    writeMsr(vcpuId, index, value) {
      if (isLapic(index)) return lapics.writeMsr(vcpuId, index, value);
      const state = states[vcpuId]!;
      if (isVariable(index)) return writeVariable(vcpuId, index, value);
      if (isBank(index)) return writeBank(vcpuId, index, value);
      const fixed = fixedIndex(index);
      if (fixed >= 0) {
        if (!areMemoryTypes(value)) return false;
        state.mtrrFixed.set(fixed, value);
        return true;
      }
      switch (index) {
        case Msr.tsc:
          environment.setTsc(vcpuId, value);
          return true;
        case Msr.mtrrDefType:
          if ((value & ~MTRR_DEF_TYPE_BITS) !== 0n || !isMemoryType(value & 0xffn)) return false;
          state.mtrrDefType = value;
          return true;
        case Msr.mcgStatus:
          if ((value & ~MCG_STATUS_BITS) !== 0n) return false;
          state.mcgStatus = value;
          return true;
        case Msr.debugCtl:
          if ((value & ~DEBUG_CTL_BITS) !== 0n) return false;
          state.debugCtl = value;
          return true;
        case Msr.xenHypercallPage:
          return writeHypercallPage(value);
        case Msr.syscfg:
        case Msr.hwcr:
        case Msr.nbCfg:
        case Msr.deCfg:
          return true;
        default:
          return false;
      }
    },
  };
}
