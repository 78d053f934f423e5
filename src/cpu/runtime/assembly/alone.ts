/**
 * For the time of one instruction no other vCPU executes: what cpu/alone.ts does for longer, without leaving the guest's code. So
 * CMPXCHG16B, which WebAssembly has no instruction for and Linux's slab allocator executes several times for each packet, costs the
 * one that executes it little more than waiting until the others have stepped aside.
 *
 * The vCPU says that it executes all the while. Two that want to be alone do not wait for each other: the one that comes second
 * leaves with `Exit.exclusive`, and waits where it does not count as executing.
 */
import {
  KICK_ASIDE,
  MACHINE_HEADER,
  MACHINE_HEADER_aloneLock,
  VCPU_engaged,
  VCPU_kick,
} from './generated/layout';
import { firstVcpu, nextVcpu } from './mmu/tlb';

const LOCK: usize = (MACHINE_HEADER as usize) + MACHINE_HEADER_aloneLock;
/** Looks at a word before the thread sleeps: about as long as it takes to step aside. */
const SPINS: i32 = 3000;
/** No wait is without an end, in case that a thread is gone. */
const WAIT_NS: i64 = 100_000_000;

/** False: somebody else is alone, or wants to be. */
export function stopOthers(cpu: usize): bool {
  if (atomic.cmpxchg<i32>(LOCK, 0, 1) !== 0) return false;
  for (let other = firstVcpu(); other !== 0; other = nextVcpu(other)) {
    if (other === cpu || atomic.load<i32>(other + VCPU_engaged) === 0) continue;
    // One that is set already brings it out as well.
    atomic.cmpxchg<i32>(other + VCPU_kick, 0, KICK_ASIDE);
    awaitDisengaged(other + VCPU_engaged);
  }
  return true;
}

function awaitDisengaged(word: usize): void {
  for (let i = 0; i < SPINS; i++) if (atomic.load<i32>(word) === 0) return;
  // The vCPU may come back and see that it has to wait, any number of times.
  while (atomic.load<i32>(word) !== 0) {
    atomic.cmpxchg<i32>(word, 1, 2);
    atomic.wait<i32>(word, 2, WAIT_NS);
  }
}

export function letOthersGoOn(_cpu: usize): void {
  if (atomic.xchg<i32>(LOCK, 0) === 2) atomic.notify(LOCK, -1);
}
