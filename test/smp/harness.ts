/** Test kernels (test/system) with their vCPUs on several pCPUs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EngineModules } from '../../src/cpu/engine.ts';
import { startMaking } from '../../src/cpu/translator/maker-thread.ts';
import { buildPvhDomain } from '../../src/hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../../src/hypervisor/builder/entry-state.ts';
import { cpuPolicy } from '../../src/hypervisor/cpuid-policy.ts';
import { createDomain } from '../../src/hypervisor/domain.ts';
import { builderMemory } from '../../src/hypervisor/guest-physical.ts';
import type { Domain } from '../../src/hypervisor/hypervisor.ts';
import { crashReason, pauseDomain, shutdownCode, unpauseDomain } from '../../src/hypervisor/life.ts';
import { createMachineHost, TSC_KHZ } from '../../src/hypervisor/machine-host.ts';
import { type Pcpus, startPcpus } from '../../src/hypervisor/pcpus.ts';
import type { StoredPages } from '../../src/hypervisor/sharing/stored-pages.ts';
import { readElfKernel } from '../../src/image/elf/kernel.ts';
import { machineHeader } from '../../src/machine/header.ts';
import type { MachineMemory } from '../../src/machine/memory.ts';
import { createNodePlatform } from '../../src/platform/node/platform.ts';
import type { RunResult } from '../system/harness.ts';

const DIST = join(import.meta.dirname, '../../dist');
const MEMORY_BYTES = 64 << 20;

export interface ParallelRun {
  readonly domain: Domain;
  readonly threads: Pcpus;
  readonly memory: MachineMemory;
  /** Hold the hypervisor's lock for a call. */
  locked<T>(task: () => T): T;
  /** What the kernel has written to port 0xE9. */
  output(): string;
  failure(): unknown;
  stop(): Promise<void>;
}

const moduleOf = (name: string) => new WebAssembly.Module(readFileSync(join(DIST, `${name}.wasm`)));

export interface ParallelOptions {
  /** What the pCPUs get instead of the modules that this thread has. */
  readonly pcpuModules?: EngineModules;
  readonly translates?: boolean;
  /** Jumps to a place until it is translated. */
  readonly hotJumps?: number;
  /** Contents of shared pages. */
  readonly store?: StoredPages;
}

export async function startOnPcpus(
  kernelPath: string,
  vcpus: number,
  pcpus: number,
  { pcpuModules, translates = true, hotJumps, store }: ParallelOptions = {},
): Promise<ParallelRun> {
  const modules = { runtime: moduleOf('runtime'), interpreter: moduleOf('interpreter') };
  const platform = createNodePlatform();
  const policy = cpuPolicy();
  let failure: unknown;
  const fail = (error: unknown) => {
    failure ??= error;
  };
  const making = translates ? startMaking({ runtime: modules.runtime, nrInstallers: pcpus }) : undefined;
  making?.onFailure(fail);
  const host = createMachineHost({
    modules,
    translates: false,
    platform,
    policy,
    guestBytes: MEMORY_BYTES + (8 << 20),
    vcpus,
    parallel: { pcpu: 0 },
    store,
  });
  const { hypervisor, processors, engine } = host;
  making?.begin(hypervisor.memory);
  const domain = createDomain(hypervisor, {
    p2mCount: 0x100000,
    maxPages: MEMORY_BYTES / 4096 + 64,
    vcpus,
    tscKhz: TSC_KHZ,
    console: true,
  });
  const built = buildPvhDomain(builderMemory(domain), {
    memoryBytes: MEMORY_BYTES,
    vcpus,
    kernel: readElfKernel(readFileSync(kernelPath)),
    commandLine: '',
  });
  processors.attach(domain);
  for (const vcpu of domain.vcpus) engine.runtime.resetCpu(vcpu.state.block);
  const first = domain.vcpus[0]!;
  setPvhEntryState(first.block, built.entry, built.startInfo);
  engine.runtime.updateMode(first.state.block);
  engine.runtime.selectTlb(first.state.block);

  let text = '';
  const threads = startPcpus({
    host,
    count: pcpus,
    modules: pcpuModules ?? modules,
    policy,
    clock: platform.clock,
    called: () => {},
    makers: making?.links ?? [],
    failed: fail,
    earlyConsole: (_domain, character) => {
      text += String.fromCharCode(character);
    },
  });
  const locked = <T>(task: () => T): T => hypervisor.parallel!.lock.during(task);
  await threads.ready;
  if (hotJumps !== undefined) machineHeader(hypervisor.memory).hotJumps = hotJumps;
  if (!failure) locked(() => unpauseDomain(domain));
  return {
    domain,
    threads,
    memory: hypervisor.memory,
    locked,
    output: () => text,
    failure: () => failure,
    async stop() {
      if (!failure) {
        locked(() => pauseDomain(domain));
        threads.awaitStopped(domain);
      }
      await threads.stop();
      await making?.end();
    },
  };
}

/** Let it run until the kernel has written `end`; `meanwhile` is called every few milliseconds. */
export async function runToEnd(
  run: ParallelRun,
  meanwhile: () => void = () => {},
  limitMs = 300_000,
): Promise<RunResult> {
  let problem: string | undefined = 'it does not end';
  try {
    for (const start = performance.now(); performance.now() - start < limitMs; ) {
      await sleep(5);
      if (run.failure()) throw run.failure();
      if (run.output().endsWith('end\n')) {
        problem = undefined;
        break;
      }
      if (run.locked(() => shutdownCode(run.domain)) !== undefined) {
        problem = `it stopped before its end: ${crashReason(run.domain)}`;
        break;
      }
      meanwhile();
    }
  } finally {
    await run.stop();
  }
  return {
    lines: run
      .output()
      .split('\n')
      .filter(line => line !== ''),
    problem,
  };
}
