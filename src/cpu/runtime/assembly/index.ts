/**
 * Everything that the runtime module exports; signatures.ts is the same list with types.
 * The floating-point part has its own list, signatures-float.ts.
 */

export { letOthersGoOn, stopOthers } from './alone';
export { checkCrossing, codeBehind } from './code/crossing';
export { discardCode, invalidateCode, markCode } from './code/invalidate';
export { fetchAddress, lookup } from './code/lookup';
export { openRegion } from './code/open-region';
export { dropRegion } from './code/regions';
export { makeRoom } from './code/room';
export {
  clts,
  invlpg,
  invpcid,
  lgdt,
  lidt,
  lmsw,
  readDr,
  writeCr0,
  writeCr3,
  writeCr4,
  writeCr8,
  writeDr,
  xsetbv,
} from './control';
export { divideSigned128, divideUnsigned128 } from './divide';
export { deliver, interrupt, raiseSimd, singleStep } from './exceptions';
export { farCall, farJump, farReturn, iret } from './far';
export { getFlags, setFlags, setSystemFlags } from './flags';
export * from './float/index';
export {
  addStackLegacy,
  checkCode,
  checkElement,
  enterFrame,
  leaveLegacy,
  legacyAddress,
  peekLegacy,
  popAll,
  pushAll,
  pushLegacy,
} from './legacy';
export { checkRead, checkWrite, commit, modifySlow, readSlow, translate, writeSlow } from './mmu/access';
export { freezeEntries, frozenOthers } from './mmu/freeze';
export { flushDomain, flushFrame, selectTlb, tlbFlushAll, tlbFlushNonGlobal, tlbInvalidate } from './mmu/tlb';
export { setCpl, updateMode } from './mode';
export { rdmsr, wrmsr } from './msr';
export {
  checkFsgsbase,
  checkPort,
  checkTsc,
  checkVm86Iopl,
  isControlRegister,
  openInterruptWindow,
  popFlags,
  readControl,
  setAlignmentCheck,
  writeControl,
  xgetbv,
} from './privilege';
export { resetCpu, sipi } from './reset';
export { lar, lldt, loadSegment, lsl, ltr, verr, verw } from './segments';
export { repCmps, repMovs, repScas, repStos } from './strings';
export { syscall, sysenter, sysexit, sysret } from './syscall';
export {
  aesdec,
  aesdeclast,
  aesenc,
  aesenclast,
  aesimc,
  aeskeygenassist,
} from './vector-aes';
export {
  carrylessMultiply,
  checksum,
  sumDifferenceWindows,
} from './vector-misc';
export {
  compareExplicit,
  compareImplicit,
  maskToIndex,
  maskToVector,
} from './vector-strings';
export { fxrstor, fxsave, xrstor, xsave, xsavec, xsaveopt } from './xsave';
