/** Test kernels (test/system) with their vCPUs on several pCPUs. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildPvhDomain } from '../../src/hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../../src/hypervisor/builder/entry-state.ts';
import { cpuPolicy } from '../../src/hypervisor/cpuid-policy.ts';
import { createDomain } from '../../src/hypervisor/domain.ts';
import { builderMemory } from '../../src/hypervisor/guest-physical.ts';
import { crashReason, pauseDomain, shutdownCode, unpauseDomain } from '../../src/hypervisor/life.ts';
import { createMachineHost, TSC_KHZ } from '../../src/hypervisor/machine-host.ts';
import { startPcpus } from '../../src/hypervisor/pcpus.ts';
import { readElfKernel } from '../../src/image/elf/kernel.ts';
import { createNodePlatform } from '../../src/platform/node/platform.ts';
import type { RunResult } from '../system/harness.ts';

const DIST = join(import.meta.dirname, '../../dist');
const MEMORY_BYTES = 64 << 20;

export const isBuilt = (): boolean => existsSync(join(DIST, 'interpreter.wasm'));

/** Run until the kernel has written `end`. */
export async function runOnPcpus(
  kernelPath: string,
  vcpus: number,
  pcpus: number,
  limitMs = 120_000,
): Promise<RunResult> {
  const moduleOf = (name: string) => new WebAssembly.Module(readFileSync(join(DIST, `${name}.wasm`)));
  const modules = { runtime: moduleOf('runtime'), interpreter: moduleOf('interpreter') };
  const platform = createNodePlatform();
  const policy = cpuPolicy();
  const host = createMachineHost({
    modules,
    platform,
    policy,
    guestBytes: MEMORY_BYTES + (8 << 20),
    vcpus,
    parallel: { pcpu: 0 },
  });
  const { hypervisor, processors, engine } = host;
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
  let failure: unknown;
  const threads = startPcpus({
    host,
    count: pcpus,
    modules,
    policy,
    clock: platform.clock,
    called: () => {},
    failed: error => {
      failure ??= error;
    },
    earlyConsole: (_domain, character) => {
      text += String.fromCharCode(character);
    },
  });
  const locked = <T>(task: () => T): T => hypervisor.parallel!.lock.during(task);
  try {
    await threads.ready;
    locked(() => unpauseDomain(domain));
    let problem: string | undefined = 'it does not end';
    for (const start = performance.now(); performance.now() - start < limitMs; ) {
      await sleep(5);
      if (failure) throw failure;
      if (text.endsWith('end\n')) {
        problem = undefined;
        break;
      }
      if (locked(() => shutdownCode(domain)) !== undefined) {
        problem = `it stopped before its end: ${crashReason(domain)}`;
        break;
      }
    }
    return { lines: text.split('\n').filter(line => line !== ''), problem };
  } finally {
    if (!failure) {
      locked(() => pauseDomain(domain));
      threads.awaitStopped(domain);
    }
    await threads.stop();
  }
}
