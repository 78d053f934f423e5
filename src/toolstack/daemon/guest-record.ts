/**
 * What is on disk about a guest: guest.json, written whole at each change of its state. A host process that is killed leaves the last
 * one; the next host process sees from `daemon` that the guest is none of its own.
 */

import type { Share } from '../../hypervisor/credit.ts';
import {
  joinPath,
  listFolder,
  readIfPresent,
  removeFile,
  writeWhole,
} from '../../platform/node/cache-folder.ts';
import type { BalanceFacts } from '../balance/balancer.ts';
import type { DomainStatus } from '../domain-control.ts';

/**
 * starting: being built and booted; running; exited: its command or the guest itself ended; crashed; lost: its host process ended.
 */
export type GuestState = 'starting' | 'running' | 'exited' | 'crashed' | 'lost';
const STATES: readonly string[] = ['starting', 'running', 'exited', 'crashed', 'lost'];

export interface GuestRecord {
  readonly id: number;
  readonly name: string;
  readonly state: GuestState;
  readonly uuid?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly image?: string;
  /** The guest that it is a clone of, by the name that it had then. */
  readonly parent?: string;
  /** What runs in it; undefined for a guest with an initrd of its own. */
  readonly command?: readonly string[];
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  readonly startedAt?: string;
  readonly endedAt?: string;
  /** Of the command. */
  readonly exitCode?: number;
  /** Why it is no longer running, when that is more than an exit code. */
  readonly reason?: string;
}

export interface GuestView extends GuestRecord {
  /** Of a guest whose memory goes by need, while it runs. */
  readonly balance?: BalanceFacts;
  /** While it runs. */
  readonly domain?: DomainStatus;
  /** Of the credit scheduler; absent where the guest has threads of its own. */
  readonly share?: Share;
}

interface GuestFile {
  readonly format: 'domus-guest';
  readonly version: 1;
  /** The host process that wrote it. */
  readonly daemon: string;
  readonly guest: GuestRecord;
}

const FILE = 'guest.json';

export async function writeGuestFile(folder: string, daemon: string, guest: GuestRecord): Promise<void> {
  const file: GuestFile = { format: 'domus-guest', version: 1, daemon, guest };
  await writeWhole(joinPath(folder, FILE), `${JSON.stringify(file, undefined, 2)}\n`);
}

/** What a host process was writing when it was killed. */
export async function removeUnfinished(folder: string): Promise<void> {
  for (const name of await listFolder(folder))
    if (name.startsWith(`${FILE}.`)) await removeFile(joinPath(folder, name));
}

/** Undefined when there is none that this version understands. */
export async function readGuestFile(folder: string): Promise<GuestFile | undefined> {
  const bytes = await readIfPresent(joinPath(folder, FILE));
  if (!bytes) return undefined;
  try {
    const file = JSON.parse(new TextDecoder().decode(bytes)) as GuestFile;
    const { guest } = file;
    const isKnown =
      file.format === 'domus-guest' &&
      file.version === 1 &&
      typeof file.daemon === 'string' &&
      Number.isSafeInteger(guest.id) &&
      typeof guest.name === 'string' &&
      STATES.includes(guest.state) &&
      typeof guest.createdAt === 'string';
    return isKnown ? file : undefined;
  } catch {
    return undefined;
  }
}
