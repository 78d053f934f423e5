/**
 * A machine whose vCPUs one thread executes, in turn, while another thread serves its backends.
 *
 * The thread that executes them holds the hypervisor's lock all the while, guest code included. So nobody else does anything to the machine
 * meanwhile: TLBs, decoded code and memory that nobody has looked at are as where there is one thread, and nobody has to be alone.
 * Whoever else wants the lock says so and kicks the vCPUs. Guest code comes out between two instructions, and the lock goes to him.
 *
 * He says so before he kicks, and who enters guest code takes kicks back before he looks whether somebody wants the lock: one of the
 * two sees the other.
 */
import { KICK, Vcpu as VcpuBlock } from '../cpu/vcpu/layout.ts';
import { MACHINE_HEADER, MachineHeader, machineHeader } from '../machine/header.ts';
import { createLock, hold, type Lock } from '../machine/lock.ts';
import type { MachineMemory } from '../machine/memory.ts';
import type { Parallel } from './hypervisor.ts';

const V = VcpuBlock.offsets;
const LOCK = MACHINE_HEADER + MachineHeader.offsets.hypervisorLock;
const WANTED = (MACHINE_HEADER + MachineHeader.offsets.lockWanted) >>> 2;
const CALLED = (MACHINE_HEADER + MachineHeader.offsets.controlCalled) >>> 2;
/** Looks at a word before the thread sleeps: what the machine is wanted for is mostly done by then. */
const SPINS = 2000;
/** No wait is without an end, in case that a thread is gone. */
const WAIT_MS = 100;

export interface Exclusive extends Parallel {
  /** The vCPU is about to execute: is there somebody who wants the machine first? Kicks up to here have been heard. */
  isWanted(block: number): boolean;
  /** Let those have it who want it. The lock is let go before and held again. */
  giveWay(): void;
}

/**
 * @param pcpu see `Parallel`
 * @param call tells the control domain's thread to look
 * @param ring tells the thread that executes the vCPUs that there is something to execute
 */
export function createExclusive(
  memory: MachineMemory,
  pcpu: number,
  call: () => void,
  ring: () => void,
): Exclusive {
  const words = memory.i32;
  const own = createLock(words, LOCK);
  // The control domain's thread waits for guest code; guest code's own thread waits for nothing long.
  const lock = pcpu === 0 ? wantedLock(memory, own) : own;
  return {
    pcpu,
    lock,
    isExclusive: true,
    // Whoever has the lock has stopped the vCPUs, and they look for what has changed when they go on.
    kick() {},
    wakePcpu: ring,
    callControl() {
      if (Atomics.exchange(words, CALLED, 1) === 0) call();
    },
    alone: task => lock.during(task),
    isWanted(block) {
      Atomics.store(words, (block + V.kick) >>> 2, 0);
      return Atomics.load(words, WANTED) !== 0;
    },
    giveWay() {
      if (Atomics.load(words, WANTED) === 0) return;
      own.release();
      for (let looks = 0; ; looks++) {
        const count = Atomics.load(words, WANTED);
        if (count === 0) break;
        if (looks >= SPINS) Atomics.wait(words, WANTED, count, WAIT_MS);
      }
      own.acquire();
    },
  };
}

/** The lock for a thread that executes no guest code: it stops who does. */
function wantedLock(memory: MachineMemory, own: Lock): Lock {
  const words = memory.i32;
  const header = machineHeader(memory);
  let isCounted = false;
  const lock: Lock = {
    acquire() {
      if (own.tryAcquire()) return;
      Atomics.add(words, WANTED, 1);
      for (let block = header.firstVcpu; block !== 0; block = words[(block + V.nextVcpu) >>> 2]! >>> 0) {
        Atomics.store(words, (block + V.kick) >>> 2, KICK);
      }
      own.acquire();
      isCounted = true;
    },
    tryAcquire: own.tryAcquire,
    release() {
      own.release();
      if (own.isHeld || !isCounted) return;
      // Only now: who waits for it finds the lock free.
      isCounted = false;
      if (Atomics.sub(words, WANTED, 1) === 1) Atomics.notify(words, WANTED);
    },
    get isHeld() {
      return own.isHeld;
    },
    during: task => hold(lock, task),
  };
  return lock;
}
