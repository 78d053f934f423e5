/** Who runs the programs: each CPU engine of Domus, QEMU's translator, and the host's own processor. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ENGINES } from '../src/toolstack/config.ts';
import { hasProgram } from './compiler.ts';
import type { CommandLine } from './engine-process.ts';
import { type BootFiles, busyboxProgram, DRIVER } from './guest-image.ts';
import { bareSession, openDriverSession, type Session } from './session.ts';

export const QEMU_MAX = 'qemu-max';

export interface RivalOptions {
  readonly memoryMib: number;
  readonly vcpus: number;
  /** More for the kernel's command line. */
  readonly append: string;
  readonly qemuMachine: string;
  readonly qemuCpu: string | undefined;
  /** For the processes that run Domus. */
  readonly nodeOptions: readonly string[];
}

export interface Rival {
  readonly name: string;
  readonly kind: 'domus' | 'qemu' | 'v86' | 'native';
  /** Why it cannot run here; undefined when it can. */
  missing(): string | undefined;
  /** Boots a guest with the driver. */
  commandLine(boot: BootFiles, options: RivalOptions): CommandLine;
  /** Starts one program without a system below it; undefined where that is no different. */
  bareCommandLine?(kernel: string, count: string, options: RivalOptions): CommandLine;
}

/** @throws Error when the guest does not come up */
export function openSession(
  rival: Rival,
  boot: BootFiles,
  options: RivalOptions,
): Promise<Session> | Session {
  const bare = rival.bareCommandLine;
  const folder = rival.kind === 'v86' ? boot.bare32Folder : boot.bareFolder;
  if (folder === undefined || bare === undefined) {
    return openDriverSession(rival.commandLine(boot, options));
  }
  return bareSession((program, count) => bare(join(folder, program), count, options));
}

export const QEMU = 'qemu-system-x86_64';
const BARE_GUEST = fileURLToPath(new URL('./bare-guest.ts', import.meta.url));
const V86_GUEST = fileURLToPath(new URL('./v86-guest.ts', import.meta.url));
export const DOMUS_CLI = fileURLToPath(new URL('../bin/domus.js', import.meta.url));
/** The kernel runs the same code everywhere: no self-tests, no workarounds for faults of one vendor's processors. */
export const KERNEL_WORDS = 'quiet loglevel=1 panic=-1 cryptomgr.notests mitigations=off';

const domus = (engine: string): Rival => ({
  name: engine,
  kind: 'domus',
  missing: () => undefined,
  commandLine: ({ kernel, initramfs, disks = [] }, options) => ({
    command: process.execPath,
    args: [
      ...options.nodeOptions,
      DOMUS_CLI,
      'run',
      '-q',
      '--engine',
      engine,
      '-m',
      `${options.memoryMib}M`,
      '--vcpus',
      String(options.vcpus),
      // QEMU gives each a thread by itself.
      ...(options.vcpus > 1 ? ['--pcpus', String(options.vcpus)] : []),
      '--kernel',
      kernel,
      '--initrd',
      initramfs,
      '--append',
      `${KERNEL_WORDS} ${options.append}`.trim(),
      ...disks.flatMap(({ format, pathFor }) => ['--disk', `${pathFor(engine)},format=${format}`]),
    ],
  }),
  bareCommandLine: (kernel, count, { nodeOptions }) => ({
    command: process.execPath,
    args: [...nodeOptions, BARE_GUEST, engine, kernel, count],
  }),
});

const cpuWords = (cpu: string | undefined) => (cpu === undefined ? [] : ['-cpu', cpu]);

const qemu = (name: string, cpu?: string): Rival => ({
  name,
  kind: 'qemu',
  missing: () => (hasProgram(QEMU) ? undefined : `there is no ${QEMU} (Debian package qemu-system-x86)`),
  commandLine: ({ kernel, initramfs, disks = [] }, options) => ({
    command: QEMU,
    args: [
      ...['-accel', options.vcpus > 1 ? 'tcg,thread=multi' : 'tcg'],
      ...['-M', options.qemuMachine, '-nodefaults', '-no-user-config', '-no-reboot'],
      ...cpuWords(cpu ?? options.qemuCpu),
      ...['-display', 'none', '-serial', 'stdio'],
      ...['-m', String(options.memoryMib), '-smp', String(options.vcpus)],
      ...['-kernel', kernel, '-initrd', initramfs],
      ...['-append', `console=ttyS0 ${KERNEL_WORDS} ${options.append}`.trim()],
      ...disks.flatMap(({ format, pathFor }) => [
        '-drive',
        `if=virtio,format=${format === 'vhd' ? 'vpc' : format},file=${pathFor(name)}`,
      ]),
    ],
  }),
  bareCommandLine: (kernel, count, options) => ({
    command: QEMU,
    args: [
      ...['-accel', 'tcg', '-M', options.qemuMachine, '-nodefaults', '-no-user-config', '-no-reboot'],
      ...cpuWords(cpu ?? options.qemuCpu),
      ...['-display', 'none', '-debugcon', 'stdio'],
      ...['-m', '64', '-kernel', kernel, '-append', count],
    ],
  }),
});

const SEABIOS = ['bios.bin', 'vgabios.bin'].map(name => `/usr/share/seabios/${name}`);

/** 32-bit only, so it runs the same sources bare, compiled for 32 bits with SSE2: a stand-in, not the same binaries. */
const v86: Rival = {
  name: 'v86',
  kind: 'v86',
  missing() {
    try {
      import.meta.resolve('v86');
    } catch {
      return 'the npm package v86 is not installed';
    }
    const bios = SEABIOS.find(file => !existsSync(file));
    return bios === undefined ? undefined : `there is no ${bios} (Debian package seabios)`;
  },
  commandLine() {
    throw new Error('v86 cannot run x86-64 Linux');
  },
  bareCommandLine: (kernel, count, { nodeOptions }) => ({
    command: process.execPath,
    args: [...nodeOptions, V86_GUEST, ...SEABIOS, kernel, count],
  }),
};

/** The same driver and the same executables, as processes of this machine. */
const native: Rival = {
  name: 'native',
  kind: 'native',
  missing: () =>
    process.platform === 'linux' && process.arch === 'x64' ? undefined : 'needs Linux on x86-64',
  commandLine: ({ nativeFolder, isRoot }) =>
    isRoot
      ? // Programs with libraries run below a root of their own, as an ordinary user may.
        {
          command: 'unshare',
          args: ['-r', '-R', nativeFolder, '/bin/busybox', 'sh', '/bench/driver'],
          isShell: true,
        }
      : {
          command: join(nativeFolder, 'busybox'),
          args: ['sh', join(nativeFolder, 'driver')],
          isShell: true,
        },
};

/** Runs the same x86-64 userland and kernel, and not for the sake of one suite. */
export const isUsual = ({ kind, name }: Rival): boolean => kind !== 'v86' && name !== QEMU_MAX;

export const RIVALS: readonly Rival[] = [
  ...ENGINES.filter(name => (name as string) !== 'lockstep').map(domus),
  qemu('qemu'),
  // The default processor has no AVX: for programs that need it.
  qemu(QEMU_MAX, 'max'),
  v86,
  native,
];

/** What the native rival needs beside the programs. */
export async function prepareNative(folder: string): Promise<void> {
  if (existsSync(join(folder, 'driver'))) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'busybox'), await busyboxProgram(), { mode: 0o755 });
  writeFileSync(join(folder, 'driver'), DRIVER);
}
