/** A small machine for the tests: one vCPU, guest memory mapped one to one, and page tables built by hand. */

import { domid, frameAddress, gfn, maddr } from '../../base/brand.ts';
import { DOMID_XEN, FrameTable } from '../../machine/frames.ts';
import { machineHeader } from '../../machine/header.ts';
import { createMachineMemory } from '../../machine/memory.ts';
import { readAsset } from '../../platform/node/files.ts';
import { P2m, Segment, VCPU_BLOCK_BYTES, Vcpu } from '../vcpu/layout.ts';
import { createRuntime, RUNTIME_ASSET } from './runtime.ts';
import type { RuntimeImports } from './signatures.ts';

const module = new WebAssembly.Module(readAsset(RUNTIME_ASSET));

const PAGE = 4096;
const GUEST_BYTES = 8 << 20;
const CODE_CACHE_BYTES = 1 << 20;
/** Where page tables are allocated from, in guest memory. */
const TABLES = 0x60_0000;
export const P = 1n;
export const W = 2n;
export const U = 4n;
export const A = 0x20n;
export const D = 0x40n;
export const LARGE = 0x80n;
export const GLOBAL = 0x100n;
export const NX = 1n << 63n;
const ADDRESS = 0x000f_ffff_ffff_f000n;

export type TestMachine = ReturnType<typeof createTestMachine>;

export function createTestMachine(host: Partial<RuntimeImports> = {}, nrVcpus = 1) {
  const memory = createMachineMemory(64 << 20);
  const frames = new FrameTable(memory);
  const run = (bytes: number) => frameAddress(frames.allocateRun(bytes / PAGE, DOMID_XEN));
  const header = machineHeader(memory);
  header.codeBase = run(CODE_CACHE_BYTES);
  header.codeNext = header.codeBase;
  header.codeLimit = header.codeBase + CODE_CACHE_BYTES;
  header.codeEnd = header.codeLimit;
  const guestBase = frameAddress(frames.allocateRun(GUEST_BYTES / PAGE, domid(1)));
  const p2m = run(PAGE * 2);
  for (let frame = 0; frame < GUEST_BYTES / PAGE; frame++) {
    memory.u32[p2m / 4 + frame] = (guestBase / PAGE + frame) | (P2m.ram << P2m.typeShift);
  }
  const runtime = createRuntime(module, memory, {
    decode: () => 0,
    pageIn: () => {},
    mmioRead: () => {},
    mmioWrite: () => {},
    rdmsr: () => 1,
    wrmsr: () => 1,
    ...host,
  });
  const vcpus = Array.from({ length: nrVcpus }, (_, id) => {
    const address = run(VCPU_BLOCK_BYTES);
    const vcpu = Vcpu.at(memory.view, address);
    vcpu.nextVcpu = header.firstVcpu;
    header.firstVcpu = address;
    vcpu.p2m = p2m;
    vcpu.p2mCount = GUEST_BYTES / PAGE;
    vcpu.domain = 1;
    vcpu.id = id;
    runtime.resetCpu(address);
    return vcpu;
  });
  const vcpu = vcpus[0]!;
  const cpu = vcpu.address;

  /** Machine address of guest-physical memory. */
  const guest = (address: number) => guestBase + address;
  let nextTable = TABLES;
  const newTable = () => {
    nextTable += PAGE;
    return nextTable - PAGE;
  };
  const read64 = (address: number) => memory.view.getBigUint64(guest(address), true);
  const write64 = (address: number, value: bigint) =>
    memory.view.setBigUint64(guest(address), BigInt.asUintN(64, value), true);

  /** Guest-physical address of the entry for `va` at `level` (3 = PML4 ... 0), making the tables above it. */
  function entryAddress(va: bigint, level = 0): number {
    if (vcpu.cr3 === 0n) vcpu.cr3 = BigInt(newTable());
    let table = Number(vcpu.cr3 & ADDRESS);
    for (let at = 3; ; at--) {
      const address = table + Number((va >> BigInt(12 + 9 * at)) & 511n) * 8;
      if (at === level) return address;
      if ((read64(address) & P) === 0n) write64(address, BigInt(newTable()) | P | W | U);
      table = Number(read64(address) & ADDRESS);
    }
  }
  /** Map one page of 4-level paging. `rights`: U, W, NX and so on; P is implied. */
  function map(va: bigint, physical: number, rights: bigint, level = 0): void {
    write64(entryAddress(va, level), BigInt(physical) | P | rights | (level > 0 ? LARGE : 0n));
  }

  function segment(
    seg: number,
    selector: number,
    base: bigint,
    limit: number,
    attributes: number,
    of = vcpu,
  ): void {
    const at = Segment.at(memory.view, of.segment.address + seg * Segment.size);
    at.selector = selector;
    at.attributes = attributes;
    at.limit = limit;
    at.hiddenBase = Number(base & 0xffffffffn);
    of.segBase.set(seg, base);
  }

  /** 64-bit mode with flat segments at a privilege; paging on with NX. CR4 and CR0 bits can be added before. */
  function enterLongMode(cpl = 0): void {
    vcpu.cr0 |= 0x8000_0001n;
    vcpu.cr4 |= 0x220n;
    vcpu.efer = 0xd01n;
    if (vcpu.cr3 === 0n) vcpu.cr3 = BigInt(newTable());
    segment(1, 0x10 | cpl, 0n, 0xffffffff, 0xa09b | (cpl << 5));
    segment(2, 0x18 | cpl, 0n, 0xffffffff, 0xc093 | (cpl << 5));
    vcpu.cpl = cpl;
    runtime.updateMode(cpu);
    runtime.selectTlb(cpu);
  }

  return {
    memory,
    frames,
    header,
    runtime,
    vcpus,
    vcpu,
    cpu,
    p2m,
    guest,
    newTable,
    read64,
    write64,
    entryAddress,
    map,
    segment,
    enterLongMode,
    segmentOf: (seg: number) => Segment.at(memory.view, vcpu.segment.address + seg * Segment.size),
    mfnOf: (physical: number) => guest(physical) / PAGE,
    frameOf: (physical: number) =>
      frames.entry((guest(physical) / PAGE) as ReturnType<typeof frames.allocate>),
    setP2m: (frame: number, mfn: number, type: number) => {
      memory.u32[p2m / 4 + gfn(frame)] = mfn | (type << P2m.typeShift);
    },
    /** The pending exception, and forget it. */
    fault() {
      const { exVector: vector, exError: error, exHasError: hasError, exCr2: cr2 } = vcpu;
      vcpu.exVector = -1;
      return { vector, error: hasError ? error : null, cr2: vector === 14 ? cr2 : null };
    },
    maddr,
  };
}
