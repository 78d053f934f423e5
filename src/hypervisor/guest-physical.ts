/**
 * A domain's memory by guest-physical address, for the domain builder, the toolstack and debuggers: plain copies that
 * stop at what is not RAM.
 */

import { E820_ENTRY_BYTES } from '../abi/xen/memory.ts';
import { type Gfn, PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import type { StoredBytes } from './builder/domain-builder.ts';
import { wroteTo } from './guest-memory.ts';
import type { Domain } from './hypervisor.ts';
import { addressOfGfn, mapMmio, populateRange } from './p2m.ts';

/** Copy into the guest. Returns false, with a part written, where there is no RAM. */
export const writePhysical = (domain: Domain, address: number, bytes: Uint8Array): boolean =>
  fillPhysical(domain, address, {
    length: bytes.length,
    readInto: (target, from) => target.set(bytes.subarray(from, from + target.length)),
  });

/** The same with bytes that are elsewhere. Frames that lie behind one another are filled at once. */
function fillPhysical(domain: Domain, address: number, bytes: StoredBytes): boolean {
  const { hypervisor } = domain;
  let done = 0;
  while (done < bytes.length) {
    const at = address + done;
    const first = Math.floor(at / PAGE_SIZE);
    const start = addressOfGfn(domain, first);
    if (start === 0) return false;
    const left = bytes.length - done;
    let pages = 1;
    while (
      pages * PAGE_SIZE - (at % PAGE_SIZE) < left &&
      addressOfGfn(domain, first + pages) === start + pages * PAGE_SIZE
    )
      pages += 1;
    const part = Math.min(left, pages * PAGE_SIZE - (at % PAGE_SIZE));
    const to = start + (at % PAGE_SIZE);
    bytes.readInto(hypervisor.memory.u8.subarray(to, to + part), done);
    for (let page = 0; page < pages; page++) {
      const from = Math.max(to, start + page * PAGE_SIZE);
      wroteTo(hypervisor, from, Math.min(to + part, start + (page + 1) * PAGE_SIZE) - from);
    }
    done += part;
  }
  return true;
}

/** Copy out of the guest; undefined where there is no RAM. */
export function readPhysical(domain: Domain, address: number, length: number): Uint8Array | undefined {
  const { u8 } = domain.hypervisor.memory;
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const at = address + done;
    const page = addressOfGfn(domain, Math.floor(at / PAGE_SIZE));
    if (page === 0) return undefined;
    const part = Math.min(length - done, PAGE_SIZE - (at % PAGE_SIZE));
    bytes.set(u8.subarray(page + (at % PAGE_SIZE), page + (at % PAGE_SIZE) + part), done);
    done += part;
  }
  return bytes;
}

/** The domain's memory in the form that the domain builder takes. */
export function builderMemory(domain: Domain) {
  const checked = (address: number, isWritten: boolean): void => {
    if (isWritten) return;
    throw new DomusError('E_GUEST_MEMORY', `no RAM at guest address 0x${address.toString(16)}`);
  };
  return {
    populate: (first: Gfn, count: number): void => populateRange(domain, first, count),
    write: (address: number, bytes: Uint8Array): void =>
      checked(address, writePhysical(domain, address, bytes)),
    fill: (address: number, bytes: StoredBytes): void =>
      checked(address, fillPhysical(domain, address, bytes)),
    mmio: (frame: Gfn): void => mapMmio(domain, frame),
  };
}

export interface MemoryMapEntry {
  readonly address: number;
  readonly size: number;
  /** E820_* */
  readonly type: number;
}

/** What XENMEM_memory_map answers: at most as many entries as one frame holds. */
export function setMemoryMap(domain: Domain, entries: readonly MemoryMapEntry[]): void {
  const { view } = domain.hypervisor.memory;
  const count = Math.min(entries.length, Math.floor(PAGE_SIZE / E820_ENTRY_BYTES));
  for (const [i, entry] of entries.slice(0, count).entries()) {
    const at = domain.state.e820 + i * E820_ENTRY_BYTES;
    view.setBigUint64(at, BigInt(entry.address), true);
    view.setBigUint64(at + 8, BigInt(entry.size), true);
    view.setUint32(at + 16, entry.type, true);
  }
  domain.state.nrE820 = count;
}
