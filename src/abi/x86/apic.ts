/** Local APIC register offsets and bit fields (SDM vol. 3, chapter 11). The x2APIC MSR of a register is 0x800 + offset / 16. */
export const ApicRegister = {
  id: 0x20,
  version: 0x30,
  tpr: 0x80,
  apr: 0x90,
  ppr: 0xa0,
  eoi: 0xb0,
  rrd: 0xc0,
  ldr: 0xd0,
  dfr: 0xe0,
  svr: 0xf0,
  isr: 0x100,
  tmr: 0x180,
  irr: 0x200,
  esr: 0x280,
  icrLow: 0x300,
  icrHigh: 0x310,
  lvtTimer: 0x320,
  lvtThermal: 0x330,
  lvtPerf: 0x340,
  lvtLint0: 0x350,
  lvtLint1: 0x360,
  lvtError: 0x370,
  timerInitial: 0x380,
  timerCurrent: 0x390,
  timerDivide: 0x3e0,
  selfIpi: 0x3f0,
} as const;

export const DeliveryMode = { fixed: 0, lowest: 1, smi: 2, nmi: 4, init: 5, startup: 6, extInt: 7 } as const;
export const Icr = {
  vectorMask: 0xff,
  deliveryShift: 8,
  logical: 1 << 11,
  level: 1 << 14,
  levelTriggered: 1 << 15,
  shorthandShift: 18,
} as const;
export const Shorthand = { none: 0, self: 1, all: 2, others: 3 } as const;
export const Svr = { enabled: 1 << 8 } as const;
export const Lvt = { masked: 1 << 16, timerModeShift: 17 } as const;
export const TimerMode = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;
export const EsrBit = {
  sendIllegalVector: 1 << 5,
  receiveIllegalVector: 1 << 6,
  illegalRegister: 1 << 7,
} as const;
/** Vectors below 16 cannot be delivered as interrupts. */
export const FIRST_LEGAL_VECTOR = 16;
