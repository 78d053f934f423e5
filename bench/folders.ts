/**
 * What shared folders cost: the server alone, request by request, and a guest's sequential transfers and small files over message sizes
 * and caches. Processor time of this process, in which guest, hypervisor and server run. `node bench/folders.ts [server|guest]`
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '../src/backend/p9/client.fixture.ts';
import { LockTable } from '../src/backend/p9/locks.ts';
import { Session } from '../src/backend/p9/session.ts';
import { SharedFolder } from '../src/backend/p9/shared-folder.ts';
import { createNodeClock } from '../src/platform/node/clock.ts';
import { nodeFolderFiles } from '../src/platform/node/folder-files.ts';
import { Host } from '../src/toolstack/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-folders-'));

/** Milliseconds of processor time. */
async function cpuMs(use: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await use();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

async function server(): Promise<void> {
  const shared = await SharedFolder.open({
    files: nodeFolderFiles,
    path: folder,
    isReadOnly: false,
    clock: createNodeClock(),
    locks: new LockTable(),
  });
  const session = new Session({
    folder: shared,
    mostBytes: 1 << 19,
    defer: task => void setImmediate(task),
    allTaken: () => undefined,
  });
  const client = new Client(message => new Promise(resolve => void session.handle(message, resolve)));
  const root = await client.start(1 << 19);
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  writeFileSync(join(folder, 'a/b/file'), new Uint8Array(1 << 20));
  const file = await client.open(root, 'a/b/file', 2);
  const walked = await client.walk(root, 'a/b/file');
  const data = new Uint8Array(4096);
  const each = async (name: string, count: number, use: (i: number) => Promise<unknown>): Promise<void> => {
    for (let i = 0; i < count / 10; i++) await use(count + i);
    const ms = await cpuMs(async () => {
      for (let i = 0; i < count; i++) await use(i);
    });
    console.log(`${name.padEnd(34)} ${((ms * 1000) / count).toFixed(1).padStart(7)} us`);
  };
  await each('getattr', 20_000, () => client.stat(walked));
  await each('walk of three names, clunk', 20_000, async () =>
    client.clunk(await client.walk(root, 'a/b/file')),
  );
  await each('walk, open, clunk', 10_000, async () => client.clunk(await client.open(root, 'a/b/file')));
  await each('read 4 KiB', 20_000, () => client.read(file, 0, 4096));
  await each('write 4 KiB', 20_000, () => client.write(file, 0, data));
  await each('read 480 KiB', 2_000, () => client.read(file, 0, 480 << 10));
  await each('create, clunk, unlink', 5_000, async i => {
    await client.clunk(await client.create(root, `new-${i}`));
    await client.unlink(root, `new-${i}`);
  });
  await session.close();
  shared.close();
}

const MIB = 32;
const FILES = 100;

async function guest(): Promise<void> {
  await using host = await Host.open();
  const vm = await host.create({ memory: '512M', folders: [`${folder}:/mnt`] });
  const run = async (command: string): Promise<void> => {
    const { exitCode, stderr } = await vm.exec(command);
    if (exitCode !== 0) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  };
  await run(
    `umount /mnt; mkdir /ram; mount -t tmpfs none /ram; dd if=/dev/urandom of=/ram/data bs=1M count=${MIB}`,
  );
  const drop = 'echo 3 >/proc/sys/vm/drop_caches';
  const workloads: readonly (readonly [name: string, command: string, mib: number, operations: number])[] = [
    ['write 1 MiB', `dd if=/ram/data of=big bs=1M conv=fsync 2>/dev/null`, MIB, 0],
    ['read 1 MiB', `${drop}; dd if=big of=/dev/null bs=1M 2>/dev/null`, MIB, 0],
    ['read 4 KiB', `${drop}; dd if=big of=/dev/null bs=4k count=4096 2>/dev/null`, 16, 0],
    ['create', `mkdir d; i=0; while [ $i -lt ${FILES} ]; do echo x >d/$i; i=$((i+1)); done; sync`, 0, FILES],
    ['ls -l', `${drop}; ls -l d >/dev/null`, 0, FILES],
    ['ls -l again', 'ls -l d >/dev/null', 0, FILES],
    ['read them', 'cat d/* >/dev/null', 0, FILES],
    ['rm', 'rm -r d', 0, FILES],
  ];
  const report = async (name: string, place: string): Promise<void> => {
    const cells: string[] = [];
    for (const [what, command, mib, operations] of workloads) {
      const before = vm.status().instructions;
      const ms = await cpuMs(() => run(`cd ${place} && { ${command}; }`));
      const mips = (vm.status().instructions - before) / 1e6;
      const figure =
        mib > 0 ? `${((mib / ms) * 1000).toFixed(0)} MiB/s` : `${((ms * 1000) / operations).toFixed(0)} us`;
      cells.push(`${what} ${figure} (${mips.toFixed(0)}M)`);
    }
    console.log(`${name.padEnd(26)} ${cells.join(', ')}`);
  };
  await report('(warm)', '/ram');
  await report('memory of the guest', '/ram');
  for (const [cache, sizes] of [
    ['none', [512]],
    ['mmap', [8, 128, 512]],
    ['loose', [512]],
  ] as const) {
    for (const kib of sizes) {
      await run(`mount -t 9p -o trans=xen,version=9p2000.L,msize=${kib * 1024},cache=${cache} domus0 /mnt`);
      await report(`${cache}, messages of ${kib} KiB`, '/mnt');
      await run('rm -f /mnt/big; umount /mnt');
    }
  }
}

try {
  const what = process.argv[2];
  if (what !== 'guest') await server();
  if (what !== 'server') await guest();
} finally {
  rmSync(folder, { recursive: true });
}
