/**
 * Room in the code cache, which may be less than all of it.
 *
 * What a clone executes to hear who it is it executes once or a few times: records of that are memory that nobody looks at again, and most
 * of what an idle clone would have. So a clone's code cache begins small, and when that is full it is thrown away: to decode again what is
 * needed again costs as much time as memory that is touched for the first time. That must not go on in a guest that has more to do than fits: after
 * some times it is made twice as large instead, unless the guest has done so much since it was full that decoding was little of it.
 *
 * All of it is used from the beginning where nobody asked for less (`EngineOptions.firstCodeBytes`), and from when there is work or hot code
 * (`CpuEngine.useAllCode`): a command is mostly code that was not there before, and regions live in the code cache, too.
 */
import {
  MACHINE_HEADER,
  MACHINE_HEADER_codeBase,
  MACHINE_HEADER_codeEnd,
  MACHINE_HEADER_codeFullAt,
  MACHINE_HEADER_codeGeneration,
  MACHINE_HEADER_codeLimit,
  MACHINE_HEADER_codeNext,
  VCPU_retired,
} from '../generated/layout';
import { firstVcpu, nextVcpu } from '../mmu/tlb';
import { discardCode } from './invalidate';

/** So often it is thrown away whatever the guest has done. A clone with a network does it twenty-four times until it has come to rest. */
const FREE_DISCARDS: u32 = 32;
/**
 * When a guest has retired so many instructions for each byte that is thrown away, decoding them again is little of what it costs: filling 768 KiB
 * from the parent's records takes 2 ms, and six million instructions take 30 and more.
 */
const INSTRUCTIONS_PER_BYTE: u64 = 8;

/** Are so many bytes left? */
export function hasRoom(bytes: u32): bool {
  const header = MACHINE_HEADER as usize;
  return load<u32>(header, MACHINE_HEADER_codeLimit) - load<u32>(header, MACHINE_HEADER_codeNext) >= bytes;
}

/** The code cache is full: make it larger, or throw it away. No vCPU may be executing but the caller's. */
export function makeRoom(): void {
  const header = MACHINE_HEADER as usize;
  const limit = load<u32>(header, MACHINE_HEADER_codeLimit);
  const end = load<u32>(header, MACHINE_HEADER_codeEnd);
  const retired = retiredByAll();
  const size = limit - load<u32>(header, MACHINE_HEADER_codeBase);
  const isBusy = retired - load<u64>(header, MACHINE_HEADER_codeFullAt) < size * INSTRUCTIONS_PER_BYTE;
  store<u64>(header, retired, MACHINE_HEADER_codeFullAt);
  if (limit < end && isBusy && load<u32>(header, MACHINE_HEADER_codeGeneration) >= FREE_DISCARDS) {
    store<u32>(header, limit + min(size, end - limit), MACHINE_HEADER_codeLimit);
  } else discardCode();
}

/** Up to the slice that is under way. */
function retiredByAll(): u64 {
  let sum: u64 = 0;
  for (let cpu = firstVcpu(); cpu !== 0; cpu = nextVcpu(cpu)) sum += load<u64>(cpu, VCPU_retired);
  return sum;
}
