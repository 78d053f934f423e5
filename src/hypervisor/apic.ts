/**
 * Local APICs of a domain: xAPIC through its page at 0xfee00000, x2APIC through MSRs.
 *
 * All state is in machine memory (apic-state.ts); what `createLapics` returns is only a handle, made anew wherever a domain is
 * run. Invariant: `Vcpu.pendingInterrupt` is the vector that could be delivered now (the highest in IRR above the processor
 * priority), or -1; every function here keeps it so, and `update` does after CR8 was written elsewhere.
 *
 * The CPU engine says that it has delivered that interrupt by setting the field to -1, or by calling `accept`. In the first
 * case the vector goes into service when this APIC is next looked at, which is before anybody can tell the difference.
 *
 * Source: SDM vol. 3, chapter 11. The version register and the timer's 100 MHz bus clock are Xen's.
 */
import {
  ApicRegister,
  DeliveryMode,
  EsrBit,
  FIRST_LEGAL_VECTOR,
  Icr,
  Lvt,
  Shorthand,
  Svr,
  TimerMode,
} from '../abi/x86/apic.ts';
import { ApicBase, Msr } from '../abi/x86/msr.ts';
import { Vcpu } from '../cpu/vcpu/layout.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { clearVector, highestVector, LAPIC_STATE_BYTES, LapicState, setVector } from './apic-state.ts';
import { apicIdOf, LOCAL_APIC_BASE } from './builder/layout.ts';

/** What the APICs need from the domain they belong to. */
export interface LapicEnvironment {
  /** Domain time in nanoseconds. */
  nowNs(): number;
  /** The vCPU's time stamp counter, and when (in domain time) it will reach a value. */
  tsc(vcpuId: number): bigint;
  nsAtTsc(vcpuId: number, tsc: bigint): number;
  /** Call `timerFired(vcpuId)` at that time; one timer for each vCPU, -1 stops it. */
  setTimer(vcpuId: number, atNs: number): void;
  /** INIT: stop the vCPU; it stays off until `startVcpu`. */
  initVcpu(vcpuId: number): void;
  /** SIPI: reset the vCPU, which waits after INIT, and start it in real mode at address vector * 4096. */
  startVcpu(vcpuId: number, vector: number): void;
  nmi(vcpuId: number): void;
  /** The guest has switched the APIC on: what was raised before an INIT has been forgotten, and may have to be raised again. */
  enabled(vcpuId: number): void;
  /** `pendingInterrupt` of this vCPU has become set: it must not stay asleep. */
  wake(vcpuId: number): void;
}

export interface Lapics {
  /** Put all APICs into their power-on state; for a new domain. vCPU 0 runs, the others wait for INIT and SIPI. */
  initialise(): void;
  mmioRead(vcpuId: number, offset: number, size: number): number;
  mmioWrite(vcpuId: number, offset: number, size: number, value: number): void;
  /** x2APIC registers, IA32_APIC_BASE and IA32_TSC_DEADLINE. `undefined` and `false` mean #GP. */
  readMsr(vcpuId: number, index: number): bigint | undefined;
  writeMsr(vcpuId: number, index: number, value: bigint): boolean;
  /** Make an interrupt pending, as Xen's upcall does: also while the APIC is disabled by software. */
  raise(vcpuId: number, vector: number): void;
  /** The vector that could be delivered now, or -1. */
  highestPending(vcpuId: number): number;
  /** Take that vector into service; -1 when there is none. For an engine that asks at the moment of delivery. */
  accept(vcpuId: number): number;
  eoi(vcpuId: number): void;
  /** Recompute `pendingInterrupt`; after CR8 was written. */
  update(vcpuId: number): void;
  timerFired(vcpuId: number): void;
  /** Ask the environment for the timers that the state in memory implies; after restore. */
  rearmTimers(): void;
}

/** Version 0x14 with LVT entries 0..5. */
const VERSION = 0x00050014;
const BUS_CYCLE_NS = 10;
/** A periodic timer never fires more often than this, whatever the guest asks for. */
const PERIOD_MIN_NS = 50_000;
const LVT_WRITABLE = [0x700ff, 0x107ff, 0x107ff, 0x1f7ff, 0x1f7ff, 0x100ff] as const;
const X2APIC_BROADCAST = 0xffffffff;
const XAPIC_BROADCAST = 0xff;

const at = (field: keyof typeof LapicState.offsets) => LapicState.offsets[field] >>> 2;
const ID = at('id');
const WAIT_FOR_SIPI = at('waitForSipi');
const TPR_LOW = at('tprLow');
const LDR = at('ldr');
const DFR = at('dfr');
const SVR = at('svr');
const ESR = at('esr');
const ESR_PENDING = at('esrPending');
const ICR_LOW = at('icrLow');
const ICR_HIGH = at('icrHigh');
const LVT = at('lvt');
const TIMER_INITIAL = at('timerInitial');
const TIMER_DIVIDE = at('timerDivide');
const TIMER_RUNNING = at('timerRunning');
const PUBLISHED = at('published');
const IRR = at('irr');
const ISR = at('isr');
const TMR = at('tmr');
const LVT_TIMER = 0;
const LVT_ERROR = 5;

/**
 * @param base machine address of the states, `vcpuBlocks.length * LAPIC_STATE_BYTES` bytes, aligned to 8
 * @param vcpuBlocks machine addresses of the vCPU blocks, by vCPU id
 */
export function createLapics(
  memory: MachineMemory,
  base: number,
  vcpuBlocks: readonly number[],
  environment: LapicEnvironment,
): Lapics {
  const words = memory.u32;
  const count = vcpuBlocks.length;
  const stateOf = (vcpuId: number) => (base + vcpuId * LAPIC_STATE_BYTES) >>> 2;
  const fields = Array.from({ length: count }, (_, i) =>
    LapicState.at(memory.view, base + i * LAPIC_STATE_BYTES),
  );
  const cr8Word = (vcpuId: number) => (vcpuBlocks[vcpuId]! + Vcpu.offsets.cr8) >>> 2;
  const apicBaseWord = (vcpuId: number) => (vcpuBlocks[vcpuId]! + Vcpu.offsets.apicBase) >>> 2;
  const inX2apicMode = (vcpuId: number) => (words[apicBaseWord(vcpuId)]! & ApicBase.x2apic) !== 0;
  const enabledByMsr = (vcpuId: number) => (words[apicBaseWord(vcpuId)]! & ApicBase.enable) !== 0;
  const enabled = (vcpuId: number) =>
    enabledByMsr(vcpuId) && (words[stateOf(vcpuId) + SVR]! & Svr.enabled) !== 0;

  const taskPriority = (vcpuId: number) =>
    ((words[cr8Word(vcpuId)]! & 15) << 4) | words[stateOf(vcpuId) + TPR_LOW]!;

  function processorPriority(vcpuId: number): number {
    const tpr = taskPriority(vcpuId);
    const inService = highestVector(words, stateOf(vcpuId) + ISR);
    return inService >>> 4 > tpr >>> 4 && inService >= 0 ? inService & 0xf0 : tpr;
  }

  function highestPending(vcpuId: number): number {
    if (!enabled(vcpuId)) return -1;
    const vector = highestVector(words, stateOf(vcpuId) + IRR);
    return vector >= 0 && vector >>> 4 > processorPriority(vcpuId) >>> 4 ? vector : -1;
  }

  const pendingWord = (vcpuId: number) => (vcpuBlocks[vcpuId]! + Vcpu.offsets.pendingInterrupt) >>> 2;

  /** Take note of a delivery by the engine. */
  function sync(vcpuId: number): void {
    const state = stateOf(vcpuId);
    const vector = memory.i32[state + PUBLISHED]!;
    if (vector < 0 || memory.i32[pendingWord(vcpuId)]! >= 0) return;
    memory.i32[state + PUBLISHED] = -1;
    clearVector(words, state + IRR, vector);
    setVector(words, state + ISR, vector);
  }

  function update(vcpuId: number): void {
    sync(vcpuId);
    const vector = highestPending(vcpuId);
    memory.i32[stateOf(vcpuId) + PUBLISHED] = vector;
    memory.i32[pendingWord(vcpuId)] = vector;
    if (vector >= 0) environment.wake(vcpuId);
  }

  function raise(vcpuId: number, vector: number): void {
    if (vector < FIRST_LEGAL_VECTOR) {
      error(vcpuId, EsrBit.receiveIllegalVector);
      return;
    }
    const state = stateOf(vcpuId);
    sync(vcpuId);
    setVector(words, state + IRR, vector);
    clearVector(words, state + TMR, vector);
    update(vcpuId);
  }

  function error(vcpuId: number, bit: number): void {
    const state = stateOf(vcpuId);
    const known = words[state + ESR_PENDING]!;
    words[state + ESR_PENDING] = known | bit;
    const lvt = words[state + LVT + LVT_ERROR]!;
    // A bad vector in this entry must not report itself for ever.
    if (!(known & bit) && !(lvt & Lvt.masked) && (lvt & 0xff) >= FIRST_LEGAL_VECTOR)
      raise(vcpuId, lvt & 0xff);
  }

  function accept(vcpuId: number): number {
    sync(vcpuId);
    const vector = highestPending(vcpuId);
    if (vector >= 0) {
      const state = stateOf(vcpuId);
      memory.i32[state + PUBLISHED] = -1;
      clearVector(words, state + IRR, vector);
      setVector(words, state + ISR, vector);
    }
    update(vcpuId);
    return vector;
  }

  function eoi(vcpuId: number): void {
    const state = stateOf(vcpuId);
    sync(vcpuId);
    const vector = highestVector(words, state + ISR);
    if (vector < 0) return;
    clearVector(words, state + ISR, vector);
    update(vcpuId);
  }

  /** Registers as after INIT; the id and IA32_APIC_BASE stay. */
  function resetRegisters(vcpuId: number): void {
    const state = stateOf(vcpuId);
    const id = words[state + ID]!;
    words.fill(0, state, state + (LapicState.size >>> 2));
    words[state + ID] = id;
    memory.i32[state + PUBLISHED] = -1;
    words[state + DFR] = 0xffffffff;
    words[state + SVR] = 0xff;
    for (let i = 0; i < 6; i++) words[state + LVT + i] = Lvt.masked;
    if (inX2apicMode(vcpuId)) words[state + LDR] = x2apicLogicalId(id);
    words[cr8Word(vcpuId)] = 0;
    environment.setTimer(vcpuId, -1);
    update(vcpuId);
  }

  // --- interprocessor interrupts

  function isAddressed(vcpuId: number, destination: number, logical: boolean, wide: boolean): boolean {
    if (destination === (wide ? X2APIC_BROADCAST : XAPIC_BROADCAST)) return true;
    const state = stateOf(vcpuId);
    if (!logical) return words[state + ID] === destination;
    const ldr = words[state + LDR]!;
    if (inX2apicMode(vcpuId)) return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
    const own = ldr >>> 24;
    const flat = words[state + DFR]! >>> 28 === 0xf;
    return flat
      ? (own & destination & 0xff) !== 0
      : own >>> 4 === (destination & 0xff) >>> 4 && (own & destination & 15) !== 0;
  }

  function sendIpi(sender: number, low: number, destination: number): void {
    const shorthand = (low >>> Icr.shorthandShift) & 3;
    const delivery = (low >>> Icr.deliveryShift) & 7;
    const vector = low & Icr.vectorMask;
    const ordinary = delivery === DeliveryMode.fixed || delivery === DeliveryMode.lowest;
    if (ordinary && vector < FIRST_LEGAL_VECTOR) {
      error(sender, EsrBit.sendIllegalVector);
      return;
    }
    // "INIT level de-assert" only exists for processors long gone.
    if (delivery === DeliveryMode.init && low & Icr.levelTriggered && !(low & Icr.level)) return;
    const wide = inX2apicMode(sender);
    const logical = (low & Icr.logical) !== 0;
    for (let target = 0; target < count; target++) {
      if (shorthand === Shorthand.self && target !== sender) continue;
      if (shorthand === Shorthand.others && target === sender) continue;
      if (shorthand === Shorthand.none && !isAddressed(target, destination, logical, wide)) continue;
      deliver(target, delivery, vector);
      if (delivery === DeliveryMode.lowest) return;
    }
  }

  function deliver(target: number, delivery: number, vector: number): void {
    const state = stateOf(target);
    switch (delivery) {
      case DeliveryMode.fixed:
      case DeliveryMode.lowest:
        if (enabled(target)) raise(target, vector);
        return;
      case DeliveryMode.nmi:
        if (words[state + WAIT_FOR_SIPI] === 0) environment.nmi(target);
        return;
      case DeliveryMode.init:
        // A processor that waits after reset is not reset again: as on Xen, an upcall made pending before it starts stays.
        if (words[state + WAIT_FOR_SIPI] !== 0) return;
        resetRegisters(target);
        words[state + WAIT_FOR_SIPI] = 1;
        environment.initVcpu(target);
        return;
      case DeliveryMode.startup:
        if (words[state + WAIT_FOR_SIPI] === 0) return;
        words[state + WAIT_FOR_SIPI] = 0;
        environment.startVcpu(target, vector);
        return;
    }
  }

  // --- timer

  const timerMode = (vcpuId: number) =>
    (words[stateOf(vcpuId) + LVT + LVT_TIMER]! >>> Lvt.timerModeShift) & 3;

  function cycleNs(vcpuId: number): number {
    const divide = words[stateOf(vcpuId) + TIMER_DIVIDE]!;
    const code = (divide & 3) | ((divide >>> 1) & 4);
    return BUS_CYCLE_NS * (code === 7 ? 1 : 2 << code);
  }

  const periodNs = (vcpuId: number) =>
    Math.max(
      words[stateOf(vcpuId) + TIMER_INITIAL]! * cycleNs(vcpuId),
      timerMode(vcpuId) === TimerMode.periodic ? PERIOD_MIN_NS : 0,
    );

  /** Domain time at which the timer is due, or -1. */
  function timerDueNs(vcpuId: number): number {
    if (timerMode(vcpuId) === TimerMode.tscDeadline) {
      const deadline = fields[vcpuId]!.tscDeadline;
      if (deadline === 0n) return -1;
      return deadline <= environment.tsc(vcpuId)
        ? environment.nowNs()
        : environment.nsAtTsc(vcpuId, deadline);
    }
    if (words[stateOf(vcpuId) + TIMER_RUNNING] === 0) return -1;
    return fields[vcpuId]!.timerStartNs + periodNs(vcpuId);
  }

  function timerFired(vcpuId: number): void {
    const state = stateOf(vcpuId);
    const due = timerDueNs(vcpuId);
    if (due < 0) return;
    const now = environment.nowNs();
    if (due > now) {
      environment.setTimer(vcpuId, due);
      return;
    }
    const mode = timerMode(vcpuId);
    if (mode === TimerMode.tscDeadline) fields[vcpuId]!.tscDeadline = 0n;
    else if (mode === TimerMode.periodic) {
      // Ticks that were missed are lost, the phase is not.
      const period = periodNs(vcpuId);
      fields[vcpuId]!.timerStartNs = due + Math.floor((now - due) / period) * period;
      environment.setTimer(vcpuId, timerDueNs(vcpuId));
    } else words[state + TIMER_RUNNING] = 0;
    const lvt = words[state + LVT + LVT_TIMER]!;
    if (!(lvt & Lvt.masked)) raise(vcpuId, lvt & 0xff);
  }

  function armTimer(vcpuId: number): void {
    const due = timerDueNs(vcpuId);
    if (due >= 0 && due <= environment.nowNs()) timerFired(vcpuId);
    else environment.setTimer(vcpuId, due);
  }

  function startCount(vcpuId: number, initial: number): void {
    const state = stateOf(vcpuId);
    // In deadline mode the count registers do nothing.
    if (timerMode(vcpuId) === TimerMode.tscDeadline) return;
    words[state + TIMER_INITIAL] = initial;
    words[state + TIMER_RUNNING] = initial === 0 ? 0 : 1;
    fields[vcpuId]!.timerStartNs = environment.nowNs();
    armTimer(vcpuId);
  }

  function currentCount(vcpuId: number): number {
    const state = stateOf(vcpuId);
    if (words[state + TIMER_RUNNING] === 0 || timerMode(vcpuId) === TimerMode.tscDeadline) return 0;
    const initial = words[state + TIMER_INITIAL]!;
    const elapsed = Math.floor((environment.nowNs() - fields[vcpuId]!.timerStartNs) / cycleNs(vcpuId));
    if (timerMode(vcpuId) === TimerMode.periodic) return initial - (elapsed % initial);
    return Math.max(0, initial - elapsed);
  }

  function writeLvt(vcpuId: number, index: number, value: number): void {
    const state = stateOf(vcpuId);
    const old = words[state + LVT + index]!;
    const forced = words[state + SVR]! & Svr.enabled ? 0 : Lvt.masked;
    words[state + LVT + index] = (value & LVT_WRITABLE[index]!) | forced;
    if (index !== LVT_TIMER || ((old ^ value) >>> Lvt.timerModeShift) % 4 === 0) return;
    // Another mode disarms the timer, except that one-shot and periodic share the count.
    if (timerMode(vcpuId) === TimerMode.tscDeadline) words[state + TIMER_RUNNING] = 0;
    else fields[vcpuId]!.tscDeadline = 0n;
    armTimer(vcpuId);
  }

  // --- registers

  function readRegister(vcpuId: number, register: number): number {
    const state = stateOf(vcpuId);
    sync(vcpuId);
    if (register >= ApicRegister.isr && register < ApicRegister.esr) {
      const group = register < ApicRegister.tmr ? ISR : register < ApicRegister.irr ? TMR : IRR;
      return words[state + group + ((register >>> 4) & 7)]!;
    }
    if (register >= ApicRegister.lvtTimer && register <= ApicRegister.lvtError) {
      return words[state + LVT + ((register - ApicRegister.lvtTimer) >>> 4)]!;
    }
    switch (register) {
      case ApicRegister.id:
        return inX2apicMode(vcpuId) ? words[state + ID]! : (words[state + ID]! << 24) >>> 0;
      case ApicRegister.version:
        return VERSION;
      case ApicRegister.tpr:
        return taskPriority(vcpuId);
      case ApicRegister.ppr:
        return processorPriority(vcpuId);
      case ApicRegister.apr:
      case ApicRegister.rrd:
      case ApicRegister.eoi:
        return 0;
      case ApicRegister.ldr:
        return words[state + LDR]!;
      case ApicRegister.dfr:
        return words[state + DFR]!;
      case ApicRegister.svr:
        return words[state + SVR]!;
      case ApicRegister.esr:
        return words[state + ESR]!;
      case ApicRegister.icrLow:
        return words[state + ICR_LOW]!;
      case ApicRegister.icrHigh:
        return words[state + ICR_HIGH]!;
      case ApicRegister.timerInitial:
        return words[state + TIMER_INITIAL]!;
      case ApicRegister.timerCurrent:
        return currentCount(vcpuId);
      case ApicRegister.timerDivide:
        return words[state + TIMER_DIVIDE]!;
      default:
        error(vcpuId, EsrBit.illegalRegister);
        return 0;
    }
  }

  function writeRegister(vcpuId: number, register: number, value: number): void {
    const state = stateOf(vcpuId);
    sync(vcpuId);
    if (register >= ApicRegister.lvtTimer && register <= ApicRegister.lvtError) {
      writeLvt(vcpuId, (register - ApicRegister.lvtTimer) >>> 4, value);
      return;
    }
    switch (register) {
      case ApicRegister.tpr:
        words[cr8Word(vcpuId)] = (value >>> 4) & 15;
        words[state + TPR_LOW] = value & 15;
        update(vcpuId);
        return;
      case ApicRegister.eoi:
        eoi(vcpuId);
        return;
      case ApicRegister.ldr:
        words[state + LDR] = value & 0xff000000;
        return;
      case ApicRegister.dfr:
        words[state + DFR] = value | 0x0fffffff;
        return;
      case ApicRegister.svr:
        words[state + SVR] = value & 0x1ff;
        if (value & Svr.enabled) environment.enabled(vcpuId);
        else for (let i = 0; i < 6; i++) words[state + LVT + i]! |= Lvt.masked;
        update(vcpuId);
        return;
      case ApicRegister.esr:
        words[state + ESR] = words[state + ESR_PENDING]!;
        words[state + ESR_PENDING] = 0;
        return;
      case ApicRegister.icrLow: {
        // The delivery status never shows busy.
        words[state + ICR_LOW] = value & 0x000ccfff;
        const high = words[state + ICR_HIGH]!;
        sendIpi(vcpuId, value, inX2apicMode(vcpuId) ? high : high >>> 24);
        return;
      }
      case ApicRegister.icrHigh:
        words[state + ICR_HIGH] = value & 0xff000000;
        return;
      case ApicRegister.timerInitial:
        startCount(vcpuId, value);
        return;
      case ApicRegister.timerDivide:
        words[state + TIMER_DIVIDE] = value & 0xb;
        if (words[state + TIMER_RUNNING] !== 0) armTimer(vcpuId);
        return;
      case ApicRegister.id:
        // The id is fixed; writes are ignored, as on processors since the Pentium 4.
        return;
      default:
        error(vcpuId, EsrBit.illegalRegister);
        return;
    }
  }

  function readX2apic(vcpuId: number, register: number): bigint | undefined {
    if (!isX2apicReadable(register)) return undefined;
    if (register !== ApicRegister.icrLow) return BigInt(readRegister(vcpuId, register));
    const state = stateOf(vcpuId);
    return (BigInt(words[state + ICR_HIGH]!) << 32n) | BigInt(words[state + ICR_LOW]!);
  }

  function writeX2apic(vcpuId: number, register: number, value: bigint): boolean {
    const low = Number(value & 0xffffffffn);
    const high = Number(value >> 32n);
    if (register === ApicRegister.icrLow) {
      words[stateOf(vcpuId) + ICR_HIGH] = high;
      writeRegister(vcpuId, register, low);
      return true;
    }
    if (high !== 0 || !isX2apicWritable(register)) return false;
    const zeroOnly = register === ApicRegister.eoi || register === ApicRegister.esr;
    if (zeroOnly && low !== 0) return false;
    if (register === ApicRegister.tpr && low > 0xff) return false;
    if (register === ApicRegister.selfIpi) {
      if (low > 0xff) return false;
      sendIpi(vcpuId, (Shorthand.self << Icr.shorthandShift) | low, 0);
    } else writeRegister(vcpuId, register, low);
    return true;
  }

  function writeApicBase(vcpuId: number, value: bigint): boolean {
    const word = apicBaseWord(vcpuId);
    const old = words[word]!;
    const next = Number(value & 0xffffffffn);
    const legal = ApicBase.bsp | ApicBase.enable | ApicBase.x2apic;
    // The page cannot be moved, and reserved bits must be zero.
    if (value >> 32n !== 0n || (next & ~legal) >>> 0 !== LOCAL_APIC_BASE) return false;
    const mode = next & (ApicBase.enable | ApicBase.x2apic);
    const oldMode = old & (ApicBase.enable | ApicBase.x2apic);
    if (mode === ApicBase.x2apic) return false;
    const both = ApicBase.enable | ApicBase.x2apic;
    if (mode === both && oldMode === 0) return false;
    if (mode === ApicBase.enable && oldMode === both) return false;
    words[word] = next;
    words[word + 1] = 0;
    const state = stateOf(vcpuId);
    if (mode === 0) resetRegisters(vcpuId);
    else if (mode === both && oldMode !== both) {
      words[state + LDR] = x2apicLogicalId(words[state + ID]!);
      words[state + ICR_HIGH] = 0;
    }
    update(vcpuId);
    return true;
  }

  return {
    initialise() {
      for (let vcpuId = 0; vcpuId < count; vcpuId++) {
        const word = apicBaseWord(vcpuId);
        words[word] = LOCAL_APIC_BASE | ApicBase.enable | (vcpuId === 0 ? ApicBase.bsp : 0);
        words[word + 1] = 0;
        words[stateOf(vcpuId) + ID] = apicIdOf(vcpuId);
        resetRegisters(vcpuId);
        words[stateOf(vcpuId) + WAIT_FOR_SIPI] = vcpuId === 0 ? 0 : 1;
      }
    },
    mmioRead(vcpuId, offset, size) {
      if (!enabledByMsr(vcpuId) || inX2apicMode(vcpuId)) return size >= 4 ? 0xffffffff : 2 ** (8 * size) - 1;
      // Only the first four bytes of each sixteen hold a register.
      if ((offset & 15) > 3) return 0;
      const value = readRegister(vcpuId, offset & 0xff0) >>> (8 * (offset & 3));
      return size >= 4 ? value : value & (2 ** (8 * size) - 1);
    },
    mmioWrite(vcpuId, offset, size, value) {
      // Narrower writes are undefined by the manual; they are dropped.
      if (!enabledByMsr(vcpuId) || inX2apicMode(vcpuId) || size < 4 || (offset & 15) !== 0) return;
      writeRegister(vcpuId, offset & 0xff0, value >>> 0);
    },
    readMsr(vcpuId, index) {
      if (index === Msr.apicBase) return BigInt(words[apicBaseWord(vcpuId)]!);
      if (index === Msr.tscDeadline) {
        return timerMode(vcpuId) === TimerMode.tscDeadline ? fields[vcpuId]!.tscDeadline : 0n;
      }
      if (index < Msr.x2apicFirst || index > Msr.x2apicLast || !inX2apicMode(vcpuId)) return undefined;
      return readX2apic(vcpuId, (index - Msr.x2apicFirst) << 4);
    },
    writeMsr(vcpuId, index, value) {
      if (index === Msr.apicBase) return writeApicBase(vcpuId, value);
      if (index === Msr.tscDeadline) {
        // Outside of deadline mode the register does nothing.
        if (timerMode(vcpuId) !== TimerMode.tscDeadline) return true;
        fields[vcpuId]!.tscDeadline = value;
        armTimer(vcpuId);
        return true;
      }
      if (index < Msr.x2apicFirst || index > Msr.x2apicLast || !inX2apicMode(vcpuId)) return false;
      return writeX2apic(vcpuId, (index - Msr.x2apicFirst) << 4, value);
    },
    raise,
    highestPending(vcpuId) {
      sync(vcpuId);
      return highestPending(vcpuId);
    },
    accept,
    eoi,
    update,
    timerFired,
    rearmTimers() {
      for (let vcpuId = 0; vcpuId < count; vcpuId++) armTimer(vcpuId);
    },
  };
}

/** In x2APIC mode the logical id follows from the id: cluster in the upper half, one bit of sixteen in the lower. */
export const x2apicLogicalId = (id: number): number => (((id >>> 4) << 16) | (1 << (id & 15))) >>> 0;

const inVectorBitmaps = (register: number) => register >= ApicRegister.isr && register < ApicRegister.esr;
const isLvt = (register: number) => register >= ApicRegister.lvtTimer && register <= ApicRegister.lvtError;

function isX2apicReadable(register: number): boolean {
  if (inVectorBitmaps(register) || isLvt(register)) return true;
  switch (register) {
    case ApicRegister.id:
    case ApicRegister.version:
    case ApicRegister.tpr:
    case ApicRegister.ppr:
    case ApicRegister.ldr:
    case ApicRegister.svr:
    case ApicRegister.esr:
    case ApicRegister.icrLow:
    case ApicRegister.timerInitial:
    case ApicRegister.timerCurrent:
    case ApicRegister.timerDivide:
      return true;
    default:
      return false;
  }
}

function isX2apicWritable(register: number): boolean {
  if (isLvt(register)) return true;
  switch (register) {
    case ApicRegister.tpr:
    case ApicRegister.eoi:
    case ApicRegister.svr:
    case ApicRegister.esr:
    case ApicRegister.timerInitial:
    case ApicRegister.timerDivide:
    case ApicRegister.selfIpi:
      return true;
    default:
      return false;
  }
}
