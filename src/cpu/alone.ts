/**
 * vCPUs that run at the same time, and what one of them does alone.
 *
 * Some things touch what other vCPUs use without a lock: their TLBs, the code cache as a whole, memory that is changed by
 * a locked instruction without one aligned place. They are done while no vCPU of the machine executes. Whoever wants
 * that takes a lock that vCPUs look at before they begin to execute, kicks those that do, and waits until they have
 * left: they leave between two instructions only, holding no machine address and no record.
 *
 * A vCPU says that it executes before it looks at the lock, and the other one takes the lock before it looks at the
 * vCPU, both with sequentially consistent operations: one of them sees the other.
 *
 * For one CMPXCHG16B the runtime module does the same without leaving the guest's code (runtime/assembly/alone.ts). The lock and
 * `engaged` are 0, 1, or 2 where somebody sleeps until it is 0.
 */
import type { MachineAddress } from '../base/brand.ts';
import { MACHINE_HEADER, MachineHeader, machineHeader } from '../machine/header.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { KICK_ASIDE, Vcpu } from './vcpu/layout.ts';

const V = Vcpu.offsets;
/** Looks at a word before the thread sleeps. */
const SPINS = 2000;
/** No wait is without an end, in case that a thread is gone. */
const WAIT_MS = 100;

export interface Alone {
  /** The vCPU is about to execute: waits while somebody is alone. To be called by the thread that executes it. */
  engage(cpu: MachineAddress): void;
  /** It has stopped executing. */
  disengage(cpu: MachineAddress): void;
  /** Its kick, for which it has stopped, was for somebody who wants to be alone: let him, and engage again. Else nothing happens: false. */
  stepAside(cpu: MachineAddress): boolean;
  /** Call `task` while no vCPU executes. The caller must not be executing one itself. */
  during<T>(task: () => T): T;
  /** How often `during` had to stop others, by this thread. */
  readonly count: number;
}

export function createAlone(memory: MachineMemory): Alone {
  const words = memory.i32;
  const lock = (MACHINE_HEADER + MachineHeader.offsets.aloneLock) >>> 2;
  const header = machineHeader(memory);
  const wordOf = (cpu: number, field: 'engaged' | 'kick') => (cpu + V[field]) >>> 2;
  let count = 0;

  function awaitZero(word: number): void {
    for (let i = 0; i < SPINS; i++) if (Atomics.load(words, word) === 0) return;
    while (Atomics.load(words, word) !== 0) {
      Atomics.compareExchange(words, word, 1, 2);
      Atomics.wait(words, word, 2, WAIT_MS);
    }
  }
  /** To 0, for whoever waits. */
  function clear(word: number): void {
    if (Atomics.exchange(words, word, 0) === 2) Atomics.notify(words, word);
  }

  function engage(cpu: MachineAddress): void {
    const word = wordOf(cpu, 'engaged');
    for (;;) {
      Atomics.store(words, word, 1);
      if (Atomics.load(words, lock) === 0) return;
      clear(word);
      awaitZero(lock);
    }
  }
  const disengage = (cpu: MachineAddress): void => clear(wordOf(cpu, 'engaged'));

  return {
    engage,
    disengage,
    stepAside(cpu) {
      if (Atomics.compareExchange(words, wordOf(cpu, 'kick'), KICK_ASIDE, 0) !== KICK_ASIDE) return false;
      disengage(cpu);
      engage(cpu);
      return true;
    },
    during(task) {
      while (Atomics.compareExchange(words, lock, 0, 1) !== 0) awaitZero(lock);
      count += 1;
      try {
        for (let cpu = header.firstVcpu; cpu !== 0; cpu = words[(cpu + V.nextVcpu) >>> 2]! >>> 0) {
          const engaged = wordOf(cpu, 'engaged');
          if (Atomics.load(words, engaged) === 0) continue;
          // One that is set already brings it out as well.
          Atomics.compareExchange(words, wordOf(cpu, 'kick'), 0, KICK_ASIDE);
          awaitZero(engaged);
        }
        return task();
      } finally {
        clear(lock);
      }
    },
    get count() {
      return count;
    },
  };
}
