/**
 * Disks in the guest: fio, out of Debian's packages, on disks of each engine: Domus's blkfront, QEMU's virtio-blk, over files of the same
 * contents. Sequential and 4 KiB random, read and write, raw and VHD.
 */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { createImage } from '../src/disk/create.ts';
import { openDisk } from '../src/disk/open.ts';
import type { CpioEntry } from '../src/image/archive/cpio.ts';
import { openImageCache } from '../src/image/cache.ts';
import { obtainModules } from '../src/image/debian.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';
import { type BenchDisk, kernelFile, writeInitramfs } from './guest-image.ts';
import type { BenchOptions } from './options.ts';
import { obtainPackages } from './packages.ts';
import { ALL } from './result.ts';
import { isUsual, type Rival } from './rivals.ts';
import { type Outcome, runTournament, type Task } from './tournament.ts';

export const DISK_SUITE = 'disk';
const MIB = 2 ** 20;
/** More than the guest's memory would not tell more: nothing of it is cached there (O_DIRECT). */
const DISK_MIB = 256;
const MEMORY_MIB = 768;
/** Packages that fio's depend on, and it does not. */
const IS_LEFT_OUT = /^usr\/lib\/(.*\/)?(python|perl|libperl)/;
const FORMATS = ['raw', 'vhd'] as const;

interface Load {
  readonly name: string;
  readonly about: string;
  /** What is moved, in MiB. */
  readonly mib: number;
  readonly words: string;
}

const SEQUENTIAL = '--bs=1m --iodepth=4';
const RANDOM = '--bs=4k --iodepth=16 --randseed=7';
const LOADS: readonly Load[] = [
  { name: 'read', about: '1 MiB, 4 at a time', mib: 2048, words: `--rw=read ${SEQUENTIAL}` },
  { name: 'write', about: '1 MiB, 4 at a time', mib: 1024, words: `--rw=write ${SEQUENTIAL} --end_fsync=1` },
  { name: 'random-read', about: '4 KiB, 16 at a time', mib: 64, words: `--rw=randread ${RANDOM}` },
  {
    name: 'random-write',
    about: '4 KiB, 16 at a time',
    mib: 64,
    words: `--rw=randwrite ${RANDOM} --end_fsync=1`,
  },
];

export const DISK_PROGRAMS = LOADS.flatMap(load =>
  FORMATS.map((format, i) => ({ ...load, name: `${load.name}-${format}`, letter: 'ab'[i] as string })),
);

/** Around the transfers alone: fio itself takes long to start. What such a command prints goes into a file, hence the console. */
const mark = (when: string, word: string): string =>
  `--exec_${when}run="sh -c 'echo @${word} >/dev/console'"`;

function commandOf({ letter, words, mib }: (typeof DISK_PROGRAMS)[number], scale: number): string {
  const moved = Math.max(4, Math.round(mib * scale));
  return [
    'cd /tmp',
    `disk=$(ls /dev | grep -x 'x\\?vd${letter}')`,
    `fio --name=job --filename=/dev/$disk --size=${DISK_MIB}m --io_size=${moved}m ${words} --ioengine=libaio --direct=1 ` +
      `--thread --minimal ${mark('pre', 'begin')} ${mark('post', 'end')} >/tmp/result || { tail -n 3 /tmp/result; false; }`,
    // KiB that fio has read, and that it has written.
    "echo @check $(cut -d ';' -f 6,47 /tmp/result | tr ';' '+')",
  ].join(' && ');
}

/** Full of bytes that are no zeros, as a disk in use is. */
async function makeDisk(path: string, format: (typeof FORMATS)[number]): Promise<void> {
  const host = nodeDiskHost();
  await createImage(host, path, { format, sizeBytes: DISK_MIB * MIB });
  const disk = await openDisk(host, path);
  const piece = new Uint32Array(MIB / 4);
  for (let at = 0; at < DISK_MIB; at++) {
    for (let i = 0; i < piece.length; i++) piece[i] = Math.imul(at * piece.length + i, 2654435761);
    await disk.write(at * MIB, new Uint8Array(piece.buffer));
  }
  await disk.close();
}

export async function measureDisks(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
  say: (text: string) => void,
): Promise<Outcome> {
  const programs = DISK_PROGRAMS.filter(({ name }) => options.programs?.includes(name) ?? true);
  const guests = rivals.filter(rival => isUsual(rival) && rival.kind !== 'native');
  if (programs.length === 0) return { measurements: [], problems: [] };
  const cache = openImageCache();
  let packages: readonly CpioEntry[];
  try {
    const all = await obtainPackages(['fio'], say);
    packages = all.filter(({ name }) => !IS_LEFT_OUT.test(name));
  } catch (error) {
    const why = (error as Error).message;
    const problem = { suite: DISK_SUITE, program: ALL, engine: ALL, why, isFailure: false };
    return { measurements: [], problems: [problem] };
  }
  const disks: BenchDisk[] = [];
  for (const format of FORMATS) {
    const path = join(folder, `disk.${format}`);
    await makeDisk(path, format);
    const pathFor = (engine: string) => join(folder, `${engine}-disk.${format}`);
    for (const { name } of guests) copyFileSync(path, pathFor(name));
    disks.push({ format, pathFor });
  }
  const modules = await obtainModules({ cache }, ['xen-blkfront', 'virtio-pci', 'virtio-blk']);
  const tasks = programs.map(
    (each): Task => ({ suite: DISK_SUITE, program: each.name, command: commandOf(each, options.scale) }),
  );
  const initramfs = await writeInitramfs(join(folder, 'disk-initramfs'), [], packages, modules);
  return runTournament(tasks, {
    ...options,
    boot: { kernel: await kernelFile(folder, options.kernel), initramfs, nativeFolder: '', disks },
    rivals: guests,
    options: { ...options, memoryMib: Math.max(options.memoryMib, MEMORY_MIB), vcpus: 1 },
    say,
  });
}
