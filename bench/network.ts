/**
 * How fast a guest's network is, beside QEMU with TCG: one TCP connection between guest and host, each way, and one from
 * guest to guest. Domus with its NAT and its switch, QEMU with its user network and its socket network; the same kernel,
 * the same busybox, the same program. `node bench/network.ts [MIB] [ROUNDS]`
 *
 * Guests print a line before and after each transfer. Wall-clock time and processor time (of all processes that stand
 * for guests) are taken between these; on a loaded machine only the latter means something.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { joinCpio, writeCpio } from '../src/image/archive/cpio.ts';
import { openImageCache } from '../src/image/cache.ts';
import { obtainBusybox, obtainKernel, obtainModules } from '../src/image/debian.ts';
import { baseInitramfs } from '../src/image/initramfs.ts';
import { Host } from '../src/toolstack/index.ts';

const MEMORY_MIB = 512;
/** `rx|tx ADDRESS PORT MIB`, or `serve PORT`, which takes a connection and reads to its end. */
const PROGRAM = `
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
static char buf[65536];
int main(int argc, char **argv) {
  struct sockaddr_in a = { .sin_family = AF_INET };
  int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
  if (argv[1][0] == 's') {
    a.sin_port = htons(atoi(argv[2]));
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (void *)&a, sizeof a) || listen(s, 1) || (s = accept(s, 0, 0)) < 0) return 1;
    while (read(s, buf, sizeof buf) > 0) ;
    return 0;
  }
  inet_aton(argv[2], &a.sin_addr);
  a.sin_port = htons(atoi(argv[3]));
  if (connect(s, (void *)&a, sizeof a)) return 1;
  if (argv[1][0] == 't') {
    for (long left = atol(argv[4]) << 20, n; left > 0; left -= n) if ((n = write(s, buf, sizeof buf)) <= 0) return 2;
    shutdown(s, SHUT_WR);
  }
  while (read(s, buf, sizeof buf) > 0) ;
  return 0;
}
`;

interface Job {
  readonly program: string;
  /** For the shells of one guest, or of two. */
  readonly scripts: readonly string[];
}

/** Stands for Domus: the guests of one process. Started by this very file. */
async function beDomus({ program, scripts }: Job): Promise<void> {
  await using host = await Host.open();
  const network = scripts.length > 1 ? 'switch:lan' : { allow: ['127.0.0.1'] };
  const guests = [];
  for (const _ of scripts) guests.push(await host.create({ network, memory: `${MEMORY_MIB}M` }));
  const stdin = readFileSync(program);
  await Promise.all(guests.map(guest => guest.exec('cat >/net; chmod 755 /net', { stdin })));
  const stdout = async (chunk: Uint8Array) => void process.stdout.write(chunk);
  await Promise.all(guests.map((guest, i) => guest.exec(scripts[i] as string, { stdout })));
}

/** Processor time of a process so far, in milliseconds. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

interface Figure {
  readonly what: string;
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** Run commands that stand for guests, and measure between the lines they print. */
async function measure(commands: readonly (readonly string[])[]): Promise<Figure[]> {
  const figures: Figure[] = [];
  const children = commands.map(([file, ...args]) =>
    spawn(file as string, args, { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  const cpu = () =>
    children.reduce((sum, { pid, exitCode }) => sum + (exitCode === null ? cpuMs(pid as number) : 0), 0);
  let begun = { wall: 0, cpu: 0 };
  await Promise.all(
    children.map(async child => {
      for await (const line of createInterface(child.stdout)) {
        const [, verb, what] = /(start|done) (\S+)/.exec(line) ?? [];
        if (verb === 'start') begun = { wall: performance.now(), cpu: cpu() };
        if (verb !== 'done') continue;
        const wallMs = performance.now() - begun.wall;
        figures.push({ what: what as string, wallMs, cpuMs: cpu() - begun.cpu });
      }
      if (child.exitCode === null) await new Promise(resolve => child.once('exit', resolve));
    }),
  );
  return figures;
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function main(mib: number, rounds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'domus-bench-network-'));
  const path = (name: string) => join(folder, name);
  const chunk = Buffer.alloc(65_536, 7);
  const source = createServer(socket => {
    let left = mib * 16;
    const fill = () => {
      while (left > 0) {
        left -= 1;
        if (!socket.write(chunk)) return void socket.once('drain', fill);
      }
      socket.end();
    };
    socket.on('error', () => {}).resume();
    fill();
  });
  const sink = createServer(socket => void socket.on('error', () => {}).resume());
  try {
    writeFileSync(path('net.c'), PROGRAM);
    execFileSync('gcc', ['-O2', '-static', '-w', '-o', path('net'), path('net.c')]);
    const cache = openImageCache();
    const modules = await obtainModules({ cache }, ['virtio-net', 'virtio-pci']);
    writeFileSync(path('kernel'), (await obtainKernel({ cache })).contents);
    const base = baseInitramfs((await obtainBusybox({ cache })).contents);
    const ports = [await listen(source), await listen(sink)];
    const repeat = (body: string) => `for i in $(seq ${rounds}); do ${body}; done`;
    const timed = (what: string, command: string) => `echo start ${what}; ${command}; echo done ${what}`;
    const alone = repeat(
      `${timed('to-guest', `/net rx 10.0.2.2 ${ports[0]}`)}; ${timed('from-guest', `/net tx 10.0.2.2 ${ports[1]} ${mib}`)}`,
    );
    // The receiver has an address that both networks give to the second guest.
    const sends = `sleep 1; ${timed('guest-to-guest', `until /net tx 10.0.3.2 7000 ${mib}; do sleep 0.2; done`)}`;
    const pair = [repeat(sends), repeat('/net serve 7000')];

    const qemu = (
      name: string,
      address: string,
      gateway: string,
      script: string,
      netdev: string,
    ): string[] => {
      const init = `#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod $module; done
ip link set lo up; ip link set eth0 up; ip address add ${address}/24 dev eth0; ${gateway}
sleep 1
${script}
poweroff -f
`;
      const files = writeCpio([
        { type: 'directory', name: 'modules', mode: 0o755 },
        ...modules.map(({ name: module, contents }, i) => ({
          type: 'file' as const,
          name: `modules/${i}-${module}.ko`,
          mode: 0o644,
          data: contents,
        })),
        { type: 'file', name: 'net', mode: 0o755, data: readFileSync(path('net')) },
        { type: 'file', name: 'init', mode: 0o755, data: new TextEncoder().encode(init) },
      ]);
      writeFileSync(path(name), joinCpio(base, files));
      const mac = `52:54:00:00:00:${address.split('.')[3]?.padStart(2, '0')}`;
      return [
        'qemu-system-x86_64',
        ...['-accel', 'tcg', '-m', `${MEMORY_MIB}`, '-nodefaults', '-display', 'none', '-no-reboot'],
        ...['-serial', 'stdio', '-kernel', path('kernel'), '-initrd', path(name)],
        ...['-append', 'console=ttyS0 quiet cryptomgr.notests'],
        ...['-netdev', `${netdev},id=n`, '-device', `virtio-net-pci,netdev=n,mac=${mac}`],
      ];
    };
    const route = 'ip route add default via 10.0.2.2';
    const wire = `${3000 + (ports[0] as number)}`.slice(-4);
    const socketPort = 20_000 + Number(wire);
    const self = fileURLToPath(import.meta.url);
    const domus = (scripts: readonly string[]) => [
      process.execPath,
      ...[
        '--disable-warning=ExperimentalWarning',
        self,
        'guests',
        JSON.stringify({ program: path('net'), scripts }),
      ],
    ];
    const players: Record<string, readonly (readonly string[])[][]> = {
      domus: [[domus([alone])], [domus(pair)]],
      qemu: [
        [qemu('alone', '10.0.2.15', route, alone, 'user')],
        [
          qemu('a', '10.0.3.1', 'true', `sleep 3; ${pair[0]}`, `socket,listen=127.0.0.1:${socketPort}`),
          qemu('b', '10.0.3.2', 'true', pair[1] as string, `socket,connect=127.0.0.1:${socketPort}`),
        ],
      ],
    };
    const all = new Map<string, Figure[]>();
    for (const test of [0, 1]) {
      for (const [player, tests] of Object.entries(players)) {
        for (const figure of await measure(tests[test] as readonly (readonly string[])[])) {
          const key = `${figure.what} ${player}`;
          all.set(key, [...(all.get(key) ?? []), figure]);
        }
      }
    }
    const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] as number;
    console.log(`${mib} MiB, medians of ${rounds}; MiB a second of processor time (of wall-clock time)`);
    for (const what of ['to-guest', 'from-guest', 'guest-to-guest']) {
      const rate = (player: string, of: 'cpuMs' | 'wallMs') =>
        median((all.get(`${what} ${player}`) ?? []).map(figure => (mib * 1000) / figure[of]));
      const [ours, theirs] = [rate('domus', 'cpuMs'), rate('qemu', 'cpuMs')];
      const wall = (player: string) => rate(player, 'wallMs').toFixed(0);
      console.log(
        `${what.padEnd(16)} Domus ${ours.toFixed(0)} (${wall('domus')})  QEMU ${theirs.toFixed(0)} (${wall('qemu')})  ratio ${(ours / theirs).toFixed(2)}`,
      );
    }
  } finally {
    source.close();
    sink.close();
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[2] === 'guests') await beDomus(JSON.parse(process.argv[3] as string) as Job);
else await main(Number(process.argv[2] ?? 64), Number(process.argv[3] ?? 3));
