/**
 * Cold boot, from the start of the process to the output of a command, and to the end of the process: `domus run`, and QEMU TCG
 * with the same kernel, the same userland and the same parameters, whose init runs the command and powers off.
 */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { joinCpio, writeCpio } from '../src/image/archive/cpio.ts';
import { readKernel } from '../src/image/bzimage.ts';
import { baseInitramfs } from '../src/image/initramfs.ts';
import { cpuBetween } from './cpu-time.ts';
import { type CommandLine, startEngine } from './engine-process.ts';
import { busyboxProgram, kernelFile } from './guest-image.ts';
import type { BenchOptions } from './options.ts';
import type { Clock, Measurement, Problem } from './result.ts';
import { DOMUS_CLI, KERNEL_WORDS, QEMU, QEMU_MAX, type Rival } from './rivals.ts';
import type { Outcome } from './tournament.ts';

const TIMEOUT_MS = 90_000;
const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
echo @output
poweroff -f
`;

interface Boot {
  readonly engine: string;
  commandLine(): CommandLine;
}

/** Largest resident size so far of `pid` and its children; the kernel keeps it. 0 where /proc is missing. */
function peakBytes(pid: number): number {
  try {
    const own = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    let peak = Number(own?.[1] ?? 0) * 1024;
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      for (const child of readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ')) {
        if (child !== '') peak = Math.max(peak, peakBytes(Number(child)));
      }
    }
    return peak;
  } catch {
    return 0;
  }
}

const domusBoot = (
  engine: string,
  options: BenchOptions,
  env?: () => NodeJS.ProcessEnv,
): Boot['commandLine'] => {
  const kernel = options.kernel === undefined ? [] : ['--kernel', options.kernel];
  const words = [
    ...options.nodeOptions,
    DOMUS_CLI,
    'run',
    // A machine that is kept from an earlier run would not boot.
    '--no-snapshot',
    '-q',
    '--engine',
    engine,
    '-m',
    `${options.memoryMib}M`,
  ];
  const append = `${KERNEL_WORDS} ${options.append}`.trim();
  const args = [...words, ...kernel, '--append', append, '--', 'echo', '@output'];
  return () => ({ command: process.execPath, args, ...(env && { env: env() }) });
};

/** The ways in which QEMU starts a kernel: as a PC does, by the PVH entry, and on its smallest machine. */
async function qemuBoots(folder: string, options: BenchOptions): Promise<Boot[]> {
  const kernel = await kernelFile(folder, options.kernel);
  const vmlinux = join(folder, 'vmlinux');
  writeFileSync(vmlinux, readKernel(readFileSync(kernel)).elf);
  const initramfs = join(folder, 'boot-initramfs');
  const init = { type: 'file', name: 'init', mode: 0o755, data: new TextEncoder().encode(INIT) } as const;
  writeFileSync(initramfs, joinCpio(baseInitramfs(await busyboxProgram()), writeCpio([init])));
  const boot = (engine: string, machine: string, image: string): Boot => ({
    engine,
    commandLine: () => ({
      command: QEMU,
      args: [
        ...['-accel', 'tcg', '-M', machine, '-nodefaults', '-no-user-config', '-no-reboot'],
        ...(options.qemuCpu === undefined ? [] : ['-cpu', options.qemuCpu]),
        ...['-display', 'none', '-serial', 'stdio', '-m', String(options.memoryMib)],
        ...['-kernel', image, '-initrd', initramfs],
        ...['-append', `console=ttyS0 ${KERNEL_WORDS} ${options.append}`.trim()],
      ],
    }),
  });
  return [
    boot('qemu', options.qemuMachine, kernel),
    boot('qemu-pvh', options.qemuMachine, vmlinux),
    boot('qemu-microvm', 'microvm,isa-serial=on', vmlinux),
  ];
}

interface BootSample {
  readonly outputMs: number;
  /** Of elapsed time only. */
  readonly endMs?: number;
  readonly peakMib: number;
}

async function measureBoot(boot: Boot, clock: Clock): Promise<BootSample> {
  const engine = startEngine(boot.commandLine());
  const output = (await engine.until('@output', TIMEOUT_MS)).at(-1)!;
  const peakMib = peakBytes(engine.pid) / 2 ** 20;
  await engine.end(TIMEOUT_MS);
  const cpuMs = cpuBetween(new Map([[0, 0]]), output.cpu);
  if (clock === 'cpu' && cpuMs !== undefined) return { outputMs: cpuMs, peakMib };
  return { outputMs: output.atMs - engine.startMs, endMs: performance.now() - engine.startMs, peakMib };
}

export async function measureBoots(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
  say: (text: string) => void,
): Promise<Outcome> {
  const problems: Problem[] = [];
  // On a busy machine QEMU's microvm hangs now and then. That is a fact about QEMU and not a failure of ours.
  const failed = (engine: string, error: unknown) => {
    const why = (error as Error).message;
    problems.push({ suite: 'boot', program: 'output', engine, why, isFailure: !engine.startsWith('qemu') });
  };
  const boots: Boot[] = [];
  for (const { kind, name } of rivals) {
    if (name === QEMU_MAX) continue;
    if (kind === 'domus') boots.push({ engine: name, commandLine: domusBoot(name, options) });
    if (kind === 'qemu') boots.push(...(await qemuBoots(folder, options)));
    if (kind === 'domus' && options.isCold) {
      // Includes what the package client takes to fetch kernel and userland: a figure of this network as well.
      const env = () => ({ ...process.env, DOMUS_CACHE: mkdtempSync(join(folder, 'cache-')) });
      boots.push({ engine: `${name}, empty cache`, commandLine: domusBoot(name, options, env) });
    }
  }
  const samples = new Map<string, BootSample[]>();
  for (let turn = 1; turn <= options.repeat; turn++) {
    for (const boot of boots) {
      if (problems.some(({ engine }) => engine === boot.engine)) continue;
      try {
        const sample = await measureBoot(boot, options.clock);
        say(`boot: ${boot.engine} ${sample.outputMs.toFixed(0)} ms to the output`);
        samples.set(boot.engine, [...(samples.get(boot.engine) ?? []), sample]);
      } catch (error) {
        failed(boot.engine, error);
      }
    }
  }
  const measurements = [...samples].flatMap(([engine, list]): Measurement[] => {
    const common = { engine, better: 'lower' } as const;
    const times = { ...common, suite: 'boot', unit: 'ms' };
    const ends = list.flatMap(({ endMs }) => endMs ?? []);
    const peaks = list.map(({ peakMib }) => peakMib).filter(peak => peak > 0);
    return [
      { ...times, program: 'output', samples: list.map(({ outputMs }) => outputMs) },
      ...(ends.length === 0 ? [] : [{ ...times, program: 'end', samples: ends }]),
      ...(peaks.length === 0
        ? []
        : [{ ...common, suite: 'boot-memory', program: 'peak', unit: 'MiB', samples: peaks }]),
    ];
  });
  return { measurements, problems };
}
