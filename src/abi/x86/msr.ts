/** Model-specific register numbers (SDM vol. 4; AMD APM vol. 2, appendix A; AMD's register references). */
export const Msr = {
  tsc: 0x10,
  apicBase: 0x1b,
  biosSignId: 0x8b,
  mtrrCap: 0xfe,
  mcgCap: 0x179,
  mcgStatus: 0x17a,
  mcgCtl: 0x17b,
  debugCtl: 0x1d9,
  mtrrPhysBase0: 0x200,
  mtrrPhysMask7: 0x20f,
  mtrrFix64k00000: 0x250,
  mtrrFix16k80000: 0x258,
  mtrrFix16kA0000: 0x259,
  mtrrFix4kC0000: 0x268,
  mtrrFix4kF8000: 0x26f,
  mtrrDefType: 0x2ff,
  mc0Ctl: 0x400,
  tscDeadline: 0x6e0,
  x2apicFirst: 0x800,
  x2apicLast: 0x83f,
  xenHypercallPage: 0x40000000,
  /** AMD. */
  syscfg: 0xc0010010,
  hwcr: 0xc0010015,
  topMem2: 0xc001001d,
  nbCfg: 0xc001001f,
  deCfg: 0xc0011029,
} as const;

export const ApicBase = { bsp: 1 << 8, x2apic: 1 << 10, enable: 1 << 11 } as const;
