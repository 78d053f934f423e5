/**
 * The network in the guest: iperf3, out of Debian's packages. Guest to host and back: Domus's NAT, QEMU's user network. Guest to guest:
 * Domus's switch, QEMU's socket network. Processor time is that of all guests.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCpio } from '../src/image/archive/cpio.ts';
import { openImageCache } from '../src/image/cache.ts';
import { obtainModules } from '../src/image/debian.ts';
import { shellQuote } from '../src/image/shell-quote.ts';
import { hasProgram } from './compiler.ts';
import { type BootFiles, kernelFile, writeInitramfs } from './guest-image.ts';
import type { IperfGuests } from './iperf-guests.ts';
import type { BenchOptions } from './options.ts';
import { obtainPackages } from './packages.ts';
import { ALL } from './result.ts';
import { isUsual, type Rival } from './rivals.ts';
import { type Outcome, runTournament, type Task } from './tournament.ts';

export const NETWORK_SUITE = 'network';
const GUESTS = fileURLToPath(new URL('./iperf-guests.ts', import.meta.url));
export const MIB = 512;
/** Of the packages that iperf3's depend on. */
const IS_NEEDED = /^(bin\/iperf3|(usr\/)?lib(64)?(\/.*)?|usr)$/;
/** The host as a guest behind a NAT sees it, and the first guest of two: the same for both engines. */
export const HOST = '10.0.2.2';
const SERVER = '10.0.3.1';
const CLIENT = '10.0.3.2';

export const NETWORK_PROGRAMS = [
  { name: 'guest-to-host', about: 'one connection, through the NAT', words: '', isPair: false },
  { name: 'host-to-guest', about: 'the same, backwards', words: '--reverse', isPair: false },
  { name: 'guest-to-guest', about: 'one connection, over a switch', words: '', isPair: true },
] as const;
type Program = (typeof NETWORK_PROGRAMS)[number];

function commandOf({ words, isPair }: Program, port: number, scale: number): string {
  const mib = Math.max(1, Math.round(MIB * scale));
  const to = isPair ? `-c ${SERVER}` : `-c ${HOST} -p ${port}`;
  return [
    'echo @begin',
    `iperf3 ${to} ${words} -n ${mib}M --json >/tmp/result`,
    'echo @end',
    checkSent('/tmp/result', mib),
    `echo @check ${mib}`,
  ].join(' && ');
}

/** Has iperf3 sent all, by its own account? */
export const checkSent = (result: string, mib: number): string =>
  [
    `bytes=$(sed -n '/"sum_sent"/,/}/s/.*"bytes":[^0-9]*\\([0-9]*\\).*/\\1/p' ${result})`,
    `{ [ "\${bytes:-0}" -ge ${mib * 2 ** 20} ] || { tail -n 3 ${result}; false; }; }`,
  ].join(' && ');

export interface Network {
  /** An archive with iperf3. */
  readonly files: string;
  readonly kernel: string | undefined;
  readonly isPair: boolean;
  readonly wirePort: number;
}

/** The rival with a network, and with a second guest. */
export function networked(rival: Rival, { files, kernel, isPair, wirePort }: Network): Rival {
  const { commandLine } = rival;
  if (rival.kind === 'domus') {
    return {
      ...rival,
      commandLine: (_, { memoryMib, vcpus, append, nodeOptions }) => {
        const guests: IperfGuests = { kernel, files, engine: rival.name, memoryMib, vcpus, append, isPair };
        const warnings = '--disable-warning=ExperimentalWarning';
        return {
          command: process.execPath,
          args: [...nodeOptions, warnings, GUESTS, JSON.stringify(guests)],
        };
      },
    };
  }
  return {
    ...rival,
    commandLine: (boot, options) => {
      const guest = (address: string, netdev: string, more = '') => {
        const append = `bench_address=${address} ${more} ${options.append}`;
        const { command, args } = commandLine(boot, { ...options, append });
        const mac = `52:54:00:00:00:0${address.slice(-1)}`;
        const device = ['-netdev', `${netdev},id=n`, '-device', `virtio-net-pci,netdev=n,mac=${mac}`];
        return { command, args: [...args, ...device] };
      };
      if (!isPair) return guest('10.0.2.5', 'user');
      const wire = `127.0.0.1:${wirePort}`;
      const line = ({ command, args }: ReturnType<typeof guest>) =>
        // Neither outlives the shell, whatever ends it.
        ['setpriv', '--pdeathsig', 'KILL', command, ...args].map(shellQuote).join(' ');
      const server = line(guest(SERVER, `socket,listen=${wire}`, 'bench_serves=1'));
      const client = line(guest(CLIENT, `socket,connect=${wire}`));
      return { command: 'sh', args: ['-c', `${server} </dev/null >/dev/null & sleep 2; ${client}`] };
    },
  };
}

/** A port that nobody has now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise(resolve => server.close(resolve));
  return port;
}

/** What both sides need, or why it cannot be had. */
export async function prepareIperf(
  folder: string,
  options: BenchOptions,
  say: (text: string) => void,
): Promise<{ boot: BootFiles; files: string } | { why: string }> {
  if (!hasProgram('iperf3')) return { why: 'there is no iperf3 (Debian package iperf3)' };
  let packages: Awaited<ReturnType<typeof obtainPackages>>;
  try {
    const all = await obtainPackages(['iperf3'], say);
    packages = all.filter(({ name }) => IS_NEEDED.test(name) && !/perl/.test(name));
  } catch (error) {
    return { why: (error as Error).message };
  }
  const modules = await obtainModules({ cache: openImageCache() }, ['virtio-pci', 'virtio-net']);
  const files = join(folder, 'iperf3.cpio');
  // Whole sectors of a disk.
  const archive = writeCpio(packages);
  writeFileSync(files, Buffer.concat([archive], Math.ceil(archive.length / 4096) * 4096));
  const boot = {
    kernel: await kernelFile(folder, options.kernel),
    initramfs: await writeInitramfs(join(folder, 'network-initramfs'), [], packages, modules),
    nativeFolder: '',
  };
  return { boot, files };
}

/** iperf3 as processes of the host; each serves one client at a time. */
export async function startServers(count: number): Promise<{ ports: readonly number[]; stop(): void }> {
  const ports: number[] = [];
  const servers: ChildProcess[] = [];
  for (let i = 0; i < count; i++) {
    const port = await freePort();
    ports.push(port);
    servers.push(spawn('iperf3', ['-s', '-B', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' }));
  }
  return {
    ports,
    stop: () => {
      for (const server of servers) server.kill();
    },
  };
}

export async function measureNetworks(
  folder: string,
  rivals: readonly Rival[],
  options: BenchOptions,
  say: (text: string) => void,
): Promise<Outcome> {
  const programs = NETWORK_PROGRAMS.filter(({ name }) => options.programs?.includes(name) ?? true);
  const guests = rivals.filter(rival => isUsual(rival) && rival.kind !== 'native');
  if (programs.length === 0) return { measurements: [], problems: [] };
  const prepared = await prepareIperf(folder, options, say);
  if ('why' in prepared) {
    const problem = { suite: NETWORK_SUITE, program: ALL, engine: ALL, why: prepared.why, isFailure: false };
    return { measurements: [], problems: [problem] };
  }
  const { boot, files } = prepared;
  const servers = await startServers(1);
  const [port] = servers.ports as [number];
  try {
    const outcomes: Outcome[] = [];
    for (const isPair of [false, true]) {
      const network = { files, kernel: options.kernel, isPair, wirePort: await freePort() };
      const tasks = programs
        .filter(program => program.isPair === isPair)
        .map((program): Task => {
          const command = commandOf(program, port, options.scale);
          return { suite: NETWORK_SUITE, program: program.name, command };
        });
      outcomes.push(
        await runTournament(tasks, {
          ...options,
          boot,
          rivals: guests.map(rival => networked(rival, network)),
          options: { ...options, vcpus: 1 },
          say,
        }),
      );
    }
    return {
      measurements: outcomes.flatMap(({ measurements }) => measurements),
      problems: outcomes.flatMap(({ problems }) => problems),
    };
  } finally {
    servers.stop();
  }
}
