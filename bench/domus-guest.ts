/**
 * Runs one benchmark guest on Domus in a process of its own: `node domus-guest.ts ELF ARGUMENTS`. Times the rounds
 * between the marks that the guest writes to the early console, and prints a `DomusRun` as JSON.
 */
import { readFileSync } from 'node:fs';
import { retiredNow } from '../src/cpu/engine.ts';
import { buildPvhDomain } from '../src/hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../src/hypervisor/builder/entry-state.ts';
import { createDomain } from '../src/hypervisor/domain.ts';
import { crashReason, shutdownCode, unpauseDomain } from '../src/hypervisor/life.ts';
import { createMachineHost, TSC_KHZ } from '../src/hypervisor/machine-host.ts';
import { addressOfGfn, populateRange } from '../src/hypervisor/p2m.ts';
import { runOne } from '../src/hypervisor/scheduler.ts';
import { readElfKernel } from '../src/image/elf/kernel.ts';
import { createNodePlatform } from '../src/platform/node/platform.ts';

export interface DomusRun {
  readonly roundMs: readonly number[];
  /** Instructions of each round. */
  readonly retired: readonly number[];
  readonly text: string;
}

const MEMORY_BYTES = 64 << 20;
const PAGE = 4096;

function main(file: string, commandLine: string): DomusRun {
  const module = (name: string) =>
    new WebAssembly.Module(readFileSync(new URL(`../dist/${name}.wasm`, import.meta.url)));
  const marks: { ms: number; retired: number }[] = [];
  let text = '';
  const host = createMachineHost({
    modules: { runtime: module('runtime'), interpreter: module('interpreter') },
    platform: createNodePlatform(),
    guestBytes: MEMORY_BYTES + (8 << 20),
    vcpus: 1,
    earlyConsole(_domain, code) {
      const character = String.fromCharCode(code);
      if (character === 'B' || character === '.') {
        marks.push({ ms: performance.now(), retired: retiredNow(memory, vcpu.state.block) });
      } else text += character;
    },
  });
  const { memory } = host.hypervisor;
  const pages = MEMORY_BYTES / PAGE;
  const domain = createDomain(host.hypervisor, {
    p2mCount: 0x100000,
    maxPages: pages + 64,
    vcpus: 1,
    tscKhz: TSC_KHZ,
    console: true,
  });
  const built = buildPvhDomain(
    {
      populate: (first, count) => populateRange(domain, first, count),
      write(address, bytes) {
        for (let done = 0; done < bytes.length; ) {
          const within = (address + done) % PAGE;
          const size = Math.min(bytes.length - done, PAGE - within);
          const to = addressOfGfn(domain, Math.floor((address + done) / PAGE)) + within;
          memory.u8.set(bytes.subarray(done, done + size), to);
          done += size;
        }
      },
    },
    { memoryBytes: MEMORY_BYTES, vcpus: 1, kernel: readElfKernel(readFileSync(file)), commandLine },
  );
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
  return {
    roundMs: marks.slice(1).map((mark, i) => mark.ms - marks[i]!.ms),
    retired: marks.slice(1).map((mark, i) => mark.retired - marks[i]!.retired),
    text,
  };
}

process.stdout.write(`${JSON.stringify(main(process.argv[2]!, process.argv[3]!))}\n`);
