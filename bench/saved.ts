/**
 * Saving a booted guest and going on from the file, with Domus and with QEMU TCG (`savevm`, `-loadvm`): processor time, elapsed time and
 * size. The same kernel and userland; each then runs one `echo`. `node bench/saved.ts [ROUNDS]`
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { joinCpio, writeCpio } from '../src/image/archive/cpio.ts';
import { readKernel } from '../src/image/bzimage.ts';
import { baseInitramfs } from '../src/image/initramfs.ts';
import { Host } from '../src/toolstack/index.ts';
import { cpuBetween, cpuTimes } from './cpu-time.ts';
import { type CommandLine, startEngine } from './engine-process.ts';
import { busyboxProgram, kernelFile } from './guest-image.ts';
import { DOMUS_CLI, KERNEL_WORDS, QEMU } from './rivals.ts';
import { scratchFolder } from './scratch.ts';

const TIMEOUT_MS = 120_000;
const MEMORY_MIB = 512;
const ROUNDS = Number(process.argv[2] ?? 3);
const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
echo @ready
while read -r line; do $line; done
`;

const folder = scratchFolder();
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
const report = (what: string, cpuMs: readonly number[], wallMs: readonly number[], more = ''): void =>
  console.log(
    `${what.padEnd(36)} ${median(cpuMs).toFixed(0).padStart(6)} ms processor ${median(wallMs).toFixed(0).padStart(6)} ms elapsed ${more}`,
  );

/** From the start of a process to the line `@output`. */
async function untilOutput(line: CommandLine, input?: string): Promise<{ cpuMs: number; wallMs: number }> {
  const engine = startEngine(line);
  if (input !== undefined) engine.write(input);
  const output = (await engine.until('@output', TIMEOUT_MS)).at(-1);
  const cpuMs = cpuBetween(new Map([[0, 0]]), output?.cpu) ?? Number.NaN;
  const wallMs = (output?.atMs ?? Number.NaN) - engine.startMs;
  await engine.end(input === undefined ? TIMEOUT_MS : 0);
  return { cpuMs, wallMs };
}

async function domus(): Promise<void> {
  const file = join(folder, 'domus.sav');
  await using host = await Host.open();
  const vm = await host.create({ memory: `${MEMORY_MIB}M`, append: KERNEL_WORDS });
  await vm.exec('true');
  const [cpu, wall]: number[][] = [[], []];
  for (let i = 0; i < ROUNDS; i++) {
    const [start, before] = [performance.now(), process.cpuUsage()];
    await vm.save(file, { isDurable: false });
    const { user, system } = process.cpuUsage(before);
    cpu?.push((user + system) / 1000);
    wall?.push(performance.now() - start);
  }
  await vm.destroy();
  report('Domus: save', cpu ?? [], wall ?? [], `${(statSync(file).size / 2 ** 20).toFixed(1)} MiB`);
  const run = {
    command: process.execPath,
    args: [DOMUS_CLI, 'run', '-q', '--from', file, '--', 'echo', '@output'],
  };
  const runs = [];
  for (let i = 0; i < ROUNDS; i++) runs.push(await untilOutput(run));
  report(
    'Domus: start to output',
    runs.map(({ cpuMs }) => cpuMs),
    runs.map(({ wallMs }) => wallMs),
  );
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

async function qemu(): Promise<void> {
  const vmlinux = join(folder, 'vmlinux');
  writeFileSync(vmlinux, readKernel(readFileSync(await kernelFile(folder, undefined))).elf);
  const initramfs = join(folder, 'initramfs');
  const init = { type: 'file', name: 'init', mode: 0o755, data: new TextEncoder().encode(INIT) } as const;
  writeFileSync(initramfs, joinCpio(baseInitramfs(await busyboxProgram()), writeCpio([init])));
  const [disk, socket] = [join(folder, 'state.qcow2'), join(folder, 'monitor')];
  spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '1G']);
  const args = [
    ...['-accel', 'tcg', '-M', 'q35', '-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-m', String(MEMORY_MIB), '-serial', 'stdio', '-monitor', `unix:${socket},server,nowait`],
    ...['-drive', `if=none,id=state,format=qcow2,file=${disk}`, '-device', 'virtio-blk-pci,drive=state'],
    ...['-kernel', vmlinux, '-initrd', initramfs, '-append', `console=ttyS0 ${KERNEL_WORDS}`],
  ];
  const engine = startEngine({ command: QEMU, args });
  await engine.until('@ready', TIMEOUT_MS);
  const [cpu, wall]: number[][] = [[], []];
  for (let i = 0; i < ROUNDS; i++) {
    const [start, before] = [performance.now(), cpuTimes(engine.pid)];
    await monitor(socket, 'savevm warm');
    cpu?.push(cpuBetween(before, cpuTimes(engine.pid)) ?? Number.NaN);
    wall?.push(performance.now() - start);
  }
  await monitor(socket, 'quit').catch(() => {});
  await engine.end(5000);
  report('QEMU TCG: savevm', cpu ?? [], wall ?? [], `${(statSync(disk).size / 2 ** 20).toFixed(1)} MiB`);
  const runs = [];
  for (let i = 0; i < ROUNDS; i++)
    runs.push(await untilOutput({ command: QEMU, args: [...args, '-loadvm', 'warm'] }, 'echo @output'));
  report(
    'QEMU TCG: -loadvm to output',
    runs.map(({ cpuMs }) => cpuMs),
    runs.map(({ wallMs }) => wallMs),
  );
}

await domus();
await qemu();
