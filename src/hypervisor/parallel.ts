/**
 * Several threads run vCPUs of one machine: each is a pCPU with its own handles and engine over the same memory.
 *
 * The hypervisor's state is under one lock (`MachineHeader.hypervisorLock`), held whenever hypervisor code runs, in whatever
 * thread, and let go while guest code does. The order of locks is: alone (cpu/alone.ts), hypervisor, code cache; nobody who holds
 * one waits for one before it. So `alone` lets the hypervisor's lock go first.
 */
import { type MachineAddress, maddr } from '../base/brand.ts';
import { invariant } from '../base/errors.ts';
import type { Alone } from '../cpu/alone.ts';
import type { CpuEngine } from '../cpu/engine.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { KICK, Vcpu as VcpuBlock } from '../cpu/vcpu/layout.ts';
import { MACHINE_HEADER, MachineHeader, machineHeader } from '../machine/header.ts';
import { createLock } from '../machine/lock.ts';
import type { MachineMemory } from '../machine/memory.ts';
import type { Parallel, Vcpu } from './hypervisor.ts';
import { HYPERVISOR_STATE, HypervisorState } from './state.ts';

const V = VcpuBlock.offsets;
const FLAG_IF = 1 << 9;
/** PAUSE instructions after which a vCPU sleeps at each: half a millisecond's worth. */
const SPINS_MAX = 1000;
const SPIN_SLEEP_MS = 0.05;
/** setTimeout's limit is that of other waits too. */
const SLEEP_MAX_MS = 0x7fff_ffff;

const headerWord = (field: keyof typeof MachineHeader.offsets): number =>
  (MACHINE_HEADER + MachineHeader.offsets[field]) >>> 2;

/** @param call tells the control domain's thread to look, from another one */
export function createParallel(
  memory: MachineMemory,
  alone: Alone,
  pcpu: number,
  call: () => void,
): Parallel {
  const words = memory.i32;
  const header = machineHeader(memory);
  const lock = createLock(words, MACHINE_HEADER + MachineHeader.offsets.hypervisorLock);
  const work = headerWord('workCount');
  const called = headerWord('controlCalled');
  const parallel: Parallel = {
    pcpu,
    lock,
    isExclusive: false,
    kick(vcpu: Vcpu) {
      const { runningOn, pauseFlags, block } = vcpu.state;
      if (runningOn === 0) return;
      // In the middle of one of its own instructions: what it cannot take now it sees when it can.
      const takesNothing = (words[(block + V.flagSys) >>> 2]! & FLAG_IF) === 0 && pauseFlags === 0;
      if (runningOn === pcpu && takesNothing) return;
      Atomics.store(words, (block + V.kick) >>> 2, KICK);
      Atomics.notify(words, (block + V.kick) >>> 2);
    },
    wakePcpu(all) {
      Atomics.add(words, work, 1);
      if (header.idlePcpus > 0) Atomics.notify(words, work, all ? header.idlePcpus : 1);
    },
    callControl() {
      if (Atomics.exchange(words, called, 1) === 0) call();
    },
    alone(task) {
      lock.release();
      invariant(!lock.isHeld, 'whoever waits to be alone holds no other lock');
      try {
        return alone.during(() => lock.during(task));
      } finally {
        lock.acquire();
      }
    },
  };
  return parallel;
}

/** Wait for work, with the lock let go; `waitNs` at most. */
export function awaitWork(memory: MachineMemory, { lock }: Parallel, waitNs: number): void {
  const words = memory.i32;
  const work = headerWord('workCount');
  const header = machineHeader(memory);
  // Whoever makes a vCPU runnable holds the lock, so nothing can come between the look and the wait unseen.
  const seen = Atomics.load(words, work);
  header.idlePcpus += 1;
  lock.release();
  Atomics.wait(words, work, seen, Math.min(waitNs / 1e6, SLEEP_MAX_MS));
  lock.acquire();
  header.idlePcpus -= 1;
}

/** The control domain's thread is about to look at what it was called for. */
export function answerCall(memory: MachineMemory): void {
  Atomics.store(memory.i32, headerWord('controlCalled'), 0);
}

/** After a failure, when only this thread is left: what another one held is free. */
export function freeLocks(memory: MachineMemory): void {
  for (const name of ['codeLock', 'aloneLock', 'hypervisorLock'] as const) {
    Atomics.store(memory.i32, headerWord(name), 0);
  }
}

/** Set or take back the request that all pCPUs end. */
export function requestStop(memory: MachineMemory, stop: boolean): void {
  const words = memory.i32;
  Atomics.store(words, headerWord('stopPcpus'), stop ? 1 : 0);
  if (!stop) return;
  Atomics.add(words, headerWord('workCount'), 1);
  Atomics.notify(words, headerWord('workCount'));
}
export const isStopRequested = (memory: MachineMemory): boolean =>
  Atomics.load(memory.i32, headerWord('stopPcpus')) !== 0;

/**
 * What the scheduler's `engine.run` is on a pCPU: called with the lock held, it executes without.
 */
export function createGuestEntry(engine: CpuEngine, alone: Alone, { lock }: Parallel) {
  const { memory } = engine;
  const words = memory.i32;
  const runHead = (HYPERVISOR_STATE + HypervisorState.offsets.runHead) >>> 2;
  const word = (block: MachineAddress, field: keyof typeof V) => (block + V[field]) >>> 2;

  const isKicked = (block: MachineAddress): boolean => Atomics.load(words, word(block, 'kick')) !== 0;

  /** Execute until there is a reason to stop that is the hypervisor's business. */
  function execute(block: MachineAddress, vector: number, fuel: number): number {
    let left = fuel;
    let spins = 0;
    alone.engage(block);
    try {
      const failed = vector < 0 ? undefined : engine.deliverInterrupt(block, vector);
      if (failed !== undefined) return failed;
      for (;;) {
        const exit = engine.run(block, left);
        left = words[word(block, 'fuel')]!;
        if (exit === Exit.exclusive) {
          alone.disengage(block);
          try {
            const single = alone.during(() => executeAlone(block));
            if (left > 0) left -= 1;
            words[word(block, 'fuel')] = left;
            if (single !== Exit.fuel || left === 0) return single;
          } finally {
            alone.engage(block);
          }
          continue;
        }
        const mayBeAside = exit === Exit.kick || exit === Exit.pause;
        if (mayBeAside && alone.stepAside(block) && exit === Exit.kick && left > 0) continue;
        // A vCPU that spins goes on unless another one waits for a pCPU.
        if (exit !== Exit.pause || left === 0 || words[runHead] !== 0 || isKicked(block)) return exit;
        spins += 1;
        if (spins < SPINS_MAX) continue;
        // It has been at it for long: whoever it waits for may need this core.
        alone.disengage(block);
        Atomics.wait(words, word(block, 'kick'), 0, SPIN_SLEEP_MS);
        alone.engage(block);
      }
    } finally {
      alone.disengage(block);
    }
  }

  /** One instruction while no other vCPU executes. */
  function executeAlone(block: MachineAddress): number {
    words[word(block, 'parallel')] = 0;
    try {
      return engine.run(block, 1);
    } finally {
      words[word(block, 'parallel')] = 1;
    }
  }

  return (address: number, fuel: number): number => {
    const block = maddr(address);
    let vector = words[word(block, 'pendingInterrupt')]!;
    if (vector >= 0 && engine.interruptible(block)) words[word(block, 'pendingInterrupt')] = -1;
    else vector = -1;
    words[word(block, 'parallel')] = 1;
    // Kicks up to here were for what the scheduler has just looked at.
    Atomics.store(words, word(block, 'kick'), 0);
    lock.release();
    try {
      return execute(block, vector, fuel);
    } finally {
      lock.acquire();
    }
  };
}
