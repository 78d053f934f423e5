/**
 * Boot time: `domus run -- true` from the start of the process to its end, and QEMU TCG with the same kernel and the
 * same userland, whose init runs `true` and powers off.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { joinCpio, writeCpio } from '../src/image/archive/cpio.ts';
import { readKernel } from '../src/image/bzimage.ts';
import { openImageCache } from '../src/image/cache.ts';
import { obtainBusybox, obtainKernel } from '../src/image/debian.ts';
import { baseInitramfs } from '../src/image/initramfs.ts';
import { QEMU, QEMU_MACHINE } from './engines.ts';
import { type Finished, lastLines, runProcess } from './process.ts';
import type { Metric } from './result.ts';
import { summarize } from './statistics.ts';

export interface BootOptions {
  readonly folder: string;
  readonly runs: number;
  readonly hasQemu: boolean;
  readonly kernel?: string | undefined;
  /** More for the kernel's command line, the same on both. */
  readonly append: string;
  readonly cold: boolean;
  readonly nodeOptions: readonly string[];
  readonly say: (text: string) => void;
}

const TIMEOUT_MS = 180_000;
const MEMORY_MIB = 512;
const CLI = fileURLToPath(new URL('../bin/domus.js', import.meta.url));
const INIT =
  '#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t devtmpfs dev /dev\n/bin/true\npoweroff -f\n';

type Boot = () => Promise<Finished>;

async function kernelFile(folder: string, given: string | undefined): Promise<string> {
  if (given !== undefined) return given;
  const file = join(folder, 'vmlinuz');
  writeFileSync(file, (await obtainKernel({ cache: openImageCache() })).contents);
  return file;
}

/** The userland of `domus run`, with another init on top. */
async function initramfsFile(folder: string): Promise<string> {
  const { contents } = await obtainBusybox({ cache: openImageCache() });
  const init = new TextEncoder().encode(INIT);
  const file = join(folder, 'initramfs');
  writeFileSync(
    file,
    joinCpio(baseInitramfs(contents), writeCpio([{ type: 'file', name: 'init', mode: 0o755, data: init }])),
  );
  return file;
}

export async function measureBoots(options: BootOptions): Promise<{ metrics: Metric[]; skipped: string[] }> {
  const { folder, runs, hasQemu, nodeOptions, say } = options;
  const skipped: string[] = [];
  const domus = (env?: NodeJS.ProcessEnv): Boot => {
    const kernel = options.kernel === undefined ? [] : ['--kernel', options.kernel];
    const append = options.append === '' ? [] : ['--append', options.append];
    const args = [
      ...nodeOptions,
      CLI,
      'run',
      '-q',
      '-m',
      `${MEMORY_MIB}M`,
      ...kernel,
      ...append,
      '--',
      'true',
    ];
    return () => runProcess(process.execPath, args, { env, timeoutMs: TIMEOUT_MS, measureMemory: true });
  };
  const boots: [string, Boot][] = [];
  if (options.cold) {
    // Includes what the package client takes to fetch kernel and userland: a figure of this network as well.
    const emptyCache = () => ({ ...process.env, DOMUS_CACHE: mkdtempSync(join(folder, 'cache-')) });
    boots.push(['domus-empty-cache', () => domus(emptyCache())()]);
  }
  boots.push(['domus', domus()]);
  if (hasQemu) {
    try {
      const kernel = await kernelFile(folder, options.kernel);
      const vmlinux = join(folder, 'vmlinux');
      writeFileSync(vmlinux, readKernel(readFileSync(kernel)).elf);
      const initramfs = await initramfsFile(folder);
      const qemu = (image: string): Boot => {
        const args = [
          ...QEMU_MACHINE,
          '-m',
          String(MEMORY_MIB),
          '-kernel',
          image,
          '-initrd',
          initramfs,
          '-append',
          `quiet panic=-1 ${options.append}`.trim(),
        ];
        return () => runProcess(QEMU, args, { timeoutMs: TIMEOUT_MS, measureMemory: true });
      };
      boots.push(['qemu-bzimage', qemu(kernel)], ['qemu-pvh', qemu(vmlinux)]);
    } catch (error) {
      skipped.push(`boots on QEMU: ${(error as Error).message}`);
    }
  } else skipped.push('boots on QEMU');

  const samples = new Map<string, Finished[]>();
  const failed = new Set<string>();
  for (let i = 1; i <= runs; i++) {
    for (const [name, boot] of boots) {
      if (failed.has(name)) continue;
      say(`boot: ${name}, run ${i} of ${runs}`);
      const done = await boot();
      if (done.code === 0) samples.set(name, [...(samples.get(name) ?? []), done]);
      else {
        failed.add(name);
        skipped.push(`boot ${name}: exit ${done.code}: ${lastLines(done.stderr)}`);
      }
    }
  }
  const metrics = [...samples].flatMap(([name, list]): Metric[] => {
    const wall = summarize(list.map(done => done.wallMs));
    const peaks = list.flatMap(done => (done.peakBytes === undefined ? [] : [done.peakBytes / 2 ** 20]));
    return [
      { name: `boot/${name}/wall/ms`, unit: 'ms', better: 'lower', summary: wall },
      ...(peaks.length === 0
        ? []
        : [
            {
              name: `boot/${name}/peak/mib`,
              unit: 'MiB',
              better: 'lower',
              summary: summarize(peaks),
            } as const,
          ]),
    ];
  });
  return { metrics, skipped };
}
