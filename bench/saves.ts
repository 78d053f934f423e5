/**
 * Saving a guest and going on from what was saved: Domus, and QEMU TCG with `savevm` and `-loadvm`. The same kernel, memory, and
 * disk (its contents, as a VHD and as a qcow2). The guest has mounted the disk and waits; what goes on from there reads a file of it.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { convertDisk } from '../src/disk/convert.ts';
import { openDisk } from '../src/disk/open.ts';
import { readKernel } from '../src/image/bzimage.ts';
import { openImageCache } from '../src/image/cache.ts';
import { obtainModules } from '../src/image/debian.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';
import { Host } from '../src/toolstack/index.ts';
import { cpuBetween, cpuTimes } from './cpu-time.ts';
import { type CommandLine, startEngine } from './engine-process.ts';
import { kernelFile, writeInitramfs } from './guest-image.ts';
import type { BenchOptions } from './options.ts';
import { ALL, type Measurement } from './result.ts';
import { DOMUS_CLI, KERNEL_WORDS, QEMU, type Rival } from './rivals.ts';
import type { Outcome } from './tournament.ts';

export const SAVES_SUITE = 'saves';
export const SAVES_SIZE_SUITE = 'saves-size';
const TIMEOUT_MS = 120_000;
const DISK_MIB = 128;
const FILE_MIB = 8;
const USE = (device: string) => `mkdir -p /mnt && mount -t ext4 /dev/${device} /mnt && md5sum /mnt/file`;
/** What a guest is asked when it goes on, by what it is called here. */
const ANSWERS: Readonly<Record<string, string>> = {
  'load to an echo': 'echo @output',
  [`load to ${FILE_MIB} MiB read`]: 'md5sum </mnt/file >/tmp/sum && echo @output',
};

/** What one engine took; in ms, by the clock that was asked for, and MiB. */
interface Taken {
  readonly saveMs: number[];
  readonly loadMs: Map<string, number[]>;
  readonly sizeMib: number[];
}

const mib = (bytes: number): number => bytes / 2 ** 20;
/** What files take on the host. */
const allocated = (path: string): number => statSync(path).blocks * 512;

/** A raw disk with an ext4 that has one file. */
function makeDisk(folder: string): string {
  const path = join(folder, 'saves.raw');
  const contents = join(folder, 'saves-contents');
  spawnSync('mkdir', [contents]);
  const bytes = new Uint32Array((FILE_MIB << 20) / 4);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(i, 2654435761);
  writeFileSync(join(contents, 'file'), bytes);
  writeFileSync(path, '');
  truncateSync(path, DISK_MIB << 20);
  const made = spawnSync('mke2fs', ['-q', '-t', 'ext4', '-d', contents, path], { encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`mke2fs (Debian package e2fsprogs): ${made.stderr ?? made.error}`);
  return path;
}

/** From the start of a process to the answer of the guest that it goes on with. */
async function untilAnswer(line: CommandLine, input: string, { clock }: BenchOptions): Promise<number> {
  const engine = startEngine(line);
  if (input !== '') engine.write(input);
  const output = (await engine.until('@output', TIMEOUT_MS)).at(-1);
  const cpuMs = cpuBetween(new Map([[0, 0]]), output?.cpu) ?? Number.NaN;
  const wallMs = (output?.atMs ?? Number.NaN) - engine.startMs;
  await engine.end(0);
  return clock === 'cpu' ? cpuMs : wallMs;
}

async function goOn(
  { loadMs }: Taken,
  { repeat }: BenchOptions,
  answered: (answer: string) => Promise<number>,
): Promise<void> {
  for (const [name, answer] of Object.entries(ANSWERS)) {
    const samples: number[] = [];
    for (let i = 0; i < repeat; i++) samples.push(await answered(answer));
    loadMs.set(name, samples);
  }
}

async function domus(folder: string, raw: string, engine: string, options: BenchOptions): Promise<Taken> {
  const disk = join(folder, `saves-${engine}.vhd`);
  const disks = nodeDiskHost();
  const source = await openDisk(disks, raw, { isReadOnly: true });
  await convertDisk(disks, source, disk, { format: 'vhd' });
  await source.close();
  const name = `${engine}.sav`;
  const file = join(folder, name);
  const taken: Taken = { saveMs: [], loadMs: new Map(), sizeMib: [] };
  {
    await using host = await Host.open();
    await using vm = await host.create({
      memory: `${options.memoryMib}M`,
      engine,
      append: `${KERNEL_WORDS} ${options.append}`.trim(),
      disks: [disk],
      ...(options.kernel !== undefined && { kernel: options.kernel }),
    });
    const { exitCode } = await vm.exec(USE('xvda'));
    if (exitCode !== 0) throw new Error('the guest cannot use its disk');
    for (let i = 0; i < options.repeat; i++) {
      const [startMs, before] = [performance.now(), process.cpuUsage()];
      await vm.save(file, { isDurable: false });
      const { user, system } = process.cpuUsage(before);
      taken.saveMs.push(options.clock === 'cpu' ? (user + system) / 1000 : performance.now() - startMs);
      const beside = readdirSync(folder).find(each => each.startsWith(`${name}.disks-`)) ?? '';
      const kept = readdirSync(join(folder, beside)).filter(each => each.endsWith('.vhd'));
      const sizes = beside === '' ? [] : kept.map(each => allocated(join(folder, beside, each)));
      taken.sizeMib.push(mib(sizes.reduce((sum, size) => sum + size, allocated(file))));
    }
  }
  const words = [...options.nodeOptions, DOMUS_CLI, 'run', '-q', '--engine', engine, '--from', file];
  await goOn(taken, options, answer => {
    const line = { command: process.execPath, args: [...words, '--', 'sh', '-c', answer] };
    return untilAnswer(line, '', options);
  });
  return taken;
}

/** Say something to QEMU's monitor, and wait until it is done. */
function monitor(path: string, command: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = '';
    let isSent = false;
    // It ends with QEMU.
    socket.on('close', () => resolve());
    socket.on('error', reject).on('data', chunk => {
      text += chunk;
      if (!text.endsWith('(qemu) ')) return;
      text = '';
      if (isSent) {
        socket.end();
        resolve();
      } else {
        isSent = true;
        socket.write(`${command}\n`);
      }
    });
  });
}

async function qemu(folder: string, raw: string, options: BenchOptions): Promise<Taken> {
  const kernel = await kernelFile(folder, options.kernel);
  const vmlinux = join(folder, 'saves-vmlinux');
  writeFileSync(vmlinux, readKernel(readFileSync(kernel)).elf);
  const modules = await obtainModules({ cache: openImageCache() }, ['virtio-pci', 'virtio-blk']);
  const initramfs = await writeInitramfs(join(folder, 'saves-initramfs'), [], [], modules);
  const [disk, socket] = [join(folder, 'saves.qcow2'), join(folder, 'monitor')];
  spawnSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, disk]);
  const before = allocated(disk);
  const args = [
    ...['-accel', 'tcg', '-M', options.qemuMachine, '-nodefaults', '-no-user-config', '-display', 'none'],
    ...(options.qemuCpu === undefined ? [] : ['-cpu', options.qemuCpu]),
    ...['-m', String(options.memoryMib), '-serial', 'stdio', '-monitor', `unix:${socket},server,nowait`],
    // Nothing is waited for that has to reach the medium, as with Domus here.
    ...['-drive', `if=none,id=data,format=qcow2,cache=unsafe,file=${disk}`],
    ...['-device', 'virtio-blk-pci,drive=data'],
    ...['-kernel', vmlinux, '-initrd', initramfs],
    ...['-append', `console=ttyS0 ${KERNEL_WORDS} ${options.append}`.trim()],
  ];
  const taken: Taken = { saveMs: [], loadMs: new Map(), sizeMib: [] };
  const engine = startEngine({ command: QEMU, args });
  await engine.until('@ready', TIMEOUT_MS);
  engine.write(USE('vda'));
  const exit = (await engine.until('@exit', TIMEOUT_MS)).at(-1)?.text;
  if (exit !== '@exit 0') throw new Error(`the guest cannot use its disk: ${exit}`);
  for (let i = 0; i < options.repeat; i++) {
    const [startMs, cpuBefore] = [performance.now(), cpuTimes(engine.pid)];
    await monitor(socket, 'savevm warm');
    const cpuMs = cpuBetween(cpuBefore, cpuTimes(engine.pid)) ?? Number.NaN;
    taken.saveMs.push(options.clock === 'cpu' ? cpuMs : performance.now() - startMs);
    // A second one takes other places of the file.
    if (i === 0) taken.sizeMib.push(mib(allocated(disk) - before));
  }
  await monitor(socket, 'quit').catch(() => {});
  await engine.end(5000);
  const line = { command: QEMU, args: [...args, '-loadvm', 'warm'] };
  await goOn(taken, options, answer => untilAnswer(line, answer, options));
  return taken;
}

function measurementsOf(engine: string, { saveMs, loadMs, sizeMib }: Taken): Measurement[] {
  const common = { engine, better: 'lower' } as const;
  return [
    { ...common, suite: SAVES_SUITE, program: 'save', unit: 'ms', samples: saveMs },
    ...[...loadMs].map(
      ([program, samples]): Measurement => ({ ...common, suite: SAVES_SUITE, program, unit: 'ms', samples }),
    ),
    { ...common, suite: SAVES_SIZE_SUITE, program: 'file', unit: 'MiB', samples: sizeMib },
  ];
}

export async function measureSaves(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
  say: (text: string) => void,
): Promise<Outcome> {
  const failed = (engine: string, why: string, isFailure: boolean): Outcome => ({
    measurements: [],
    problems: [{ suite: SAVES_SUITE, program: ALL, engine, why, isFailure }],
  });
  let raw: string;
  try {
    raw = makeDisk(folder);
  } catch (error) {
    return failed(ALL, (error as Error).message, false);
  }
  const outcomes: Outcome[] = [];
  for (const { kind, name } of rivals) {
    if (kind !== 'domus' && name !== 'qemu') continue;
    say(`saves: ${name}`);
    try {
      const taken = await (kind === 'domus' ? domus(folder, raw, name, options) : qemu(folder, raw, options));
      outcomes.push({ measurements: measurementsOf(name, taken), problems: [] });
    } catch (error) {
      outcomes.push(failed(name, (error as Error).message, true));
    }
  }
  return {
    measurements: outcomes.flatMap(({ measurements }) => measurements),
    problems: outcomes.flatMap(({ problems }) => problems),
  };
}
