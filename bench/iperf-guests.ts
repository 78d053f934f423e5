/**
 * One guest of Domus behind a NAT, or two on a switch, the first of which serves; the other obeys the driver's lines on standard input.
 * Started by iperf.ts with one argument: `IperfGuests` as JSON.
 */
import { Host } from '../src/toolstack/index.ts';
import { DRIVER } from './guest-image.ts';

export interface IperfGuests {
  /** Undefined: the one that Domus takes, whose driver for the network is a module. */
  readonly kernel?: string | undefined;
  /** An archive of files for the guests, as a raw disk. */
  readonly files: string;
  readonly engine: string;
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly append: string;
  readonly isPair: boolean;
}

const given = JSON.parse(process.argv[2] as string) as IperfGuests;
const options = {
  ...(given.kernel !== undefined && { kernel: given.kernel }),
  engine: given.engine,
  memory: `${given.memoryMib}M`,
  vcpus: given.vcpus,
  pcpus: given.vcpus,
  append: given.append,
  disks: [{ path: given.files, format: 'raw', isReadOnly: true }],
  network: given.isPair ? 'switch:lan' : { allow: ['127.0.0.1'] },
} as Parameters<Host['create']>[0];
await using host = await Host.open();
const startGuest = async () => {
  const guest = await host.create(options);
  await guest.exec('cd / && cpio -idu </dev/xvda');
  return guest;
};
const server = given.isPair ? await startGuest() : undefined;
const client = await startGuest();
const serving = server?.exec('iperf3 -s >/dev/null');
const stdout = async (chunk: Uint8Array) => void process.stdout.write(chunk);
await client.exec(['sh', '-c', DRIVER, '/bench/driver'], { stdin: process.stdin, stdout });
await server?.destroy();
await serving?.catch(() => {});
