/**
 * The userland in which programs run: busybox, a driver, and the programs. The driver is a shell script that obeys lines on its
 * standard input. It is the same in a guest, where it is the first process and standard input is the console, and on the host.
 *
 * What the host sees on standard output are lines: `@ready`, for each command whatever it says of itself (`@begin`, `@end`,
 * `@check HEX`), and `@exit CODE`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type CpioEntry, joinCpio, writeCpio } from '../src/image/archive/cpio.ts';
import { openImageCache } from '../src/image/cache.ts';
import { obtainBusybox, obtainKernel } from '../src/image/debian.ts';
import { loadModules } from '../src/image/guest-init/load-modules.ts';
import { baseInitramfs } from '../src/image/initramfs.ts';
import type { KernelModule } from '../src/image/modules.ts';

export const DRIVER = `export BENCH="\${0%/*}"
echo @ready
while read -r line; do
  [ "$line" = quit ] && break
  sh -c "$line" </dev/null 2>&1
  echo "@exit $?"
done
`;

/** `bench_address` and `bench_serves` are words of the kernel's command line, for guests with a network. */
const INIT = `#!/bin/sh
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=1777 tmpfs /tmp
${loadModules('/modules')}if [ "$bench_address" ]; then
  ip link set lo up
  ip link set eth0 up
  ip address add "$bench_address/24" dev eth0
  ip route add default via "\${bench_address%.*}.2"
fi
[ -z "$bench_serves" ] || iperf3 -s >/dev/null
stty raw -echo
sh /bench/driver
poweroff -f
`;

const encoder = new TextEncoder();
const script = (name: string, text: string): CpioEntry => ({
  type: 'file',
  name,
  mode: 0o755,
  data: encoder.encode(text),
});

/** A disk of a guest: the file of each engine. They are given in this order. */
export interface BenchDisk {
  readonly format: 'raw' | 'vhd';
  pathFor(engine: string): string;
}

export interface BootFiles {
  readonly kernel: string;
  readonly initramfs: string;
  /** Where driver, busybox and programs are on the host. */
  readonly nativeFolder: string;
  /** `nativeFolder` is a whole file system, that of the guest. */
  readonly isRoot?: boolean;
  /** Where the programs are as kernels, when they are to run bare. */
  readonly bareFolder?: string;
  /** Where they are as 32-bit kernels. */
  readonly bare32Folder?: string;
  readonly disks?: readonly BenchDisk[];
}

export const busyboxProgram = async (): Promise<Uint8Array> =>
  (await obtainBusybox({ cache: openImageCache() })).contents;

/** The kernel that `domus run` takes, as a file. */
export async function kernelFile(folder: string, given?: string): Promise<string> {
  if (given !== undefined) return given;
  const file = join(folder, 'vmlinuz');
  writeFileSync(file, (await obtainKernel({ cache: openImageCache() })).contents);
  return file;
}

/** The userland with programs under /bench and more files on top of it. */
export async function writeInitramfs(
  file: string,
  programs: readonly string[],
  more: readonly CpioEntry[] = [],
  modules: readonly KernelModule[] = [],
): Promise<string> {
  const entries: CpioEntry[] = [
    { type: 'directory', name: 'bench', mode: 0o755 },
    { type: 'directory', name: 'modules', mode: 0o755 },
    ...modules.map(
      ({ name, contents }, i): CpioEntry => ({
        type: 'file',
        // Numbered, because the shell sorts what it finds.
        name: `modules/${String(i).padStart(2, '0')}-${name}.ko`,
        mode: 0o644,
        data: contents,
      }),
    ),
    ...more,
    script('init', INIT),
    script('bench/driver', DRIVER),
    ...programs.map(
      (path): CpioEntry => ({
        type: 'file',
        name: `bench/${basename(path)}`,
        mode: 0o755,
        data: readFileSync(path),
      }),
    ),
  ];
  writeFileSync(file, joinCpio(baseInitramfs(await busyboxProgram()), writeCpio(entries)));
  return file;
}
