/**
 * Guest-physical memory: the p2m table of the domain turns a guest frame into a machine frame. A frame that is
 * not mapped reads as all ones and forgets what is written, a read-only one forgets too, a device's calls the host. RAM of the types
 * from `paged` on is made ordinary by the host before it is looked at (but for `unread`, where that is the decoder); frozen RAM before it
 * is written to.
 */
import { isCodeLocked } from '../code/lock';
import {
  FRAME_ENTRY_BYTES,
  FRAME_ENTRY_flags,
  FRAME_FLAG_code,
  FRAME_TABLE_BASE,
  MACHINE_HEADER,
  MACHINE_HEADER_isParallel,
  P2M_frozen,
  P2M_idle,
  P2M_mfnMask,
  P2M_mmio,
  P2M_offered,
  P2M_paged,
  P2M_ram,
  P2M_readOnly,
  P2M_typeShift,
  P2M_unread,
  VCPU_p2m,
  VCPU_p2mCount,
} from '../generated/layout';
import { pageIn } from '../host';

/** Machine address of the page, 0 when there is no memory behind it, and its p2m type: results of `resolve`. */
export let resolvedPage: usize = 0;
export let resolvedType: i32 = 0;

/**
 * Something was looked up as if it were not there, since only the host can make it ordinary and this thread holds the code cache's lock:
 * the host waits for the hypervisor's, and whoever has that may wait for the code cache when he has written to code.
 */
export let mustPageIn: bool = false;

export function forgetMustPageIn(): void {
  mustPageIn = false;
}

/** Look up the frame that holds guest-physical address `gpa`. */
export function resolve(cpu: usize, gpa: u64): void {
  lookUp(cpu, gpa, 0);
}

/** The same for one that only the decoder reads: its contents may be elsewhere. */
export function resolveForFetch(cpu: usize, gpa: u64): void {
  lookUp(cpu, gpa, 1);
}

function lookUp(cpu: usize, gpa: u64, isFetch: i32): void {
  const gfn = gpa >> 12;
  resolvedPage = 0;
  resolvedType = 0;
  if (gfn >= load<u32>(cpu, VCPU_p2mCount)) return;
  const at: usize = load<u32>(cpu, VCPU_p2m) + ((gfn as usize) << 2);
  let entry = load<u32>(at);
  // RAM that nobody has looked at may have no entries yet, where no other thread reads them.
  if (entry === 0 && !isParallel()) {
    pageIn(cpu, gfn as u32, isFetch);
    entry = load<u32>(at);
  }
  while (entry >> P2M_typeShift >= (P2M_paged as u32)) {
    if (isFetch !== 0 && entry >> P2M_typeShift === (P2M_unread as u32)) break;
    if (!makeOrdinary(cpu, gfn as u32, at, entry, isFetch)) return;
    entry = load<u32>(at);
  }
  resolvedType = entry >> P2M_typeShift;
  if (resolvedType === 0 || resolvedType === P2M_mmio) return;
  resolvedPage = (entry & P2M_mfnMask) << 12;
}

/** What needs no more than a note that somebody has looked is done here. Another thread may come first. False: `mustPageIn`. */
function makeOrdinary(cpu: usize, gfn: u32, at: usize, entry: u32, isFetch: i32): bool {
  const type = entry >> P2M_typeShift;
  if (type !== P2M_idle && type !== P2M_offered) return callHost(cpu, gfn, isFetch);
  atomic.cmpxchg<u32>(at, entry, (entry & P2M_mfnMask) | (P2M_ram << P2M_typeShift));
  return true;
}

/** Have the host make it ordinary, if this thread may wait for it now. */
function callHost(cpu: usize, gfn: u32, isFetch: i32): bool {
  if (isCodeLocked() && isParallel()) {
    mustPageIn = true;
    return false;
  }
  pageIn(cpu, gfn, isFetch);
  return true;
}

/** Do several threads execute vCPUs of the machine? */
export function isParallel(): bool {
  return load<u32>(MACHINE_HEADER as usize, MACHINE_HEADER_isParallel) !== 0;
}

/** Look it up for a write. */
export function resolveForWrite(cpu: usize, gpa: u64): void {
  resolve(cpu, gpa);
  if (resolvedType === P2M_frozen && callHost(cpu, (gpa >> 12) as u32, 0)) resolve(cpu, gpa);
}

/** Whether the page that was found takes writes now. */
export function resolvedWritable(): bool {
  return resolvedPage !== 0 && resolvedType !== P2M_readOnly && resolvedType !== P2M_frozen;
}

export function frameEntry(mfn: u32): usize {
  return (FRAME_TABLE_BASE as usize) + mfn * FRAME_ENTRY_BYTES;
}
/** Instructions of the frame at this machine address are decoded. */
export function holdsCode(machineAddress: usize): bool {
  return (load<u8>(frameEntry(machineAddress >> 12), FRAME_ENTRY_flags) & FRAME_FLAG_code) !== 0;
}
