/**
 * What has to be built around a saved domain before it can go on: JSON text in the record `machine`. It comes from a file, so all of it
 * is checked; above all it names no file of the host but those that lie beside it.
 */

import type { RateLimits } from '../backend/block/limits.ts';
import { vdevNumber } from '../backend/block/vdev.ts';
import type { ImageConfig } from '../image/config.ts';
import { formatMac, parseMac } from '../net/packet/address.ts';
import { readPackageVersion } from '../platform/node/files.ts';
import type { SavedFile } from '../state/file.ts';
import { damaged, RecordType } from '../state/format.ts';
import { recordOf } from '../state/restore-domain.ts';
import { checkMemory, checkVcpus } from './config.ts';
import type { NetworkFacts } from './network.ts';

export interface DiskFacts {
  /** As the guest calls it: `xvda`. */
  readonly device: string;
  /** Name of the file in `disksFolder` that holds what was on the disk. */
  readonly file: string;
  readonly isReadOnly: boolean;
  readonly queueDepth?: number | undefined;
  readonly limits?: RateLimits | undefined;
}

/** A machine's size. */
export interface MachineShape {
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly nrConsoles: number;
}

export interface MachineFacts extends MachineShape {
  readonly disks: readonly DiskFacts[];
  /** Name of a folder beside the saved machine. */
  readonly disksFolder?: string | undefined;
  readonly network?: NetworkFacts | undefined;
  /** How commands are run in its root. */
  readonly image?: ImageConfig | undefined;
}

const NR_CONSOLES_MAX = 10;
const DISKS_MAX = 64;
const DISKS_FOLDER = /^[^/]*\.disks-[0-9a-f]{8}$/;
const COUNT_MAX = 2 ** 40;

export function encodeFacts(facts: MachineFacts): Uint8Array {
  const { memoryBytes, vcpus, nrConsoles, disks, disksFolder, network, image } = facts;
  const domus = readPackageVersion();
  const written = { domus, memoryBytes, vcpus, nrConsoles, disks, disksFolder, network, image };
  return new TextEncoder().encode(JSON.stringify(written));
}

type Fields = Readonly<Record<string, unknown>>;

const refuse = (): never => {
  throw damaged('what it says about the machine');
};
const fieldsOf = (value: unknown): Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : refuse();
const textOf = (value: unknown): string =>
  typeof value === 'string' && !value.includes('\0') ? value : refuse();
const textsOf = (value: unknown): string[] => (Array.isArray(value) ? value.map(textOf) : refuse());
const flagOf = (value: unknown): boolean => (typeof value === 'boolean' ? value : refuse());
const numberOf = (value: unknown, least: number, most: number): number =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most
    ? (value as number)
    : refuse();
const optional = <T>(value: unknown, parse: (value: unknown) => T): T | undefined =>
  value === undefined ? undefined : parse(value);
const count = (value: unknown): number => numberOf(value, 1, COUNT_MAX);

function diskOf(value: unknown): DiskFacts {
  const { device, file, isReadOnly, queueDepth, limits } = fieldsOf(value);
  const name = textOf(file);
  if (!name.endsWith('.vhd') || name.includes('/')) refuse();
  if (vdevNumber(textOf(device)) === undefined) refuse();
  return {
    device: device as string,
    file: name,
    isReadOnly: flagOf(isReadOnly),
    queueDepth: optional(queueDepth, count),
    limits: optional(limits, each => {
      const { requestsPerSecond, bytesPerSecond } = fieldsOf(each);
      return {
        requestsPerSecond: optional(requestsPerSecond, count),
        bytesPerSecond: optional(bytesPerSecond, count),
      };
    }),
  };
}

function disksOf(value: unknown): DiskFacts[] {
  if (!Array.isArray(value) || value.length > DISKS_MAX) return refuse();
  const disks = value.map(diskOf);
  return new Set(disks.map(({ device }) => device)).size === disks.length ? disks : refuse();
}

function networkOf(value: unknown): NetworkFacts {
  const { mac, mtu, allow, deny, nameservers } = fieldsOf(value);
  return {
    mac: formatMac(parseMac(textOf(mac)) ?? refuse()),
    mtu: numberOf(mtu, 0, 2 ** 16),
    allow: optional(allow, textsOf),
    deny: optional(deny, textsOf),
    nameservers: optional(nameservers, list =>
      (Array.isArray(list) ? list : refuse()).map((each: unknown) => {
        const { address, port } = fieldsOf(each);
        return { address: textOf(address), port: numberOf(port, 1, 65_535) };
      }),
    ),
  };
}

function imageOf(value: unknown): ImageConfig {
  const { env, entrypoint, command, workingFolder, user } = fieldsOf(value);
  const id = (number: unknown): number => numberOf(number, 0, 0xffff_fffe);
  return {
    env: Object.fromEntries(
      Object.entries(fieldsOf(env)).map(([name, text]) => [textOf(name), textOf(text)]),
    ),
    entrypoint: textsOf(entrypoint),
    command: textsOf(command),
    workingFolder: textOf(workingFolder),
    ...(user !== undefined && {
      user: {
        uid: id(fieldsOf(user).uid),
        gid: id(fieldsOf(user).gid),
        groups: ((list: unknown): number[] => (Array.isArray(list) ? list.map(id) : refuse()))(
          fieldsOf(user).groups,
        ),
      },
    }),
  };
}

/** @throws DomusError E_SAVE_DAMAGED */
export function factsOf({ records }: Pick<SavedFile, 'records'>): MachineFacts {
  const text = new TextDecoder().decode(recordOf(records, RecordType.machine, 'the machine'));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    refuse();
  }
  const { memoryBytes, vcpus, nrConsoles, disks = [], disksFolder, network, image } = fieldsOf(value);
  try {
    checkMemory(memoryBytes as number);
    checkVcpus(vcpus as number);
  } catch {
    refuse();
  }
  return {
    memoryBytes: memoryBytes as number,
    vcpus: vcpus as number,
    nrConsoles: numberOf(nrConsoles, 1, NR_CONSOLES_MAX),
    disks: disksOf(disks),
    disksFolder: optional(disksFolder, folder => {
      const name = textOf(folder);
      return DISKS_FOLDER.test(name) ? name : refuse();
    }),
    network: optional(network, networkOf),
    image: optional(image, imageOf),
  };
}
