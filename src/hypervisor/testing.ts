/**
 * A scratch machine for tests: a small memory, a clock that stands still until told, guests whose virtual addresses
 * are their guest-physical ones, and an engine that runs a script instead of instructions.
 */
import type { FieldType, Struct } from '../base/struct.ts';
import { Mode } from '../cpu/decode/mode.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { FrameTable } from '../machine/frames.ts';
import { createMachineMemory } from '../machine/memory.ts';
import { createDomain, createHypervisor, type DomainOptions } from './domain.ts';
import { hypercall } from './hypercall/dispatch.ts';
import type { Domain, Hypervisor, Notices, Vcpu } from './hypervisor.ts';
import { unpauseDomain } from './life.ts';
import { p2mEntry, p2mType, populateGfn } from './p2m.ts';
import type { StoredPages } from './sharing/stored-pages.ts';

export interface TestMachine {
  hypervisor: Hypervisor;
  /** Moves the clock. */
  clock: { nowNs: number };
  /** Upcalls through the local APIC: block address and vector. */
  upcalls: [number, number][];
  /** What `engine.run` does; returns the exit. */
  script: { run(vcpuAddress: number, fuel: number): number };
}

export const TEST_TSC_KHZ = 2_000_000;

export function testMachine(notices: Notices = {}, megabytes = 32, store?: StoredPages): TestMachine {
  const memory = createMachineMemory(megabytes * 2 ** 20);
  const clock = { nowNs: 1000 };
  const upcalls: [number, number][] = [];
  const script = { run: (_vcpu: number, _fuel: number): number => 0 };
  const hypervisor: Hypervisor = createHypervisor({
    memory,
    frames: new FrameTable(memory),
    clock: {
      systemTimeNs: () => clock.nowNs,
      tsc: () => clock.nowNs * 2,
      wallClockNs: () => 1_700_000_000_123_456_789n + BigInt(clock.nowNs),
    },
    interrupts: { upcall: (vcpu, vector) => upcalls.push([vcpu, vector]) },
    engine: {
      run: (vcpu, fuel) => script.run(vcpu, fuel),
      translate: (block, gva, write) => translateFlat(hypervisor, block, gva, write),
    },
    notices,
    store,
  });
  return { hypervisor, clock, upcalls, script };
}

/** Guest virtual = guest physical, as in a kernel's flat map. */
function translateFlat(hypervisor: Hypervisor, block: number, gva: bigint, write: boolean): number {
  if (gva >= 1n << 32n) return 0;
  for (const vcpu of hypervisor.vcpus.values()) {
    if (vcpu.state.block !== block) continue;
    const entry = p2mEntry(vcpu.domain, Number(gva >> 12n));
    const type = p2mType(entry);
    if (type !== P2m.ram && (write || type !== P2m.readOnly)) return 0;
    return (entry & P2m.mfnMask) * 4096 + Number(gva & 0xfffn);
  }
  return 0;
}

/** A running guest with `pages` of RAM from gfn 1 on (gfn 0 is left out, so that address 0 faults). */
export function testDomain(machine: TestMachine, options: Partial<DomainOptions> = {}, pages = 64): Domain {
  const domain = createDomain(machine.hypervisor, {
    p2mCount: 1024,
    maxPages: 128,
    vcpus: 2,
    tscKhz: TEST_TSC_KHZ,
    console: true,
    ...options,
  });
  for (let gfn = 1; gfn <= pages; gfn++) populateGfn(domain, gfn);
  for (const vcpu of domain.vcpus) vcpu.block.mode = Mode.code64;
  unpauseDomain(domain);
  return domain;
}

const ARGUMENTS = [7, 6, 2, 10, 8, 9];

/** Issue a hypercall with register arguments; continuations are followed. Returns rax as a signed number. */
export function issue(vcpu: Vcpu, number: number, ...args: (number | bigint)[]): number {
  const { block } = vcpu;
  for (const [n, register] of ARGUMENTS.entries()) block.gpr.set(register, BigInt(args[n] ?? 0));
  for (let attempt = 0; attempt < 10_000; attempt++) {
    block.gpr.set(0, BigInt(number));
    block.rip = 0x1003n;
    hypercall(vcpu);
    if (block.rip === 0x1003n) break;
  }
  return Number(BigInt.asIntN(64, block.gpr.get(0)));
}

/** Where tests put hypercall structures: guest address in the last page of a `testDomain`'s RAM. */
export const SCRATCH = 64 * 4096;

/** The structure at a guest address, live. */
export function guestStruct<F extends Record<string, FieldType<unknown>>>(
  domain: Domain,
  layout: Struct<F>,
  address = SCRATCH,
): ReturnType<Struct<F>['at']> {
  return layout.at(domain.hypervisor.memory.view, guestAddress(domain, address));
}

/** Machine address of a guest address. */
export function guestAddress(domain: Domain, address: number): number {
  return (p2mEntry(domain, Math.floor(address / 4096)) & P2m.mfnMask) * 4096 + (address % 4096);
}

/** Put `values` into a structure in guest memory and issue the hypercall on it; `op` is a copy of it afterwards. */
export function issueOp<F extends Record<string, FieldType<unknown>>>(
  vcpu: Vcpu,
  layout: Struct<F>,
  values: Partial<Record<keyof F, number | bigint>>,
  call: (address: number) => number,
): { result: number; op: ReturnType<Struct<F>['at']> } {
  const op = guestStruct(vcpu.domain, layout);
  const { memory } = vcpu.domain.hypervisor;
  memory.u8.fill(0, op.address, op.address + layout.size);
  for (const [name, value] of Object.entries(values)) (op as Record<string, unknown>)[name] = value;
  const result = call(SCRATCH);
  const after = memory.u8.slice(op.address, op.address + layout.size);
  return { result, op: layout.at(new DataView(after.buffer), 0) };
}
