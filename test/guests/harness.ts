/**
 * A hostile guest and a witness on one machine: real engine, hypervisor, scheduler, xenstore and console, virtual time.
 *
 * `runHostile` runs both in turn until the hostile guest has stopped or used up its bound, then tells the witness to
 * finish, destroys both, and checks what must hold whatever the guest did: nothing was thrown, the witness had its time
 * and noticed nothing, and every frame has come back.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { HvmParam } from '../../src/abi/xen/hvm.ts';
import { createPrimaryConsole } from '../../src/backend/console/stream.ts';
import { maddr } from '../../src/base/brand.ts';
import type { EngineModules } from '../../src/cpu/engine.ts';
import { buildPvhDomain } from '../../src/hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../../src/hypervisor/builder/entry-state.ts';
import { SpecialPage } from '../../src/hypervisor/builder/layout.ts';
import { createDomain, destroyDomain } from '../../src/hypervisor/domain.ts';
import {
  allocUnboundFor,
  bindToGuest,
  controlDomain,
  deliverEvents,
  notify,
  unbind,
} from '../../src/hypervisor/event/backend.ts';
import {
  builderMemory,
  readPhysical,
  setMemoryMap,
  writePhysical,
} from '../../src/hypervisor/guest-physical.ts';
import type { Domain } from '../../src/hypervisor/hypervisor.ts';
import { crashReason, shutdownCode, unpauseDomain } from '../../src/hypervisor/life.ts';
import { createMachineHost, type MachineHost, TSC_KHZ } from '../../src/hypervisor/machine-host.ts';
import { addressOfGfn, dropReference, takeReference } from '../../src/hypervisor/p2m.ts';
import { runOne } from '../../src/hypervisor/scheduler.ts';
import { createNodePlatform } from '../../src/platform/node/platform.ts';
import type { Platform } from '../../src/platform/platform.ts';
import { createSimulatedPlatform } from '../../src/platform/sim/platform.ts';
import { writeDomainTree } from '../../src/xenstore/domain-tree.ts';
import { createXenstored, type Xenstored } from '../../src/xenstore/xenstored.ts';
import { assemblerMissing, microGuest } from './assemble.ts';

/** RAM_END of guest.h. */
const GUEST_BYTES = 8 << 20;
const GUESTS_MAX = 2;
/** Fuel of a slice: short, so that the two guests alternate often. */
const SLICE_FUEL = 20_000;
/** Rounds that the witness must have done while the hostile guest ran, for so many slices of the latter. */
const SLICES_PER_ROUND = 8;
const PARAMS = 0x1000;
const Param = { scenario: 0, iterations: 4, seed: 8, stop: 16, rounds: 20, error: 24 } as const;
const DIST = join(import.meta.dirname, '../../dist');

export const isFullRun = process.env.DOMUS_TEST_FULL === '1';

/** Why hostile guests cannot run here, or false. */
export function guestsMissing(): string | false {
  if (!existsSync(join(DIST, 'interpreter.wasm'))) return 'dist/ is not built';
  return assemblerMissing();
}

let modules: EngineModules | undefined;
function engineModules(): EngineModules {
  const load = (name: string) => new WebAssembly.Module(readFileSync(join(DIST, `${name}.wasm`)));
  modules ??= { runtime: load('runtime'), interpreter: load('interpreter') };
  return modules;
}

export interface Hostile {
  /** Source in this folder, without `.S`. */
  readonly guest: string;
  readonly scenario?: number;
  readonly seed?: bigint;
  readonly iterations?: number;
  readonly vcpus?: number;
  /** Slices that the hostile guest gets. */
  readonly slices?: number;
}

export interface Ending {
  /** SHUTDOWN_*, or undefined when it was still running at the bound or slept for ever. */
  readonly code: number | undefined;
  readonly reason: string;
  /** What it wrote to port 0xE9. */
  readonly output: string;
  readonly rounds: number;
  readonly error: number;
  readonly slices: number;
  readonly retired: number;
  /** What it wrote to its console ring. */
  readonly consoleBytes: number;
}

interface Guest {
  readonly domain: Domain;
  output: string;
  consoleBytes: number;
  detach(): void;
}

interface Machine {
  readonly host: MachineHost;
  readonly platform: Platform;
  readonly xenstored: Xenstored;
  readonly guests: Map<number, Guest>;
}

function createMachine(seed: number): Machine {
  const platform = createSimulatedPlatform(seed, createNodePlatform());
  const guests = new Map<number, Guest>();
  const xenstored = createXenstored();
  const host = createMachineHost({
    modules: engineModules(),
    platform,
    guestBytes: GUESTS_MAX * (GUEST_BYTES + (4 << 20)),
    vcpus: 16,
    earlyConsole(domain, character) {
      const guest = guests.get(domain.id);
      if (guest && guest.output.length < 4096) guest.output += String.fromCharCode(character);
    },
  });
  // The control domain's first frame of event channels stays: it is no loss.
  unbind(host.hypervisor, allocUnboundFor(controlDomain(host.hypervisor)));
  return { host, platform, xenstored, guests };
}

/** Ring page of a backend: machine address with a reference, so that the guest cannot take it away. */
function holdRing(domain: Domain, gfn: number): number {
  const address = addressOfGfn(domain, gfn);
  takeReference(domain.hypervisor, address >>> 12);
  return address;
}

function attachBackends(machine: Machine, guest: Guest): () => void {
  const { domain } = guest;
  const { hypervisor } = machine.host;
  const storePort = allocUnboundFor(domain);
  const consolePort = allocUnboundFor(domain);
  const store = holdRing(domain, SpecialPage.xenstore);
  const ring = holdRing(domain, SpecialPage.console);
  const { hvmParams } = domain.state;
  hvmParams.set(HvmParam.STORE_PFN, BigInt(SpecialPage.xenstore));
  hvmParams.set(HvmParam.STORE_EVTCHN, BigInt(storePort));
  hvmParams.set(HvmParam.CONSOLE_PFN, BigInt(SpecialPage.console));
  hvmParams.set(HvmParam.CONSOLE_EVTCHN, BigInt(consolePort));
  const storeBackend: number = bindToGuest(domain, storePort, () => connection.onEvent());
  const connection = machine.xenstored.introduceDomain({
    domid: domain.id,
    memory: hypervisor.memory,
    ringAddress: maddr(store),
    notify: () => void notify(hypervisor, storeBackend),
  });
  const consoleBackend: number = bindToGuest(domain, consolePort, () => channel.onEvent());
  const channel = createPrimaryConsole({
    domid: domain.id,
    memory: hypervisor.memory,
    ringAddress: maddr(ring),
    notify: () => void notify(hypervisor, consoleBackend),
    defer: task => task(),
  });
  channel.onData(bytes => {
    guest.consoleBytes += bytes.length;
  });
  writeDomainTree(machine.xenstored.client(), {
    domid: domain.id,
    name: `guest-${domain.id}`,
    uuid: '00000000-0000-0000-0000-000000000000',
    memoryKiB: GUEST_BYTES / 1024,
    memoryTargetKiB: GUEST_BYTES / 1024,
    vcpus: domain.vcpus.length,
    vcpusOnline: domain.vcpus.length,
    storeGfn: SpecialPage.xenstore,
    storePort,
  });
  return () => {
    channel.detach();
    machine.xenstored.releaseDomain(domain.id);
    unbind(hypervisor, storeBackend);
    unbind(hypervisor, consoleBackend);
    dropReference(hypervisor, store >>> 12);
    dropReference(hypervisor, ring >>> 12);
  };
}

function startGuest(machine: Machine, name: string, options: Hostile): Guest {
  const { hypervisor, processors, engine } = machine.host;
  const vcpus = options.vcpus ?? 1;
  const domain = createDomain(hypervisor, {
    p2mCount: 0x100000,
    maxPages: GUEST_BYTES / 4096 + 64,
    vcpus,
    tscKhz: TSC_KHZ,
  });
  const built = buildPvhDomain(builderMemory(domain), {
    memoryBytes: GUEST_BYTES,
    vcpus,
    kernel: microGuest(name),
    commandLine: '',
  });
  setMemoryMap(domain, built.memoryMap);
  const params = new Uint8Array(32);
  const view = new DataView(params.buffer);
  view.setUint32(Param.scenario, options.scenario ?? 0, true);
  view.setUint32(Param.iterations, options.iterations ?? 0, true);
  view.setBigUint64(Param.seed, options.seed ?? 0x2545f4914f6cdd1dn, true);
  assert.ok(writePhysical(domain, PARAMS, params));
  processors.attach(domain);
  for (const vcpu of domain.vcpus) engine.runtime.resetCpu(vcpu.state.block);
  const boot = domain.vcpus[0]!;
  setPvhEntryState(boot.block, built.entry, built.startInfo);
  engine.runtime.updateMode(boot.state.block);
  engine.runtime.selectTlb(boot.state.block);
  const guest: Guest = { domain, output: '', consoleBytes: 0, detach: () => {} };
  guest.detach = attachBackends(machine, guest);
  machine.guests.set(domain.id, guest);
  unpauseDomain(domain);
  return guest;
}

function parameter(domain: Domain, offset: number): number {
  const bytes = readPhysical(domain, PARAMS + offset, 4);
  return bytes === undefined ? -1 : new DataView(bytes.buffer).getUint32(0, true);
}

/** What a guest did, in words, when a check fails. */
function describe(guest: Guest): string {
  const { domain } = guest;
  const vcpus = domain.vcpus.map(v => `vCPU ${v.id} at 0x${v.block.rip.toString(16)}`).join(', ');
  const end = shutdownCode(domain);
  return `${guest.output} (error ${parameter(domain, Param.error)}, shutdown ${end} ${crashReason(domain)}; ${vcpus})`;
}

export async function runHostile(options: Hostile): Promise<Ending> {
  const machine = createMachine(1);
  const { hypervisor } = machine.host;
  const freeAtFirst = hypervisor.frames.nrFree;
  const listedAtFirst = listedFrames(machine);
  const witness = startGuest(machine, 'witness', { guest: 'witness' });
  const hostile = startGuest(machine, options.guest, options);
  const bound = options.slices ?? 200;
  const done = (guest: Guest) => shutdownCode(guest.domain) !== undefined;
  let slices = 0;
  /** One step of the machine; false when nothing will ever run again. */
  const step = async (): Promise<boolean> => {
    const outcome = runOne(hypervisor, SLICE_FUEL);
    machine.xenstored.pump();
    if (outcome.kind === 'ran') {
      if (outcome.vcpu.domain === hostile.domain) slices += 1;
      return true;
    }
    if (!Number.isFinite(outcome.waitNs)) return false;
    await machine.platform.pacer.idle(machine.platform.clock.monotonicNs() + outcome.waitNs);
    return true;
  };
  // The witness sleeps and wakes all the time, so a hostile guest that sleeps for ever is bounded by its rounds.
  while (!done(hostile) && slices < bound && parameter(witness.domain, Param.rounds) < bound * 4) {
    assert.ok(await step(), 'the machine stands still');
    assert.ok(!done(witness), `the witness: ${describe(witness)}`);
  }
  const rounds = parameter(witness.domain, Param.rounds);
  assert.ok(
    rounds >= Math.floor(slices / SLICES_PER_ROUND),
    `the witness had only ${rounds} rounds in ${slices} slices: ${describe(witness)}; other: ${describe(hostile)}`,
  );
  const ending: Ending = {
    code: shutdownCode(hostile.domain),
    reason: crashReason(hostile.domain),
    output: hostile.output,
    rounds: parameter(hostile.domain, Param.rounds),
    error: parameter(hostile.domain, Param.error),
    slices,
    retired: hostile.domain.vcpus.reduce((sum, v) => sum + Number(v.block.retired), 0),
    consoleBytes: hostile.consoleBytes,
  };
  // Two more rounds, and the end.
  for (let budget = 4000; budget > 0 && !done(witness); budget--) {
    if (parameter(witness.domain, Param.rounds) >= rounds + 2) {
      writePhysical(witness.domain, PARAMS + Param.stop, Uint8Array.of(1));
    }
    if (!(await step())) break;
  }
  assert.equal(witness.output, 'OK', `the witness: ${describe(witness)}; other: ${describe(hostile)}`);
  assert.equal(shutdownCode(witness.domain), 0);
  for (const guest of [hostile, witness]) {
    guest.detach();
    machine.host.processors.detach(guest.domain);
    destroyDomain(guest.domain);
    deliverEvents(hypervisor);
    machine.xenstored.pump();
  }
  assert.equal(hypervisor.domains.size, 1);
  assert.equal(
    hypervisor.frames.nrFree + listedFrames(machine),
    freeAtFirst + listedAtFirst,
    'frames are missing after both domains are gone',
  );
  return ending;
}

/** Frames in the hypervisor's list of free runs, which count as taken in the frame table. */
function listedFrames(machine: Machine): number {
  const { memory, state } = machine.host.hypervisor;
  let count = 0;
  for (let run = state.freeRuns; run !== 0; run = memory.u32[(run >>> 2) + 1]!)
    count += memory.u32[run >>> 2]!;
  return count;
}
