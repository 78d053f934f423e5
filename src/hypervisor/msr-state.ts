/** Model-specific registers with a memory, one structure for each vCPU, in machine memory. */
import { array, struct, u64 } from '../base/struct.ts';

/** Machine check banks of a guest; as many as Xen gives. */
export const MCE_BANKS = 2;

export const MsrState = struct('msr_state', {
  mtrrDefType: u64,
  /** 64K_00000, 16K_80000, 16K_A0000, then the eight of 4K. */
  mtrrFixed: array(u64, 11),
  /** Base and mask in turn. */
  mtrrVariable: array(u64, 16),
  mcgStatus: u64,
  /** CTL, STATUS, ADDR, MISC of each bank. */
  mceBanks: array(u64, MCE_BANKS * 4),
  debugCtl: u64,
});
export const MSR_STATE_BYTES = Math.ceil(MsrState.size / 64) * 64;
