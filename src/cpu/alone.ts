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
 */
import type { MachineAddress } from '../base/brand.ts';
import { MACHINE_HEADER, MachineHeader, machineHeader } from '../machine/header.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { KICK, Vcpu } from './vcpu/layout.ts';

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

  function awaitChange(word: number, old: number): void {
    for (let i = 0; i < SPINS; i++) if (Atomics.load(words, word) !== old) return;
    while (Atomics.load(words, word) === old) Atomics.wait(words, word, old, WAIT_MS);
  }

  function disengage(cpu: MachineAddress): void {
    const word = wordOf(cpu, 'engaged');
    Atomics.store(words, word, 0);
    if (Atomics.load(words, lock) !== 0) Atomics.notify(words, word);
  }

  return {
    engage(cpu) {
      for (;;) {
        Atomics.store(words, wordOf(cpu, 'engaged'), 1);
        if (Atomics.load(words, lock) === 0) return;
        disengage(cpu);
        awaitChange(lock, 1);
      }
    },
    disengage,
    during(task) {
      while (Atomics.compareExchange(words, lock, 0, 1) !== 0) awaitChange(lock, 1);
      count += 1;
      try {
        for (let cpu = header.firstVcpu; cpu !== 0; cpu = words[(cpu + V.nextVcpu) >>> 2]! >>> 0) {
          const engaged = wordOf(cpu, 'engaged');
          if (Atomics.load(words, engaged) === 0) continue;
          Atomics.store(words, wordOf(cpu, 'kick'), KICK);
          awaitChange(engaged, 1);
        }
        return task();
      } finally {
        Atomics.store(words, lock, 0);
        Atomics.notify(words, lock);
      }
    },
    get count() {
      return count;
    },
  };
}
