/** A machine for the tests of debugging: a real engine and hypervisor, and a run loop that a debugger can stop. */
import { SHUTDOWN_crash } from '../abi/xen/sched.ts';
import { gfn } from '../base/brand.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { buildPvhDomain } from '../hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../hypervisor/builder/entry-state.ts';
import { createDomain } from '../hypervisor/domain.ts';
import { builderMemory } from '../hypervisor/guest-physical.ts';
import type { Notices } from '../hypervisor/hypervisor.ts';
import { pauseDomain, shutdownCode, unpauseDomain } from '../hypervisor/life.ts';
import { createMachineHost, TSC_KHZ } from '../hypervisor/machine-host.ts';
import { populateRange } from '../hypervisor/p2m.ts';
import { runOne } from '../hypervisor/scheduler.ts';
import { readElfKernel } from '../image/elf/kernel.ts';
import { readAsset } from '../platform/node/files.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import { debugDomain } from './gdb-domain.ts';

const SLICE = 200_000;
const IDLE_MAX_NS = 5e6;

export interface DebugMachineOptions {
  /** Either an ELF kernel or bytes of 32-bit code that are put at `entry`. */
  readonly kernel?: Uint8Array;
  readonly code?: Uint8Array;
  readonly entry?: number;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly commandLine?: string;
  readonly notices?: Notices;
}

let modules: { runtime: WebAssembly.Module; interpreter: WebAssembly.Module } | undefined;

export function createDebugMachine(options: DebugMachineOptions) {
  modules ??= {
    runtime: new WebAssembly.Module(readAsset('runtime.wasm')),
    interpreter: new WebAssembly.Module(readAsset('interpreter.wasm')),
  };
  const platform = createNodePlatform();
  const host = createMachineHost({
    modules,
    platform,
    vcpus: options.vcpus,
    guestBytes: options.memoryBytes + (8 << 20),
    notices: options.notices ?? {},
  });
  const { engine, hypervisor } = host;
  const domain = createDomain(hypervisor, {
    p2mCount: 0x10_0000,
    maxPages: options.memoryBytes / 4096 + 64,
    vcpus: options.vcpus,
    tscKhz: TSC_KHZ,
    console: true,
  });
  const guestMemory = builderMemory(domain);
  let entry = options.entry ?? 0x10_0000;
  let startInfo = 0;
  if (options.kernel) {
    const built = buildPvhDomain(guestMemory, {
      memoryBytes: options.memoryBytes,
      vcpus: options.vcpus,
      kernel: readElfKernel(options.kernel),
      initrd: undefined,
      commandLine: options.commandLine ?? '',
    });
    ({ entry, startInfo } = built);
  } else {
    populateRange(domain, gfn(0), options.memoryBytes / 4096);
    guestMemory.write(entry, options.code ?? new Uint8Array());
  }
  host.processors.attach(domain);
  for (const vcpu of domain.vcpus) engine.runtime.resetCpu(vcpu.state.block);
  const boot = domain.vcpus[0]!;
  setPvhEntryState(boot.block, entry, startInfo);
  engine.runtime.updateMode(boot.state.block);
  engine.runtime.selectTlb(boot.state.block);

  let isRunning = false;
  let loop: Promise<void> = Promise.resolve();
  async function run(): Promise<void> {
    while (isRunning) {
      const outcome = runOne(hypervisor, SLICE);
      if (shutdownCode(domain) !== undefined) {
        isRunning = false;
        target.stopped({ kind: 'shutdown', isCrash: shutdownCode(domain) === SHUTDOWN_crash });
      } else if (outcome.kind === 'ran' && outcome.exit === Exit.breakpoint) {
        isRunning = false;
        pauseDomain(domain);
        target.stopped({ kind: 'breakpoint', vcpu: outcome.vcpu.id });
      } else if (outcome.kind === 'idle') {
        await platform.pacer.idle(platform.clock.monotonicNs() + Math.min(outcome.waitNs, IDLE_MAX_NS));
      }
      await platform.pacer.breathe();
    }
  }
  const target = debugDomain({
    engine,
    domain,
    async pause() {
      const wasRunning = isRunning;
      isRunning = false;
      platform.pacer.wake();
      await loop;
      if (wasRunning) pauseDomain(domain);
    },
    resume() {
      if (isRunning) return;
      isRunning = true;
      unpauseDomain(domain);
      loop = loop.then(run);
    },
    kill() {
      isRunning = false;
    },
  });
  return { target, domain, host };
}
