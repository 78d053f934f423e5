/**
 * Test kernels: built with gcc from the sources in this folder, run on Domus and on QEMU, their logs compared.
 *
 * A test kernel writes one line a case to port 0xE9. It ends with `end` and stops the processor.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PAGE_SIZE } from '../../src/base/brand.ts';
import { buildPvhDomain } from '../../src/hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../../src/hypervisor/builder/entry-state.ts';
import { createDomain } from '../../src/hypervisor/domain.ts';
import { builderMemory } from '../../src/hypervisor/guest-physical.ts';
import { crashReason, shutdownCode, unpauseDomain } from '../../src/hypervisor/life.ts';
import { createMachineHost, TSC_KHZ } from '../../src/hypervisor/machine-host.ts';
import { runOne } from '../../src/hypervisor/scheduler.ts';
import { readElfKernel } from '../../src/image/elf/kernel.ts';
import { createNodePlatform } from '../../src/platform/node/platform.ts';

const SOURCES = import.meta.dirname;
const DIST = join(SOURCES, '../../dist');
const MEMORY_BYTES = 64 << 20;

const has = (program: string): boolean =>
  (process.env.PATH ?? '').split(':').some(folder => existsSync(join(folder, program)));

/** Why these tests cannot run here, or undefined. */
export function missingTools(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'gcc for x86-64 is needed';
  if (!has('gcc') || !has('ld')) return 'gcc and ld are not installed';
  if (!existsSync(join(DIST, 'interpreter.wasm'))) return 'dist/ is not built';
  return undefined;
}

export const hasQemu = (): boolean => has('qemu-system-x86_64');

export interface TestKernel {
  readonly path: string;
  readonly remove: () => void;
}

export interface KernelOptions {
  readonly sources: readonly string[];
  /** Statements of C that call the parts. */
  readonly cases: string;
  /** Width of the kernel's own code, 64 when missing. */
  readonly bits?: 32 | 64 | undefined;
  /** More options for gcc. */
  readonly defines?: readonly string[];
}

/** @throws Error with gcc's words */
export function buildKernel({ sources, cases, bits = 64, defines = [] }: KernelOptions): TestKernel {
  const folder = mkdtempSync(join(tmpdir(), 'domus-system-'));
  const path = join(folder, 'kernel.elf');
  const flags = ['-ffreestanding', '-nostdlib', '-static', '-fno-pic', '-no-pie', '-fno-stack-protector'];
  const code = [
    '-mno-sse',
    '-mno-mmx',
    '-mgeneral-regs-only',
    '-fcf-protection=none',
    '-fno-asynchronous-unwind-tables',
  ];
  const strict = ['-O1', '-Wall', '-Werror', '-Wno-unused', '-fno-tree-loop-distribute-patterns'];
  const link = ['-T', join(SOURCES, 'kernel.ld'), '-Wl,--build-id=none', '-Wl,--no-warn-rwx-segments'];
  const files = sources.map(name => join(SOURCES, name));
  const mode = bits === 64 ? ['-m64', '-mno-red-zone'] : ['-m32'];
  execFileSync(
    'gcc',
    [...mode, ...flags, ...code, ...strict, ...defines, `-DCASES=${cases}`, ...link, '-o', path, ...files],
    { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 },
  );
  return { path, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

export interface RunResult {
  readonly lines: readonly string[];
  /** How it ended when it did not end by itself. */
  readonly problem?: string | undefined;
}

const wholeLines = (text: string): string[] => text.split('\n').filter(line => line !== '');

export function runOnDomus(kernelPath: string, vcpus = 1, limitMs = 60_000): RunResult {
  const moduleOf = (name: string) => new WebAssembly.Module(readFileSync(join(DIST, `${name}.wasm`)));
  const bytes: number[] = [];
  const host = createMachineHost({
    modules: { runtime: moduleOf('runtime'), interpreter: moduleOf('interpreter') },
    platform: createNodePlatform(),
    guestBytes: MEMORY_BYTES + (8 << 20),
    vcpus,
    earlyConsole: (_domain, character) => bytes.push(character),
  });
  const domain = createDomain(host.hypervisor, {
    p2mCount: 0x100000,
    maxPages: MEMORY_BYTES / PAGE_SIZE + 64,
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
  host.processors.attach(domain);
  const { runtime } = host.engine;
  for (const vcpu of domain.vcpus) runtime.resetCpu(vcpu.state.block);
  const first = domain.vcpus[0]!;
  setPvhEntryState(first.block, built.entry, built.startInfo);
  runtime.updateMode(first.state.block);
  runtime.selectTlb(first.state.block);
  unpauseDomain(domain);

  let problem: string | undefined = 'it does not end';
  const start = performance.now();
  while (performance.now() - start < limitMs) {
    const outcome = runOne(host.hypervisor);
    if (shutdownCode(domain) !== undefined) {
      const reason = crashReason(domain);
      problem = reason ? `crashed: ${reason}` : undefined;
      break;
    }
    if (outcome.kind === 'idle' && !Number.isFinite(outcome.waitNs)) {
      problem = undefined;
      break;
    }
  }
  const lines = wholeLines(new TextDecoder('latin1').decode(new Uint8Array(bytes)));
  if (problem === undefined && lines.at(-1) !== 'end') problem = 'it stopped before its end';
  return { lines, problem };
}

export function runOnQemu(kernelPath: string, vcpus = 1, limitMs = 60_000): RunResult {
  const accelerator = process.env.DOMUS_TEST_QEMU_ACCEL ?? 'tcg';
  const cpu =
    accelerator === 'kvm'
      ? 'host,-arch-capabilities'
      : 'max,vendor=AuthenticAMD,-la57,-umip,-pks,-pku,-xsaves';
  const machine = [
    '-accel',
    accelerator,
    '-cpu',
    cpu,
    '-M',
    'q35',
    '-m',
    `${MEMORY_BYTES >>> 20}`,
    '-smp',
    `${vcpus}`,
  ];
  const quiet = ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'];
  const devices = ['-debugcon', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=1'];
  const result = spawnSync('qemu-system-x86_64', [...machine, ...quiet, ...devices, '-kernel', kernelPath], {
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 256 << 20,
    timeout: limitMs,
  });
  const text = result.stdout.toString('latin1');
  const start = text.indexOf('begin\n');
  const lines = wholeLines(start < 0 ? text : text.slice(start));
  const ended = lines.at(-1) === 'end';
  return {
    lines,
    problem: ended ? undefined : `QEMU stopped early: ${result.stderr.toString().slice(0, 500)}`,
  };
}
