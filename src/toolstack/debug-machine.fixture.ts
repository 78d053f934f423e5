/** A machine for the tests of debugging: a real engine and hypervisor, and a run loop that a debugger can stop. */
import { gfn, maddr } from '../base/brand.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { buildPvhDomain } from '../hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../hypervisor/builder/entry-state.ts';
import { createDomain } from '../hypervisor/domain.ts';
import type { Notices } from '../hypervisor/hypervisor.ts';
import { shutdownCode, unpauseDomain } from '../hypervisor/life.ts';
import { createMachineHost, TSC_KHZ } from '../hypervisor/machine-host.ts';
import { addressOfGfn, populateRange } from '../hypervisor/p2m.ts';
import { runOne, stepVcpu } from '../hypervisor/scheduler.ts';
import { Pause } from '../hypervisor/state.ts';
import { readElfKernel } from '../image/elf/kernel.ts';
import { readAsset } from '../platform/node/files.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import type { DebugStop, DebugTarget } from './gdb-target.ts';

const SLICE = 200_000;

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
    guestBytes: options.memoryBytes + (8 << 20),
    notices: options.notices ?? {},
  });
  const { engine, hypervisor } = host;
  const { memory } = hypervisor;
  const domain = createDomain(hypervisor, {
    p2mCount: 0x10_0000,
    maxPages: options.memoryBytes / 4096 + 64,
    vcpus: options.vcpus,
    tscKhz: TSC_KHZ,
    console: true,
  });
  const write = (address: number, bytes: Uint8Array): void => {
    for (let done = 0; done < bytes.length; ) {
      const inPage = (address + done) & 4095;
      const size = Math.min(4096 - inPage, bytes.length - done);
      const at = addressOfGfn(domain, Math.floor((address + done) / 4096)) + inPage;
      memory.u8.set(bytes.subarray(done, done + size), at);
      done += size;
    }
  };
  let entry = options.entry ?? 0x10_0000;
  let startInfo = 0;
  if (options.kernel) {
    const built = buildPvhDomain(
      { populate: (first, count) => populateRange(domain, first, count), write },
      {
        memoryBytes: options.memoryBytes,
        vcpus: options.vcpus,
        kernel: readElfKernel(options.kernel),
        initrd: undefined,
        commandLine: options.commandLine ?? '',
      },
    );
    ({ entry, startInfo } = built);
  } else {
    populateRange(domain, gfn(0), options.memoryBytes / 4096);
    write(entry, options.code ?? new Uint8Array());
  }
  host.processors.attach(domain);
  for (const vcpu of domain.vcpus) engine.runtime.resetCpu(vcpu.state.block);
  const boot = domain.vcpus[0]!;
  setPvhEntryState(boot.block, entry, startInfo);
  engine.runtime.updateMode(boot.state.block);
  engine.runtime.selectTlb(boot.state.block);
  unpauseDomain(domain);

  let isRunning = false;
  let loop: Promise<void> = Promise.resolve();
  let onStop: (stop: DebugStop) => void = () => {};
  async function run(): Promise<void> {
    while (isRunning) {
      const outcome = runOne(hypervisor, SLICE);
      if (shutdownCode(domain) !== undefined) {
        isRunning = false;
        onStop({ kind: 'shutdown', isCrash: shutdownCode(domain) === 3 });
      } else if (outcome.kind === 'ran' && outcome.exit === Exit.breakpoint) {
        isRunning = false;
        onStop({ kind: 'breakpoint', vcpu: outcome.vcpu.id });
      } else if (outcome.kind === 'idle') {
        await platform.pacer.idle(platform.clock.monotonicNs() + Math.min(outcome.waitNs, 5e6));
      }
      await platform.pacer.breathe();
    }
  }
  const target: DebugTarget = {
    engine,
    vcpus: domain.vcpus.map(vcpu => ({
      id: vcpu.id,
      block: maddr(vcpu.state.block),
      isOnline: () => (vcpu.state.pauseFlags & Pause.down) === 0,
    })),
    stop() {
      isRunning = false;
      return loop;
    },
    resume() {
      if (isRunning) return;
      isRunning = true;
      loop = loop.then(run);
    },
    step(id) {
      const vcpu = domain.vcpus[id];
      if (vcpu) stepVcpu(vcpu, block => engine.step(block));
    },
    onStop(listener) {
      onStop = listener;
    },
    kill() {
      isRunning = false;
    },
  };
  return { target, domain, host };
}
