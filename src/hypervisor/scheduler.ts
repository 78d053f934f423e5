/**
 * The scheduler: gives the pCPU to runnable vCPUs in turn, acts on why they stopped, and fires timers.
 *
 * It is driven from outside: `runOne` does one slice and returns; when nothing can run it says how long to sleep.
 */

import { SHUTDOWN_poweroff } from '../abi/xen/sched.ts';
import { RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_runnable, RUNSTATE_running } from '../abi/xen/vcpu.ts';
import { type MachineAddress, maddr } from '../base/brand.ts';
import { Exit, Unsupported } from '../cpu/vcpu/exit.ts';
import { mayRunOn } from './affinity.ts';
import { deliverEvents } from './event/backend.ts';
import { assertCallbackVector } from './event/upcall.ts';
import { hypercall, mayChangeMap } from './hypercall/dispatch.ts';
import type { Domain, Hypervisor, Vcpu } from './hypervisor.ts';
import { domainCrash, domainShutdown, vcpuDown } from './life.ts';
import { flushStale } from './p2m.ts';
import { dequeue, enqueue, removeFromQueue } from './run-queue.ts';
import { setRunstate, updateRunstateArea } from './runstate.ts';
import { Life, NEVER, Pause } from './state.ts';
import { fireTimers } from './time.ts';
import { isRunnable } from './wake.ts';

/** RFLAGS.IF */
const FLAG_IF = 1 << 9;

export type Outcome =
  /** `used`: fuel, and EXIT_FUEL for each entry. */
  | { kind: 'ran'; vcpu: Vcpu; exit: number; used: number }
  /** Nothing to run: sleep that long, or until Notices.wake. Infinity when no timer is set. */
  | { kind: 'idle'; waitNs: number };

/** What an exit costs besides, so that a guest which does nothing but hypercalls does not have the pCPU for long. */
export const EXIT_FUEL = 500;

/** Estimated entries are no shorter than this. */
const FUEL_MIN = 2000;
/** The pace is taken over so much fuel at least, in however many entries. */
const PACE_SAMPLE_MIN = 10_000;
/** What one measurement may do to the estimate: it includes the time that the host gave to others. */
const PACE_GROWTH_MAX = 2;

/** Fuel of one slice when no timer is nearer. */
export const SLICE_FUEL = 1_000_000;
/**
 * Fuel of one turn of a machine among several. Not a number of slices: those of vCPUs that wait for each other end after a few
 * instructions, and there may be thousands before the one that they wait for has its own.
 */
export const TURN_FUEL = 4 * SLICE_FUEL;

/** Run the next vCPU for a slice. `vcpu` in the outcome is the one that ran, `exit` the last reason it stopped. */
export function runOne(hypervisor: Hypervisor, sliceFuel: number = SLICE_FUEL): Outcome {
  deliverEvents(hypervisor);
  fireTimers(hypervisor);
  // An INIT may have stopped a vCPU while it was in the queue.
  const { parallel } = hypervisor;
  const pcpu = parallel ? parallel.pcpu - 1 : 0;
  let vcpu = dequeue(hypervisor, pcpu);
  while (vcpu !== undefined && !isRunnable(vcpu)) vcpu = dequeue(hypervisor, pcpu);
  if (vcpu === undefined) return idle(hypervisor);
  setRunstate(vcpu, RUNSTATE_running);
  updateRunstateArea(vcpu);
  if (parallel) vcpu.state.runningOn = parallel.pcpu;
  let outcome: Outcome;
  try {
    outcome = slice(vcpu, sliceFuel);
  } finally {
    // Also when it fails: somebody may wait for it.
    if (parallel) vcpu.state.runningOn = 0;
  }
  if (parallel) {
    if (vcpu.state.startUp !== 0) hypervisor.interrupts.startLate?.(vcpu);
  }
  if (vcpu.state.onRunQueue === 0) leave(vcpu);
  deliverEvents(hypervisor);
  return outcome;
}

function idle(hypervisor: Hypervisor): Outcome {
  const next = hypervisor.state.nextTimerNs;
  const waitNs = next >= NEVER ? Number.POSITIVE_INFINITY : next - hypervisor.clock.systemTimeNs();
  return { kind: 'idle', waitNs: Math.max(0, waitNs) };
}

/** After its slice: back to the end of the queue, or into the state that it asked for. */
function leave(vcpu: Vcpu): void {
  if (vcpu.domain.state.life === Life.dying) return;
  if (isRunnable(vcpu)) {
    setRunstate(vcpu, RUNSTATE_runnable);
    enqueue(vcpu);
    // It was pinned elsewhere meanwhile.
    const { parallel } = vcpu.domain.hypervisor;
    if (parallel && !mayRunOn(vcpu, parallel.pcpu - 1)) parallel.wakePcpu(true);
  } else if ((vcpu.state.pauseFlags & Pause.blocked) !== 0) setRunstate(vcpu, RUNSTATE_blocked);
  else setRunstate(vcpu, RUNSTATE_offline);
  updateRunstateArea(vcpu);
}

/**
 * One step of a debugger: `step` executes one instruction of the vCPU, whose exit is acted on as after a slice. No
 * interrupt is delivered before it. Returns the exit, undefined when the vCPU cannot run now.
 */
export function stepVcpu(vcpu: Vcpu, step: (block: MachineAddress) => number): number | undefined {
  if (!isRunnable(vcpu)) return undefined;
  removeFromQueue(vcpu);
  setRunstate(vcpu, RUNSTATE_running);
  settleMemory(vcpu.domain);
  const exit = step(maddr(vcpu.state.block));
  handleExit(vcpu, exit);
  const { hypervisor } = vcpu.domain;
  fireTimers(hypervisor);
  if (vcpu.state.onRunQueue === 0) leave(vcpu);
  deliverEvents(hypervisor);
  return exit;
}

/** Enter the vCPU again and again until its fuel is used up or it cannot or should not go on. */
function slice(vcpu: Vcpu, sliceFuel: number): Outcome {
  const { hypervisor } = vcpu.domain;
  const { engine, interrupts, clock } = hypervisor;
  let remaining = sliceFuel;
  for (;;) {
    interrupts.refresh?.(vcpu.state.block);
    if (vcpu.state.upcallVector === 0) assertCallbackVector(vcpu);
    const fuel = Math.max(1, Math.min(remaining, fuelToNextTimer(hypervisor)));
    settleMemory(vcpu.domain);
    const before = clock.fuelUntil ? 0 : clock.systemTimeNs();
    const exit = engine.run(vcpu.state.block, fuel);
    // A vCPU that has only given way has waited.
    const hasRun = exit !== Exit.kick || vcpu.block.fuel !== fuel;
    if (!clock.fuelUntil && hasRun)
      measurePace(hypervisor, clock.systemTimeNs() - before, fuel - vcpu.block.fuel);
    remaining -= EXIT_FUEL + Math.max(0, fuel - Math.max(0, vcpu.block.fuel));
    const goesOn = handleExit(vcpu, exit);
    fireTimers(hypervisor);
    if (!goesOn || remaining <= 0 || !isRunnable(vcpu))
      return { kind: 'ran', vcpu, exit, used: sliceFuel - remaining };
  }
}

/** What is to be done with a domain's memory before one of its vCPUs executes. */
function settleMemory(domain: Domain): void {
  domain.hypervisor.borrowed?.giveBack(domain);
  flushStale(domain);
}

/**
 * Fuel after which the next timer is due. A clock that counts instructions knows; for a real one it is estimated from
 * the pace of late, so that a busy guest's timers are not late by a whole slice.
 */
function fuelToNextTimer({ state, clock, pace }: Hypervisor): number {
  const next = state.nextTimerNs;
  if (next >= NEVER) return Number.POSITIVE_INFINITY;
  if (clock.fuelUntil) return clock.fuelUntil(next);
  return Math.max(FUEL_MIN, Math.ceil((next - clock.systemTimeNs()) / pace.nsPerFuel));
}

function measurePace({ pace }: Hypervisor, elapsedNs: number, used: number): void {
  // Short entries count as well: an estimate that is too slow makes all of them short, and must not stay for that.
  pace.elapsedNs += Math.max(0, elapsedNs);
  pace.fuel += used;
  if (pace.fuel < PACE_SAMPLE_MIN) return;
  const measured = Math.min(pace.elapsedNs / pace.fuel, pace.nsPerFuel * PACE_GROWTH_MAX);
  pace.nsPerFuel += (measured - pace.nsPerFuel) / 8;
  pace.elapsedNs = 0;
  pace.fuel = 0;
}

/** Act on an exit. Returns whether the vCPU may continue its slice. */
function handleExit(vcpu: Vcpu, exit: number): boolean {
  switch (exit) {
    case Exit.hypercall:
      return doHypercall(vcpu);
    case Exit.fuel:
    case Exit.interruptWindow:
    case Exit.kick:
      return true;
    case Exit.halt:
      return halt(vcpu);
    case Exit.pause:
      return false;
    case Exit.breakpoint:
      return false;
    case Exit.tripleFault:
      domainCrash(vcpu.domain, `vCPU ${vcpu.id}: triple fault at rip 0x${vcpu.block.rip.toString(16)}`);
      return false;
    default: {
      const { exitInfo } = vcpu.block;
      const form =
        exitInfo === Unsupported.taskSwitch ? 'hardware task switch' : `instruction form ${exitInfo}`;
      const what = exit === Exit.unsupported ? form : `exit ${exit}`;
      domainCrash(
        vcpu.domain,
        `vCPU ${vcpu.id}: unsupported ${what} at rip 0x${vcpu.block.rip.toString(16)}`,
      );
      return false;
    }
  }
}

/**
 * What changes the p2m is done while no vCPU executes, and their TLBs are flushed before one does: a frame that the
 * guest gives up may be used for something else at once.
 */
function doHypercall(vcpu: Vcpu): boolean {
  const { parallel } = vcpu.domain.hypervisor;
  if (!parallel || !mayChangeMap(vcpu)) return hypercall(vcpu);
  return parallel.alone(() => {
    const goesOn = hypercall(vcpu);
    flushStale(vcpu.domain);
    return goesOn;
  });
}

/** HLT: sleep until an interrupt. With interrupts disabled nothing could wake it: the guest has switched it off. */
function halt(vcpu: Vcpu): boolean {
  const { block, domain } = vcpu;
  if ((block.flagSys & FLAG_IF) === 0) {
    vcpuDown(vcpu);
    if (domain.vcpus.every(other => (other.state.pauseFlags & Pause.down) !== 0)) {
      domainShutdown(domain, SHUTDOWN_poweroff);
    }
    return false;
  }
  domain.hypervisor.interrupts.refresh?.(vcpu.state.block);
  if (vcpu.state.upcallVector === 0) assertCallbackVector(vcpu);
  if (block.pendingInterrupt >= 0) {
    block.halted = 0;
    return true;
  }
  block.halted = 1;
  vcpu.state.pauseFlags |= Pause.blocked;
  return false;
}
