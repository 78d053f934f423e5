/**
 * Runs one bare program (programs/support/bare.c) on Domus in this process, without a toolstack around it:
 * `node bare-guest.ts ENGINE ELF COUNT`. What the guest writes to port 0xE9 goes to standard output as it comes; the number of
 * instructions between `@begin` and `@end` is added as a line `@retired N`.
 */
import { readFileSync, writeSync } from 'node:fs';
import { retiredNow } from '../src/cpu/engine.ts';
import { makerLink, startMaking } from '../src/cpu/translator/maker-thread.ts';
import { buildPvhDomain } from '../src/hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../src/hypervisor/builder/entry-state.ts';
import { createDomain } from '../src/hypervisor/domain.ts';
import { builderMemory } from '../src/hypervisor/guest-physical.ts';
import { crashReason, shutdownCode, unpauseDomain } from '../src/hypervisor/life.ts';
import { createMachineHost, TSC_KHZ } from '../src/hypervisor/machine-host.ts';
import { runOne } from '../src/hypervisor/scheduler.ts';
import { readElfKernel } from '../src/image/elf/kernel.ts';
import { createNodePlatform } from '../src/platform/node/platform.ts';
import { runNoOtherModules } from '../src/platform/node/wasm-compiler.ts';
import { checkEngine } from '../src/toolstack/config.ts';
import { engineModules } from '../src/toolstack/engine-modules.ts';

const MEMORY_BYTES = 64 << 20;
const PAGE = 4096;

function fail(error: unknown): never {
  throw error;
}

/** For tests of the machine code that is kept. */
const libraryFolder = process.env.DOMUS_BENCH_REGIONS;

runNoOtherModules();

async function main(engine: string, file: string, commandLine: string): Promise<void> {
  let line = '';
  let retiredAtBegin = 0;
  const modules = engineModules();
  const translates = checkEngine(engine) === 'translator';
  const making = translates
    ? startMaking({ runtime: modules.runtime, nrInstallers: 1, libraryFolder })
    : undefined;
  making?.onFailure(fail);
  const [link] = making?.links ?? [];
  const host = createMachineHost({
    modules,
    translates,
    makerLink: link && makerLink(link),
    platform: createNodePlatform(),
    guestBytes: MEMORY_BYTES + (8 << 20),
    vcpus: 1,
    earlyConsole(_domain, code) {
      line += String.fromCharCode(code);
      if (code !== 10) return;
      const retired = retiredNow(memory, vcpu.state.block);
      if (line === '@begin\n') retiredAtBegin = retired;
      if (line === '@end\n') line += `@retired ${retired - retiredAtBegin}\n`;
      writeSync(1, line);
      line = '';
    },
  });
  const { memory } = host.hypervisor;
  making?.begin(memory);
  const pages = MEMORY_BYTES / PAGE;
  const domain = createDomain(host.hypervisor, {
    p2mCount: 0x100000,
    maxPages: pages + 64,
    vcpus: 1,
    tscKhz: TSC_KHZ,
    console: true,
  });
  const built = buildPvhDomain(builderMemory(domain), {
    memoryBytes: MEMORY_BYTES,
    vcpus: 1,
    kernel: readElfKernel(readFileSync(file)),
    commandLine,
  });
  host.processors.attach(domain);
  const vcpu = domain.vcpus[0]!;
  const { block } = vcpu.state;
  host.engine.runtime.resetCpu(block);
  setPvhEntryState(vcpu.block, built.entry, built.startInfo);
  host.engine.runtime.updateMode(block);
  host.engine.runtime.selectTlb(block);
  unpauseDomain(domain);
  while (shutdownCode(domain) === undefined) {
    if (runOne(host.hypervisor).kind === 'idle') throw new Error('the guest sleeps');
  }
  const crash = crashReason(domain);
  if (crash) throw new Error(crash);
  if (libraryFolder) await making?.end();
}

await main(process.argv[2]!, process.argv[3]!, process.argv[4]!);
// Whoever started us reads our processor time and ends us.
setTimeout(() => process.exit(), 10_000);
